"""The camera's own motion, estimated from the detections where no pictures tell it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import MIN_HEIGHT_PX, STATE, VARIANCE, Float64
from services.tracker.leaves import CONFIRMED, LAST_NS, Int64
from services.tracker.parameters import Parameters

NEAR = 1.0
"""Detections farther from a prediction than so many of its heights do not take part."""

TENTATIVE = 0.3
"""Weight of somebody who is not confirmed."""

ALIKE = 0.15
"""Standard deviation of the logarithm of a person's height from frame to frame."""


@compiled
def shift(
    predicted: Float64,
    weight: Float64,
    centres: Float64,
    usual: tuple[float, float],
    dt_s: float,
    p: Parameters,
) -> tuple[float, float]:
    """The displacement (dx, dy) in pixels that all detections share against the predictions.

    predicted: (N, 20) filter rows.  weight: (N,) how much each can be trusted.  centres: (M, 4) `cx, cy,
    w, h`.  usual: the displacement to expect of a camera that goes on as of late.  Every pair that may be
    one person proposes its displacement; the one with which most predictions meet a detection wins (a mode,
    not a mean, so a few who walk otherwise do not matter), and is drawn towards what is usual or towards
    zero, whichever is nearer, as far as few agree.
    """
    usual_x, usual_y = usual
    n, m = len(predicted), len(centres)
    dx, dy = np.empty(n * m), np.empty(n * m)
    spread, prior = np.empty(n * m), np.empty(n * m)
    of = np.empty(n * m, np.int64)
    count = 0
    heights = 0.0
    for i in range(n):
        h = max(predicted[i, 3], MIN_HEIGHT_PX)
        heights += h
        if weight[i] <= 0.0:
            continue
        for j in range(m):
            x, y = centres[j, 0] - predicted[i, 0], centres[j, 1] - predicted[i, 1]
            if abs(x - usual_x) > NEAR * h or abs(y - usual_y) > NEAR * h:
                continue
            size = math.log(max(centres[j, 3], MIN_HEIGHT_PX) / h) / ALIKE
            if abs(size) > 2.0:
                continue
            dx[count], dy[count], of[count] = x, y, i
            spread[count] = h * h * p.place * p.place + predicted[i, VARIANCE]
            prior[count] = weight[i] * math.exp(-0.5 * size * size)
            count += 1
    if count < 2:
        return usual_x, usual_y
    shake = (p.shake * heights / n) ** 2 * dt_s
    best, best_x, best_y = -np.inf, 0.0, 0.0
    hit = np.empty(n)
    for c in range(-2, count):
        if c == -2:
            x, y = 0.0, 0.0
        elif c == -1:
            x, y = usual_x, usual_y
        else:
            x, y = dx[c], dy[c]
        hit[:] = 0.0
        for k in range(count):
            d = ((dx[k] - x) ** 2 + (dy[k] - y) ** 2) / spread[k]
            if d < 16.0:
                hit[of[k]] = max(hit[of[k]], prior[k] * math.exp(-0.5 * d))
        off = min((x - usual_x) ** 2 + (y - usual_y) ** 2, x * x + y * y)
        total = -0.5 * math.log1p(off / shake)
        for i in range(n):
            total += hit[i]
        if total > best:
            best, best_x, best_y = total, x, y
    if (best_x - usual_x) ** 2 + (best_y - usual_y) ** 2 > best_x**2 + best_y**2:
        usual_x, usual_y = 0.0, 0.0
    sum_x, sum_y, sum_w = usual_x / shake, usual_y / shake, 1.0 / shake
    for k in range(count):
        d = ((dx[k] - best_x) ** 2 + (dy[k] - best_y) ** 2) / spread[k]
        if d < 16.0:
            w = prior[k] * math.exp(-0.5 * d) / spread[k]
            sum_x += w * dx[k]
            sum_y += w * dy[k]
            sum_w += w
    return sum_x / sum_w, sum_y / sum_w


@compiled
def shake(
    state: Float64,
    tags: Int64,
    believed: Int64,
    last_ns: int,
    centres: Float64,
    strong: NDArray[np.bool_],
    drift: Float64,
    dt_s: float,
    p: Parameters,
) -> tuple[Float64, Float64]:
    """Estimate the camera's motion with the believed leaves, and let all of them follow it, in place.

    last_ns: the frame before; who was not seen in it says nothing.  strong: (M,) the detections to heed.
    drift: (2,) pixels/s, the camera's usual velocity of late, which is forgotten while fewer than two people
    tell of it.  Returns the motion since the frame before as
    a (2, 3) affine, and the drift from now on.
    """
    rows, weight = np.empty((len(believed), STATE)), np.empty(len(believed))
    for i in range(len(believed)):
        leaf = believed[i]
        fresh = tags[leaf, LAST_NS] >= last_ns
        weight[i] = (1.0 if tags[leaf, CONFIRMED] else TENTATIVE) if fresh else 0.0
        for d in range(STATE):
            rows[i, d] = state[leaf, d]
    seen = np.empty((len(centres), 4))
    count = 0
    for j in range(len(centres)):
        if strong[j]:
            for d in range(4):
                seen[count, d] = centres[j, d]
            count += 1
    dx, dy = shift(rows, weight, seen[:count], (drift[0] * dt_s, drift[1] * dt_s), dt_s, p)
    for leaf in range(len(state)):
        state[leaf, 0] += dx
        state[leaf, 1] += dy
    moved = np.array([dx, dy])
    keep = math.exp(-dt_s / p.swing_s)
    after = keep * drift
    if dt_s > 0.0 and count >= 2 and np.count_nonzero(weight) >= 2:
        after += (1.0 - keep) * moved / dt_s
    return np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]]), after
