"""How much better a detection is explained by a track than by somebody new: log-likelihood ratios."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import MIN_HEIGHT_PX, VARIANCE, Float64
from services.tracker.leaves import CONFIRMED, KNOWN, LAST_NS, TREE, Int64
from services.tracker.parameters import Parameters

DIMENSIONS = 4

LOST_S = 1.0
"""Who has not been seen for so long is surely behind something, or gone."""

COVERED = 2.0 / 3.0
"""Share of a box behind somebody, or outside the picture, from which on no detection is expected."""


@compiled
def iou(a: Float64, b: Float64) -> float:
    """Intersection over union of two boxes `x0, y0, x1, y1`."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / max(both - shared, 1e-9))


@compiled
def newcomers(boxes: Float64, centres: Float64, width: float, height: float, p: Parameters) -> Float64:
    """(M,) log-density of somebody new being detected at each of (M, 4) boxes.

    Uniform over the picture, as far as people of that size have room in it, and denser at its border, where
    people come in.
    """
    out = np.empty(len(boxes))
    area = max(width * height, 1.0)
    for j in range(len(boxes)):
        h = max(centres[j, 3], MIN_HEIGHT_PX)
        out[j] = math.log(min(p.newcomers * h * h / area, p.dense) / p.shapes) + 2.0 * math.log(2.0 * math.pi)
        margin = min(boxes[j, 0], boxes[j, 1], width - boxes[j, 2], height - boxes[j, 3])
        if margin < p.door * h:
            out[j] += math.log(p.border)
    return out


@compiled
def covered(
    state: Float64, tags: Int64, believed: Int64, last_ns: int, width: float, height: float
) -> Float64:
    """(L,) share of each leaf's predicted box that is outside the picture or behind somebody nearer.

    Nearer is whose feet are lower in the picture, of the confirmed `believed` leaves seen since last_ns.
    """
    out = np.zeros(len(state))
    for i in range(len(state)):
        x0, x1 = state[i, 0] - state[i, 2] / 2.0, state[i, 0] + state[i, 2] / 2.0
        y0, y1 = state[i, 1] - state[i, 3] / 2.0, state[i, 1] + state[i, 3] / 2.0
        area = max(state[i, 2] * state[i, 3], 1e-9)
        inside = max(min(x1, width) - max(x0, 0.0), 0.0) * max(min(y1, height) - max(y0, 0.0), 0.0)
        out[i] = 1.0 - inside / area
        for k in range(len(believed)):
            b = believed[k]
            if tags[b, TREE] == tags[i, TREE] or tags[b, CONFIRMED] == 0 or tags[b, LAST_NS] < last_ns:
                continue
            if state[b, 1] + state[b, 3] / 2.0 <= y1:
                continue
            wide = min(x1, state[b, 0] + state[b, 2] / 2.0) - max(x0, state[b, 0] - state[b, 2] / 2.0)
            high = min(y1, state[b, 1] + state[b, 3] / 2.0) - max(y0, state[b, 1] - state[b, 3] / 2.0)
            if wide > 0.0 and high > 0.0:
                out[i] = max(out[i], wide * high / area)
    return out


@compiled
def miss_costs(tags: Int64, hidden: Float64, last_ns: int, t_ns: int, dt_s: float, p: Parameters) -> Float64:
    """(L,) what it costs that a leaf goes without a detection for dt_s; nothing once it is surely lost.

    hidden: (L,) what `covered` gives: who is not to be seen cannot be detected.  last_ns: the frame before.
    """
    out = np.zeros(len(tags))
    for i in range(len(tags)):
        if tags[i, CONFIRMED] and (t_ns - tags[i, LAST_NS]) * 1e-9 <= LOST_S:
            fresh = tags[i, LAST_NS] >= last_ns
            out[i] = ((p.hide if fresh else 0.0) + p.miss * dt_s) * max(1.0 - hidden[i] / COVERED, 0.0)
    return out


@compiled
def pair_costs(
    state: Float64,
    tags: Int64,
    looks: Float64,
    centres: Float64,
    noise: Float64,
    sigma: Float64,
    belief: Float64,
    strong: NDArray[np.bool_],
    newcomer: Float64,
    vectors: Float64,
    quality: Float64,
    same: tuple[float, float],
    different: tuple[float, float],
    t_ns: int,
    age_s: float,
    p: Parameters,
) -> Float64:
    """(L, M) what it costs that a leaf continues with a detection: minus the log-likelihood ratio.

    Infinite where it cannot be.  The innovation is heavy-tailed because detectors jump: a multivariate
    Student distribution (Roth et al. 2013).  belief: (M,) log-odds of each detection being somebody, as
    far as its score tells.  same, different: mean and standard deviation of the cosines of one person and
    of two.
    """
    n, m = len(state), len(centres)
    out = np.full((n, m), np.inf)
    low, high = min(same[0], different[0]), max(same[0], different[0])
    for i in range(n):
        row = state[i]
        h = max(row[3], MIN_HEIGHT_PX)
        unseen_s = (t_ns - tags[i, LAST_NS]) * 1e-9
        if unseen_s > age_s:
            continue
        confirmed = tags[i, CONFIRMED] != 0
        prior = -unseen_s / p.survival_s - (0.0 if confirmed else p.doubt)
        weak_too = confirmed and unseen_s <= p.weak_s
        reach = math.sqrt(p.gate * (row[VARIANCE] / (h * h) + (2.0 * sigma[0]) ** 2)) * h
        for j in range(m):
            if abs(centres[j, 0] - row[0]) > reach or not (strong[j] or weak_too):
                continue
            distance, determinant = 0.0, 1.0
            for axis in range(4):
                spread = noise[j] * sigma[axis]
                s = row[VARIANCE + 3 * axis] / (h * h) + spread * spread
                e = (centres[j, axis] - row[axis]) / h
                distance += e * e / s
                determinant *= s
            if distance > p.gate:
                continue
            score = -0.5 * math.log(determinant)
            score -= (p.freedom + DIMENSIONS) / 2.0 * math.log1p(distance / p.freedom)
            score += prior + belief[j] - newcomer[j]
            if quality[j] > 0.0 and tags[i, KNOWN]:
                cosine = 0.0
                for d in range(vectors.shape[1]):
                    cosine += vectors[j, d] * looks[i, d]
                c = min(max(cosine, low), high)
                ratio = ((c - different[0]) / different[1]) ** 2 / 2.0 - ((c - same[0]) / same[1]) ** 2 / 2.0
                ratio += math.log(different[1] / same[1])
                score += quality[j] * min(max(ratio, -BOUND), BOUND)
            out[i, j] = -score
    return out


BOUND = 4.0
"""No cosine is proof: its log-likelihood ratio never exceeds this."""
