"""The global hypotheses of one camera over the leaves of its track trees, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from services.tracker.advance import Evidence, Hypotheses, advance
from services.tracker.kalman import Float64
from services.tracker.leaves import DETECTION, FIRST_NS, KNOWN, PARENT, TREE, Int64, Leaves
from services.tracker.parameters import Parameters


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

    drift: (2,) pixels/s of the camera's own motion of late, where no picture tells it.  tree: number of the
    next tree.  past: the last frames, oldest first, the newest being now.
    """

    def __init__(self, parameters: Parameters, memory_s: float) -> None:
        self.parameters = parameters
        self.memory_s = memory_s
        self.leaves = Leaves.none()
        self.hypotheses = Hypotheses.none()
        self.drift: Float64 = np.zeros(2)
        self.tree = 1
        self.past: deque[Generation] = deque()

    @property
    def believed(self) -> Int64:
        """(N,) the leaves of the shown hypothesis."""
        shown = self.hypotheses.shown[0]
        return self.hypotheses.members[shown, : self.hypotheses.sizes[shown]]

    def step(
        self,
        evidence: Evidence,
        *,
        t_ns: int,
        dt_s: float,
        affine: Float64 | None,
        size_px: tuple[int, int],
        age_s: float,
        same: tuple[float, float],
        different: tuple[float, float],
    ) -> int | None:
        """Take in one frame's detections.

        affine: the camera's motion since the frame before, None where no picture tells it.  same,
        different: mean and standard deviation of the cosines of one person and of two.  Returns the time
        since which the shown hypothesis is another one than was shown before, None if it is the same.
        """
        leaves = self.leaves
        dimensions = evidence.vectors.shape[1]
        if leaves.looks.shape[1] != dimensions:
            leaves = leaves._replace(looks=np.zeros((len(leaves.state), dimensions)))
            leaves.tags[:, KNOWN] = 0
        (
            state, tags, looks, members, sizes, costs, parted, shown, self.tree, affine, self.drift, since_ns,
        ) = advance(
            leaves, self.hypotheses, evidence, _STILL if affine is None else affine, affine is not None,
            self.drift, t_ns, dt_s, float(size_px[0]), float(size_px[1]), age_s, self.memory_s,
            same, different, self.tree, self.parameters,
        )  # fmt: skip
        self.leaves = Leaves(state, tags, looks)
        self.hypotheses = Hypotheses(members, sizes, costs, parted, shown)
        self.past.append(Generation(t_ns, dt_s, affine, state, tags, evidence.vectors, evidence.quality))
        while (t_ns - self.past[0].t_ns) * 1e-9 > self.memory_s:
            self.past.popleft()
        return None if since_ns < 0 else since_ns

    def drop(self, trees: Collection[int]) -> None:
        """Take these trees out of all hypotheses."""
        gone = np.isin(self.leaves.tags[:, TREE], list(trees))
        members, sizes = self.hypotheses.members, self.hypotheses.sizes
        for hypothesis, size in enumerate(sizes.tolist()):
            own = members[hypothesis, :size]
            stay = own[~gone[own]]
            members[hypothesis] = -1
            members[hypothesis, : len(stay)] = stay
            sizes[hypothesis] = len(stay)

    def erase(self, trees: Collection[int]) -> None:
        """Take these trees out of all hypotheses, and clear every embedding that any of them has used."""
        self.drop(trees)
        wanted = list(trees)
        self.leaves.looks[np.isin(self.leaves.tags[:, TREE], wanted)] = 0.0
        for generation in self.past:
            own = np.isin(generation.tags[:, TREE], wanted)
            columns = generation.tags[own, DETECTION]
            columns = columns[columns >= 0]
            generation.vectors[columns] = 0.0
            generation.quality[columns] = 0.0

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
            list(self.hypotheses),
            self.drift,
            self.tree,
            [list(generation) for generation in self.past],
        ]

    @classmethod
    def restored(cls, state: list[Any], parameters: Parameters, memory_s: float) -> Forest:
        """What `state` gave."""
        forest = cls(parameters, memory_s)
        leaves, hypotheses, forest.drift, forest.tree, past = state
        forest.leaves = Leaves(*leaves)
        forest.hypotheses = Hypotheses(*hypotheses)
        forest.past = deque(Generation(*generation) for generation in past)
        if forest.past:  # the same arrays, as they were
            forest.leaves = forest.leaves._replace(tags=forest.past[-1].tags)
        return forest


_STILL = np.eye(2, 3)
