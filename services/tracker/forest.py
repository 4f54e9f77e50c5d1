"""The global hypotheses of one camera over the leaves of its track trees, frame by frame."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.hypothesis import compact, expand, grow, prune
from services.tracker.kalman import Float64, predict, warp
from services.tracker.leaves import DETECTION, FIRST_NS, PARENT, TREE, Int64, Leaves
from services.tracker.likelihood import covered, miss_costs, newcomers, pair_costs
from services.tracker.parameters import Parameters


class Evidence(NamedTuple):
    """The detections of one frame as the hypotheses see them, M of them.

    boxes: (M, 4) `x0, y0, x1, y1`.  centres: (M, 4) `cx, cy, w, h`.  noise: (M,) factor on the standard
    deviation of the boxes.  scores: (M,) calibrated.  belief: (M,) log-odds of being somebody, at most 0.
    strong: (M,) bool, may start a track.  flow: (M, 2) pixels, NaN where unknown.  vectors: (M, D)
    embeddings, zero where there is none.  quality: (M,), 0 where there is none.
    """

    boxes: Float64
    centres: Float64
    noise: Float64
    scores: Float64
    belief: Float64
    strong: NDArray[np.bool_]
    flow: Float64
    vectors: Float64
    quality: Float64


class Generation(NamedTuple):
    """One frame of the past.

    dt_s, affine: time and the camera's motion since the frame before.  state, tags: the leaves after it.
    vectors, quality: the embeddings of its detections.
    """

    t_ns: int
    dt_s: float
    affine: Float64
    state: Float64
    tags: Int64
    vectors: Float64
    quality: Float64


class Forest:
    """Track trees and the hypotheses over them.

    members: (H, N) int64 leaves of each hypothesis, of which the first sizes[h] count.  costs: (H,)
    minus log-likelihoods, the best 0.  parted: (H, H) when each two parted.  shown: the one to believe now.
    past: the last frames, oldest first, the newest being now.
    """

    def __init__(self, parameters: Parameters, memory_s: float) -> None:
        self.parameters = parameters
        self.memory_s = memory_s
        self.leaves = Leaves.none()
        self.members: Int64 = np.empty((1, 0), np.int64)
        self.sizes: Int64 = np.zeros(1, np.int64)
        self.costs: Float64 = np.zeros(1)
        self.parted: Int64 = np.zeros((1, 1), np.int64)
        self.shown = 0
        self.tree = 1
        self.sigma = np.array([parameters.place] * 2 + [parameters.shape] * 2)
        self.past: deque[Generation] = deque()

    @property
    def believed(self) -> Int64:
        """(N,) the leaves of the shown hypothesis."""
        return self.members[self.shown, : self.sizes[self.shown]]

    def predict(self, dt_s: float, affine: Float64 | None) -> None:
        """Move all leaves ahead; affine: the camera's motion, None where it stood still."""
        state = self.leaves.state.copy()
        predict(state, dt_s, self.parameters)
        if affine is not None:
            warp(state, affine)
        self.leaves = self.leaves._replace(state=state)

    def step(
        self,
        evidence: Evidence,
        *,
        t_ns: int,
        dt_s: float,
        affine: Float64,
        size_px: tuple[int, int],
        age_s: float,
        same: tuple[float, float],
        different: tuple[float, float],
    ) -> int | None:
        """Take in one frame's detections, to which the leaves have been predicted.

        same, different: mean and standard deviation of the cosines of one person and of two.  Returns the
        time since which the shown hypothesis is another one than was shown before, None if it is the same.
        """
        p = self.parameters
        leaves = self.leaves
        width, height = float(size_px[0]), float(size_px[1])
        dimensions = evidence.vectors.shape[1]
        if leaves.looks.shape[1] != dimensions:
            leaves = leaves._replace(looks=np.zeros((len(leaves.state), dimensions)))
        sigma = self.sigma
        new = newcomers(evidence.boxes, evidence.centres, width, height, p)
        cost = pair_costs(
            leaves.state,
            leaves.tags,
            leaves.looks,
            evidence.centres,
            evidence.noise,
            sigma,
            np.minimum(evidence.belief, 0.0),
            evidence.strong,
            new,
            evidence.vectors,
            evidence.quality,
            same,
            different,
            t_ns,
            age_s,
            p,
        )
        last_ns = t_ns - round(dt_s * 1e9)
        hidden = covered(leaves.state, leaves.tags, self.believed, last_ns, width, height)
        miss = miss_costs(leaves.tags, hidden, last_ns, t_ns, dt_s, p)
        share = 1.0 - math.exp(-dt_s / p.repeat_s) if dt_s > 0.0 else 1.0
        cost *= share
        miss *= share
        parents, columns, costs = expand(cost, miss, self.members, self.sizes, self.costs, self.shown, p)
        state, tags, looks, members, sizes, self.tree = grow(
            leaves.state, leaves.tags, leaves.looks, self.members, self.sizes, parents, columns,
            evidence.boxes, evidence.centres, evidence.noise, sigma, evidence.scores, evidence.belief,
            evidence.strong, evidence.flow, evidence.vectors, evidence.quality,
            t_ns, dt_s, width, height, max(age_s, self.memory_s), self.tree, p,
        )  # fmt: skip
        kept, place, parted = prune(tags, members, sizes, costs, parents, self.parted, self.shown, t_ns, p)
        before = parents[kept[place]]
        since = None if before == self.shown else int(self.parted[before, self.shown])
        state, tags, looks, self.members, self.sizes = compact(state, tags, looks, members, sizes, kept)
        self.leaves = Leaves(state, tags, looks)
        self.costs = costs[kept] - costs[kept].min()
        self.parted, self.shown = parted, int(place)
        self.past.append(Generation(t_ns, dt_s, affine, state, tags, evidence.vectors, evidence.quality))
        while (t_ns - self.past[0].t_ns) * 1e-9 > self.memory_s:
            self.past.popleft()
        return since

    def drop(self, trees: Collection[int]) -> None:
        """Take these trees out of all hypotheses."""
        gone = np.isin(self.leaves.tags[:, TREE], list(trees))
        for hypothesis, size in enumerate(self.sizes.tolist()):
            own = self.members[hypothesis, :size]
            stay = own[~gone[own]]
            self.members[hypothesis] = -1
            self.members[hypothesis, : len(stay)] = stay
            self.sizes[hypothesis] = len(stay)

    def rename(self, old: int, t_ns: int) -> int:
        """Let a tree go on under a new number, as somebody first seen at t_ns; returns the number."""
        new, self.tree = self.tree, self.tree + 1
        rows = self.leaves.tags[:, TREE] == old
        self.leaves.tags[rows, TREE] = new
        self.leaves.tags[rows, FIRST_NS] = t_ns
        return new

    def history(self, leaf: int, since_ns: int) -> list[tuple[Generation, int]]:
        """A leaf's detections at since_ns and later, as frames and rows of their leaves, oldest first."""
        found = []
        for generation in reversed(self.past):
            if generation.t_ns < since_ns or leaf < 0:
                break
            if generation.tags[leaf, DETECTION] >= 0:
                found.append((generation, leaf))
            leaf = int(generation.tags[leaf, PARENT])
        return found[::-1]

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [
            list(self.leaves),
            self.members,
            self.sizes,
            self.costs,
            self.parted,
            self.shown,
            self.tree,
            [list(generation) for generation in self.past],
        ]

    @classmethod
    def restored(cls, state: list[Any], parameters: Parameters, memory_s: float) -> Forest:
        """What `state` gave."""
        forest = cls(parameters, memory_s)
        leaves, forest.members, forest.sizes, forest.costs, forest.parted, *rest = state
        forest.shown, forest.tree, past = rest
        forest.leaves = Leaves(*leaves)
        forest.past = deque(Generation(*generation) for generation in past)
        if forest.past:  # the same arrays, as they were
            forest.leaves = forest.leaves._replace(tags=forest.past[-1].tags)
        return forest
