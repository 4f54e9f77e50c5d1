"""Motion between the frames that are sent: a grid of displacements and the camera's own motion.

Dense inverse search optical flow (Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse
Search", ECCV 2016) on a small grey copy, averaged over the cells of a grid.  The camera's motion is a
similarity (shift, turn, zoom) fitted to the flow of what has texture by iteratively reweighted least squares
with Tukey's biweight, begun at the weighted median, so that people who walk through are outliers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.ingest.pool import Image
from shared.messages import Float32, Motion

_LONG_SIDE_CELLS = 16
_CELL_PX = 16
"""Side of a cell in the small copy, which is therefore 256 pixels long."""

_FEWEST_CELLS = 4
_BLOCK_PX = 8
"""The camera's motion is fitted to means over blocks of this side."""

_STILL_PX = 0.15
"""Flow below this, in pixels of the small copy, is noise: DIS at its fastest is no more exact."""

_STILL_SHARE = 0.22
"""A camera that moves leaves far less of its textured background still than this; somebody who fills
the picture leaves more."""

_LEAST_GRADIENT = 2.0
"""Mean gradient (grey levels a pixel) below which a block has no texture to follow."""

_FEWEST_BLOCKS = 12
_ITERATIONS = 12
_LEAST_INLIERS = 0.35

_IDENTITY = np.eye(2, 3, dtype=np.float32)


class MotionEstimator:
    """Measures how each frame moved against the one measured before.

    Deterministic: equal pictures give equal bytes, whatever the number of threads.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._size = (0, 0)
        self._grid_size = (0, 0)
        self._previous: NDArray[np.uint8] | None = None

    def measure(self, image: Image) -> Motion | None:
        """The motion since the previous call's picture.

        image: (height, width, 3) uint8 BGR.  None for the first picture, and for the first of another size.
        """
        height, width = image.shape[:2]
        if (width, height) != self._size:
            self._size = (width, height)
            self._grid_size = _grid_size(width, height)
            self._previous = None
        columns, rows = self._grid_size
        small_size = (columns * _CELL_PX, rows * _CELL_PX)
        # Shrinking first and turning grey afterwards is the cheaper order.
        small = cv2.cvtColor(
            cv2.resize(image, small_size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2GRAY
        )
        previous, self._previous = self._previous, np.asarray(small, np.uint8)
        if previous is None:
            return None
        # A flow of the right size passed in would be the initial guess; an empty one gives a fresh start.
        flow = np.asarray(self._flow.calc(previous, small, np.empty((0, 0), np.float32)), np.float32)
        scale = np.array([width / small_size[0], height / small_size[1]], np.float32)
        grid = cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA) * scale
        return Motion(grid.astype(np.float32), self._camera_motion(previous, flow, scale))

    def reset(self) -> None:
        """Forget the previous picture: the next one gives None."""
        self._previous = None

    def _camera_motion(self, grey: NDArray[np.uint8], flow: Float32, scale: Float32) -> Float32:
        rows, columns = grey.shape[0] // _BLOCK_PX, grey.shape[1] // _BLOCK_PX
        blocks = cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 2)
        gradient = cv2.resize(_gradient(grey), (columns, rows), interpolation=cv2.INTER_AREA).ravel()
        textured = gradient >= _LEAST_GRADIENT
        if np.count_nonzero(textured) < _FEWEST_BLOCKS:
            return _IDENTITY.copy()
        moved = blocks[textured]
        if np.mean(np.abs(moved).max(axis=1) < _STILL_PX) >= _STILL_SHARE:
            return _IDENTITY.copy()
        y, x = np.divmod(np.flatnonzero(textured), columns)
        centres = np.stack((x, y), axis=1) * _BLOCK_PX + (_BLOCK_PX - 1) / 2
        tolerance_px = float(scale.max())
        # Pixel centres: small (x + 0.5) * scale - 0.5 = full x.
        affine = _fit_similarity(
            (centres + 0.5) * scale - 0.5,
            moved.astype(np.float64) * scale,
            np.minimum(gradient[textured], 8 * _LEAST_GRADIENT).astype(np.float64),
            tolerance_px,
        )
        if affine is None:
            return _IDENTITY.copy()
        width, height = self._size
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
        shift = np.abs(corners @ affine.T - corners[:, :2]).max()
        return affine.astype(np.float32) if shift > 2 * _STILL_PX * tolerance_px else _IDENTITY.copy()


def _grid_size(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of about square cells, the long side of the picture having `_LONG_SIDE_CELLS`."""
    cell = max(width, height) / _LONG_SIDE_CELLS
    columns, rows = round(width / cell), round(height / cell)
    return max(columns, _FEWEST_CELLS), max(rows, _FEWEST_CELLS)


def _gradient(grey: NDArray[np.uint8]) -> Float32:
    """Mean of the absolute horizontal and vertical derivatives, grey levels a pixel, float32."""
    across = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 1, 0), alpha=0.125)
    down = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 0, 1), alpha=0.125)
    return np.asarray(cv2.addWeighted(across, 0.5, down, 0.5, 0, dtype=cv2.CV_32F), np.float32)


def _fit_similarity(
    points: NDArray[np.float64], moved: NDArray[np.float64], weights: NDArray[np.float64], tolerance_px: float
) -> NDArray[np.float64] | None:
    """The (2, 3) similarity that moves most of `points` by `moved`, both (N, 2) pixels; None if none does.

    A point counts less the further it is off, and not at all beyond a cut-off that shrinks from round
    to round down to `tolerance_px`.
    """
    centre = points.mean(axis=0)
    reach = max(float(np.abs(points - centre).max()), 1.0)
    x, y = ((points - centre) / reach).T
    # Displacement (a x - b y + tx, b x + a y + ty): four unknowns, two equations a point.
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    design = np.concatenate((np.stack((x, -y, ones, zeros), 1), np.stack((y, x, zeros, ones), 1)))
    target = moved.T.ravel()
    solution = np.array([0.0, 0.0, *np.median(moved, axis=0)])
    cut_px = max(3.0 * float(np.median(np.abs(target - design @ solution))), 4.0 * tolerance_px)
    trust = weights
    for _ in range(_ITERATIONS):
        residual = (target - design @ solution).reshape(2, -1)
        squared = (residual * residual).sum(axis=0) / cut_px**2
        trust = np.where(squared < 1, weights * (1 - squared) ** 2, 0.0)
        both = np.concatenate((trust, trust))
        weighted = design * both[:, None]
        try:
            solution = np.linalg.solve(weighted.T @ design, weighted.T @ target)
        except np.linalg.LinAlgError:
            return None
        cut_px = max(0.7 * cut_px, tolerance_px)
    if np.count_nonzero(trust) < _LEAST_INLIERS * len(points):
        return None
    a, b = solution[:2] / reach
    linear = np.array([[1 + a, -b], [b, 1 + a]])
    shift = solution[2:] + centre - linear @ centre
    return np.column_stack((linear, shift))
