"""Track trees: the leaves that the global hypotheses of one camera are made of.

A leaf is one possible history of one person: a track tree's root is the first detection, each level one
frame, each branch another detection (or none) taken to continue it (Reid 1979; Kurien 1990).  Leaves are
rows of three arrays, see `Leaves`; a leaf names its parent among the leaves of the frame before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import STATE, Float64

Int64 = NDArray[np.int64]

EVIDENCE, SCORE, WIDTH = STATE, STATE + 1, STATE + 2
"""Columns of `Leaves.state` behind the filter's: sum of calibrated scores, the last score; all columns."""

TREE, PARENT, DETECTION, FIRST_NS, LAST_NS, HITS, CONFIRMED, KNOWN, TAGS = range(9)
"""Columns of `Leaves.tags`."""


class Leaves(NamedTuple):
    """The leaves after one frame.

    state: (L, WIDTH) float64.  tags: (L, TAGS) int64: the tree; the parent among the leaves of the frame
    before, -1 for a root; the detection of this frame, -1 for none; when first and last detected; how
    often; whether confirmed; whether `looks` is known.  looks: (L, D) float64 smoothed embeddings.
    """

    state: Float64
    tags: Int64
    looks: Float64

    @classmethod
    def none(cls, dimensions: int = 0) -> Leaves:
        """No leaves."""
        return cls(np.empty((0, WIDTH)), np.empty((0, TAGS), np.int64), np.empty((0, dimensions)))
