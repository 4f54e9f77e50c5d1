"""One frame of one camera in one call: prediction, the camera's motion, hypotheses, pruning.

All of it is one compiled function, because to enter one costs as much as what some of the steps do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from services.tracker.camera_motion import shake
from services.tracker.compiled import compiled
from services.tracker.hypothesis import compact, expand, grow, prune, remembered
from services.tracker.kalman import Float64, predict, to_centres, warp
from services.tracker.leaves import Int64, Leaves
from services.tracker.likelihood import covered, miss_costs, newcomers, pair_costs
from services.tracker.parameters import Parameters


class Evidence(NamedTuple):
    """The detections of one frame, M of them.

    boxes: (M, 4) `x0, y0, x1, y1`.  scores: (M,) as the detector gave them.  belief: (M,) log-odds of being
    somebody.  flow: (M, 2) pixels, NaN where unknown.  vectors: (M, D) embeddings, zero where there is
    none.  quality: (M,), 0 where there is none.
    """

    boxes: Float64
    scores: Float64
    belief: Float64
    flow: Float64
    vectors: Float64
    quality: Float64


class Hypotheses(NamedTuple):
    """The global hypotheses over the leaves of a camera.

    members: (H, N) int64 leaves of each hypothesis, of which the first sizes[h] count.  costs: (H,)
    minus log-likelihoods, the best 0.  parted: (H, H) when each two parted.  shown: (1,) the one to
    believe now.
    """

    members: Int64
    sizes: Int64
    costs: Float64
    parted: Int64
    shown: Int64

    @classmethod
    def none(cls) -> Hypotheses:
        """One, that nobody is there."""
        return cls(
            np.empty((1, 0), np.int64),
            np.zeros(1, np.int64),
            np.zeros(1),
            np.zeros((1, 1), np.int64),
            np.zeros(1, np.int64),
        )


@compiled
def advance(
    leaves: Leaves,
    hypotheses: Hypotheses,
    evidence: Evidence,
    affine: Float64,
    measured: bool,
    drift: Float64,
    t_ns: int,
    dt_s: float,
    width: float,
    height: float,
    age_s: float,
    memory_s: float,
    same: tuple[float, float],
    different: tuple[float, float],
    tree: int,
    p: Parameters,
) -> tuple[Float64, Int64, Float64, Int64, Int64, Float64, Int64, Int64, int, Float64, Float64, int]:
    """Take in one frame's detections, dt_s after the frame before.

    affine: (2, 3) the camera's motion since then; where it is not `measured` it is estimated instead, with
    its usual velocity `drift`, (2,) pixels/s.  memory_s: for how long anything unseen is kept.  same,
    different: mean and standard deviation of the cosines of one person and of two.  tree: number of the
    next new tree.  Returns the leaves' three arrays, the hypotheses' five, the next tree's number, the
    camera's motion and drift, and the time since which the shown hypothesis is another one than was shown
    before, -1 if it is the same.
    """
    state = leaves.state.copy()
    tags = leaves.tags
    shown = hypotheses.shown[0]
    believed = hypotheses.members[shown, : hypotheses.sizes[shown]]
    last_ns = t_ns - round(dt_s * 1e9)
    centres = to_centres(evidence.boxes)
    noise = 2.0 - 1.0 / (1.0 + np.exp(-evidence.belief))
    strong = evidence.belief >= p.strong
    sigma = np.array([p.place, p.place, p.shape, p.shape])
    predict(state, dt_s, p)
    if measured:
        warp(state, affine)
    else:
        affine, drift = shake(state, tags, believed, last_ns, centres, strong, drift, dt_s, p)
    hidden = covered(state, tags, believed, last_ns, width, height)
    # What is seen again at once tells hardly anything new.
    share = 1.0 - math.exp(-dt_s / p.repeat_s) if dt_s > 0.0 else 1.0
    miss = share * miss_costs(tags, hidden, last_ns, t_ns, dt_s, p)
    cost = share * pair_costs(
        state, tags, leaves.looks, centres, noise, sigma, np.minimum(evidence.belief, 0.0), strong,
        newcomers(evidence.boxes, centres, width, height, p), evidence.vectors, evidence.quality,
        same, different, t_ns, age_s, p,
    )  # fmt: skip
    parents, columns, costs = expand(
        cost, miss, hypotheses.members, hypotheses.sizes, hypotheses.costs, shown, p
    )
    new_state, new_tags, members, sizes, tree, doubled = grow(
        state, tags, hypotheses.members, hypotheses.sizes, parents, columns,
        evidence.boxes, centres, noise, sigma, evidence.scores, evidence.belief,
        strong, evidence.flow, t_ns, dt_s, width, height, max(age_s, memory_s), tree, p,
    )  # fmt: skip
    # That somebody new is where somebody is already is one event, however fast frames repeat it.
    costs = costs + (1.0 - share) * p.double * doubled
    kept, place, parted = prune(new_tags, members, sizes, costs, parents, hypotheses.parted, shown, t_ns, p)
    before = parents[kept[place]]
    since_ns = -1 if before == shown else hypotheses.parted[before, shown]
    new_state, new_tags, members, sizes = compact(new_state, new_tags, members, sizes, kept)
    new_looks = remembered(new_tags, leaves.looks, evidence.vectors, evidence.quality)
    costs = costs[kept]
    return (
        new_state, new_tags, new_looks, members, sizes, costs - costs.min(), parted, np.array([place]), tree,
        affine, drift, since_ns,
    )  # fmt: skip
