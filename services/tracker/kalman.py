"""Motion of boxes: constant-velocity Kalman filters with real time steps, vectorised over tracks.

A box is four independent quantities, centre x, centre y, width and height; each has its own filter of
position and velocity.  All noise is proportional to the box's height, which stands for the distance to
the camera (as in DeepSORT, Wojke et al. 2017); process noise is white acceleration integrated over the
true time step (Bar-Shalom et al. 2001, 6.2.2), so nothing depends on the frame rate.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float64: TypeAlias = NDArray[np.float64]

ACCELERATION = np.array([0.3, 0.3, 0.1, 0.1])
"""Process noise in heights/s^1.5 of centre x, centre y, width, height."""

MEASUREMENT = np.array([0.05, 0.05, 0.06, 0.05])
"""Standard deviation of a detected centre x, centre y, width, height, in heights."""

INITIAL_SPEED = np.array([1.0, 0.5, 0.1, 0.1])
"""Standard deviation of the velocity of someone just seen, in heights/s."""

FLOW_SPEED = 0.5
"""Standard deviation of a velocity read from optical flow, in heights/s."""

MIN_HEIGHT_PX = 4.0


def to_centres(boxes: Float64) -> Float64:
    """(N, 4) `x0, y0, x1, y1` to (N, 4) `cx, cy, w, h`."""
    out = np.empty_like(boxes)
    out[:, :2] = (boxes[:, :2] + boxes[:, 2:]) / 2
    out[:, 2:] = boxes[:, 2:] - boxes[:, :2]
    return out


def to_corners(centres: Float64) -> Float64:
    """(N, 4) `cx, cy, w, h` to (N, 4) `x0, y0, x1, y1`."""
    half = centres[:, 2:] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)


class BoxFilters:
    """The filters of all tracks of one camera, one row a track.

    position, velocity: (N, 4) float64, `cx, cy, w, h` in pixels and pixels/s.
    variance: (N, 4, 3) float64, for each quantity var(position), cov(position, velocity), var(velocity).
    """

    def __init__(self) -> None:
        self.position: Float64 = np.empty((0, 4))
        self.velocity: Float64 = np.empty((0, 4))
        self.variance: Float64 = np.empty((0, 4, 3))

    def __len__(self) -> int:
        return len(self.position)

    def heights(self) -> Float64:
        """(N,) float64 pixels, never zero."""
        return np.maximum(self.position[:, 3], MIN_HEIGHT_PX)

    def boxes(self) -> Float64:
        """(N, 4) float64 `x0, y0, x1, y1`."""
        return to_corners(self.position)

    def predict(self, dt_s: float) -> None:
        """Move everything `dt_s` seconds ahead."""
        pp, pv, vv = self.variance[..., 0], self.variance[..., 1], self.variance[..., 2]
        q = (self.heights()[:, None] * ACCELERATION) ** 2
        self.position += self.velocity * dt_s
        pp += dt_s * (2 * pv + dt_s * vv) + q * (dt_s**3 / 3)
        pv += dt_s * vv + q * (dt_s**2 / 2)
        vv += q * dt_s
        np.maximum(self.position[:, 2:], 1.0, out=self.position[:, 2:])

    def warp(self, affine: Float64) -> None:
        """Follow the camera's own motion: (2, 3) affine from the previous frame's pixels to this one's."""
        linear, scale = affine[:, :2], float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
        self.position[:, :2] = self.position[:, :2] @ linear.T + affine[:, 2]
        self.velocity[:, :2] = self.velocity[:, :2] @ linear.T
        self.position[:, 2:] *= scale
        self.velocity[:, 2:] *= scale

    def damp(self, rows: NDArray[np.bool_], factor: float) -> None:
        """Slow down what is not seen: people who vanish seldom walk on unseen at full speed for long."""
        self.velocity[rows] *= factor

    def innovation(self, measured: Float64, noise: Float64) -> tuple[Float64, Float64]:
        """How far detections lie from predictions.

        measured: (M, 4) `cx, cy, w, h`.  noise: (M,) factor on the standard deviation of each detection.
        Returns (N, M) squared Mahalanobis distances and (N, M) logarithms of the determinant of the
        innovation covariance, both in units of the tracks' heights.
        """
        heights = self.heights()
        e = (measured[None] - self.position[:, None]) / heights[:, None, None]
        s = (self.variance[..., 0] / heights[:, None] ** 2)[:, None] + (noise[:, None] * MEASUREMENT) ** 2
        return (e * e / s).sum(axis=2), np.log(s).sum(axis=2)

    def update(self, rows: NDArray[np.intp], measured: Float64, noise: Float64) -> None:
        """Correct `rows` with (K, 4) measured boxes; noise: (K,) factor on the standard deviation."""
        r = (np.maximum(measured[:, 3:], MIN_HEIGHT_PX) * noise[:, None] * MEASUREMENT) ** 2
        var = self.variance[rows]
        pp, pv, vv = var[..., 0], var[..., 1], var[..., 2]
        s = pp + r
        kp, kv = pp / s, pv / s
        e = measured - self.position[rows]
        self.position[rows] += kp * e
        self.velocity[rows] += kv * e
        self.variance[rows] = np.stack([pp * (r / s), pv * (r / s), vv - kv * pv], axis=-1)

    def update_velocity(self, rows: NDArray[np.intp], velocity: Float64) -> None:
        """Correct the centre's velocity of `rows` with (K, 2) pixels/s read from optical flow."""
        r = (self.heights()[rows, None] * FLOW_SPEED) ** 2
        var = self.variance[rows, :2]
        pp, pv, vv = var[..., 0], var[..., 1], var[..., 2]
        s = vv + r
        kp, kv = pv / s, vv / s
        e = velocity - self.velocity[rows, :2]
        self.position[rows, :2] += kp * e
        self.velocity[rows, :2] += kv * e
        self.variance[rows, :2] = np.stack([pp - kp * pv, pv * (r / s), vv * (r / s)], axis=-1)

    def add(self, measured: Float64, noise: Float64) -> None:
        """New rows at (K, 4) measured boxes, at rest until they are seen to move."""
        heights = np.maximum(measured[:, 3:], MIN_HEIGHT_PX)
        variance = np.zeros((len(measured), 4, 3))
        variance[..., 0] = (heights * noise[:, None] * MEASUREMENT) ** 2
        variance[..., 2] = (heights * INITIAL_SPEED) ** 2
        self.position = np.concatenate([self.position, measured])
        self.velocity = np.concatenate([self.velocity, np.zeros_like(measured)])
        self.variance = np.concatenate([self.variance, variance])

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Forget all rows but these."""
        self.position, self.velocity, self.variance = (
            self.position[rows],
            self.velocity[rows],
            self.variance[rows],
        )
