"""Each person's own motion, read from the frame's grid of motion vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.messages import Float32, Motion

INNER_WIDTH = 0.6
INNER_HEIGHT = 0.8
"""The part of a box that shows the person rather than what is around."""


def person_flow(motion: Motion | None, boxes: Float32, width: int, height: int) -> Float32:
    """(N, 2) float32: each person's displacement in pixels since the previous frame.

    The mean of the grid inside the inner part of the box, each cell weighted by how much of it lies
    inside, less the camera's own motion there.  NaN where there is no motion or no box left.

    boxes: (N, 4) float32 pixels of a frame of `width` x `height`.
    """
    if motion is None or motion.grid.size == 0:
        return np.full((len(boxes), 2), np.nan, np.float32)
    rows, columns = motion.grid.shape[:2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2 * (INNER_WIDTH, INNER_HEIGHT)
    across = _shares(centres[:, 0] - halves[:, 0], centres[:, 0] + halves[:, 0], width, columns)
    down = _shares(centres[:, 1] - halves[:, 1], centres[:, 1] + halves[:, 1], height, rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = across.sum(axis=1) * down.sum(axis=1)
        mean = np.einsum("nr,nc,rcd->nd", down, across, motion.grid, optimize=True) / weight[:, None]
    background = centres @ motion.camera[:, :2].T + motion.camera[:, 2] - centres
    flow: Float32 = (mean - background).astype(np.float32)
    return flow


def _shares(
    low: NDArray[np.floating], high: NDArray[np.floating], length_px: int, cells: int
) -> NDArray[np.floating]:
    """(N, cells) pixels of each interval [low, high] that lie in each of the even cells."""
    edges = np.linspace(0, length_px, cells + 1)
    shares: NDArray[np.floating] = np.maximum(
        np.minimum(high[:, None], edges[None, 1:]) - np.maximum(low[:, None], edges[None, :-1]), 0
    )
    return shares
