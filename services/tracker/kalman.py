"""Motion of boxes: Kalman filters with real time steps, one row a track leaf.

A box is four independent quantities, centre x, centre y, width and height; each has its own filter of
position and velocity.  A velocity forgets itself (an Ornstein-Uhlenbeck process, discretized exactly over
the true time step; Bar-Shalom et al. 2001, 8.2, the Singer model's velocity), so that who is not seen
slows down and its uncertainty stays bounded; nothing depends on the frame rate.  All noise is
proportional to the box's height, which stands for the distance to the camera (as in DeepSORT, Wojke et
al. 2017).

A row of `state` (float64) is position 4, velocity 4, and for each quantity var(position),
cov(position, velocity), var(velocity); see `STATE`.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.parameters import Parameters

Float64: TypeAlias = NDArray[np.float64]

VELOCITY, VARIANCE, STATE = 4, 8, 20
"""Where in a row velocities and variances begin, and where all of it ends."""

MIN_HEIGHT_PX = 4.0

MOST_SURPRISE = 16.0
"""Squared innovation, in variances, beyond which a filter is not shaken more."""


@compiled
def to_centres(boxes: Float64) -> Float64:
    """(N, 4) `x0, y0, x1, y1` to (N, 4) `cx, cy, w, h`."""
    out = np.empty((len(boxes), 4))
    for i in range(len(boxes)):
        for axis in range(2):
            out[i, axis] = (boxes[i, axis] + boxes[i, axis + 2]) / 2.0
            out[i, axis + 2] = boxes[i, axis + 2] - boxes[i, axis]
    return out


@compiled
def to_corners(centres: Float64) -> Float64:
    """(N, 4) `cx, cy, w, h` to (N, 4) `x0, y0, x1, y1`."""
    out = np.empty((len(centres), 4))
    for i in range(len(centres)):
        for axis in range(2):
            half = centres[i, axis + 2] / 2
            out[i, axis], out[i, axis + 2] = centres[i, axis] - half, centres[i, axis] + half
    return out


@compiled
def predict(state: Float64, dt_s: float, p: Parameters) -> None:
    """Move all rows `dt_s` seconds ahead, in place."""
    if dt_s <= 0.0:
        return
    tau = p.persistence_s
    keep = math.exp(-dt_s / tau)
    reach = tau * (1.0 - keep)
    q_vv = 1.0 - keep * keep
    q_pv = tau * (1.0 - keep) ** 2
    q_pp = 2.0 * tau * (dt_s - 2.0 * reach + tau / 2.0 * q_vv)
    for i in range(len(state)):
        row = state[i]
        height = max(row[3], MIN_HEIGHT_PX)
        for axis in range(4):
            speed = p.speed if axis < 2 else p.growth
            power = (speed * height) ** 2
            jolt = (p.jolt * height) ** 2 * dt_s if axis < 2 else 0.0
            k = VARIANCE + 3 * axis
            pp, pv, vv = row[k], row[k + 1], row[k + 2]
            row[axis] += reach * row[VELOCITY + axis]
            row[VELOCITY + axis] *= keep
            row[k] = pp + 2.0 * reach * pv + reach * reach * vv + power * q_pp + jolt
            row[k + 1] = keep * (pv + reach * vv) + power * q_pv
            row[k + 2] = keep * keep * vv + power * q_vv
        row[2] = max(row[2], 1.0)
        row[3] = max(row[3], 1.0)


@compiled
def warp(state: Float64, affine: Float64) -> None:
    """Follow the camera's own motion, in place: (2, 3) from the previous frame's pixels to this one's."""
    a, b, c, d = affine[0, 0], affine[0, 1], affine[1, 0], affine[1, 1]
    scale = math.sqrt(abs(a * d - b * c))
    for i in range(len(state)):
        row = state[i]
        x, y, vx, vy = row[0], row[1], row[VELOCITY], row[VELOCITY + 1]
        row[0], row[1] = a * x + b * y + affine[0, 2], c * x + d * y + affine[1, 2]
        row[VELOCITY], row[VELOCITY + 1] = a * vx + b * vy, c * vx + d * vy
        row[2] *= scale
        row[3] *= scale
        row[VELOCITY + 2] *= scale
        row[VELOCITY + 3] *= scale
        for k in range(VARIANCE, STATE):
            row[k] *= scale * scale


@compiled
def update(row: Float64, measured: Float64, noise: float, sigma: Float64, freedom: float) -> None:
    """Correct one row with a box `cx, cy, w, h`, in place; noise: factor on its standard deviation.

    The variances grow with the square of an innovation that is larger than expected, as those of a Student
    distribution of so much `freedom` do (Roth et al. 2013): somebody who suddenly moves otherwise, or comes
    quickly nearer, is caught up with instead of lost.
    """
    height = max(measured[3], MIN_HEIGHT_PX) * noise
    for axis in range(4):
        r = (height * sigma[axis]) ** 2
        k = VARIANCE + 3 * axis
        pp, pv, vv = row[k], row[k + 1], row[k + 2]
        s = pp + r
        e = measured[axis] - row[axis]
        row[axis] += pp / s * e
        row[VELOCITY + axis] += pv / s * e
        surprise = (freedom + min(e * e / s, MOST_SURPRISE)) / (freedom + 1.0)
        row[k] = pp * (r / s) * surprise
        row[k + 1] = pv * (r / s) * surprise
        row[k + 2] = (vv - pv / s * pv) * surprise
    row[2] = max(row[2], 1.0)
    row[3] = max(row[3], 1.0)


@compiled
def update_velocity(row: Float64, vx: float, vy: float, p: Parameters) -> None:
    """Correct the centre's velocity of one row with pixels/s read from optical flow, in place."""
    r = (max(row[3], MIN_HEIGHT_PX) * p.flow) ** 2
    for axis in range(2):
        k = VARIANCE + 3 * axis
        pp, pv, vv = row[k], row[k + 1], row[k + 2]
        s = vv + r
        e = (vx if axis == 0 else vy) - row[VELOCITY + axis]
        row[axis] += pv / s * e
        row[VELOCITY + axis] += vv / s * e
        row[k] = pp - pv / s * pv
        row[k + 1] = pv * (r / s)
        row[k + 2] = vv * (r / s)


@compiled
def begin(row: Float64, measured: Float64, noise: float, sigma: Float64, p: Parameters) -> None:
    """Fill one row with someone first seen at a box `cx, cy, w, h`, at rest until seen to move."""
    height = max(measured[3], MIN_HEIGHT_PX)
    for axis in range(4):
        row[axis] = measured[axis]
        row[VELOCITY + axis] = 0.0
        k = VARIANCE + 3 * axis
        row[k] = (height * noise * sigma[axis]) ** 2
        row[k + 1] = 0.0
        row[k + 2] = (height * (p.speed if axis < 2 else p.growth)) ** 2
