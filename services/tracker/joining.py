"""People who have been taken for several, for each camera saw them from another side: joined over views.

The cover (`chains.py`) asks of each track how it began.  Two people whose tracks all began for reasons of
their own can be one all the same, where cameras see them at once in places and with looks that fit: the
pair of their tracks that is most alike decides (single linkage), unless another pair contradicts.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.cover import climb, excludes
from services.tracker.person import TrackedPerson
from services.tracker.stays import Pairs, Stays
from services.tracker.track import Track
from services.tracker.ways import TOUCH_S

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
When: TypeAlias = tuple[Int64, Int64, Int64, Int64, Int64, int]


def join(
    previous: Int64,
    tracks: list[Track],
    tails: list[TrackedPerson],
    stays: Stays,
    pairs: Pairs,
    *,
    threshold: float,
) -> Int64:
    """(N,) the predecessors `previous`, and one more for each tree that hangs below another now.

    The rest is as `predecessors` has it; a tree that begins with a settled person hangs below nobody's.
    """
    t, n = stays.settled, len(tracks)
    rows, columns = pairs.rows - t, pairs.columns
    at_once = stays.at_once(pairs.rows, columns)
    root = np.empty(n, np.int64)
    climb(np.arange(n), t, previous, root)
    seen = np.flatnonzero(at_once & (pairs.ratio > threshold))
    trees = np.sort(np.stack([root[rows[seen]], root[columns[seen]]]), axis=0)
    possible = (trees[0] != trees[1]) & (trees[1] >= t)
    seen, trees = seen[possible], trees[:, possible]
    if not len(seen):
        return previous
    order = np.argsort(root, kind="stable")
    start = np.searchsorted(root[order], np.arange(t + n + 1))
    when = (
        stays.first_ns[t:], stays.last_ns[t:], stays.camera[t:], stays.pinned[t:], stays.fitting(pairs),
        int(TOUCH_S * 1e9),
    )  # fmt: skip
    seen = seen[compatible(trees[0], trees[1], order, start, when)]
    previous = previous.copy()
    asked = np.flatnonzero(at_once)
    asked = asked[np.argsort(columns[asked], kind="stable")]
    begin = np.searchsorted(columns[asked], np.arange(n + 1)).tolist()
    for pair in seen[np.argsort(-pairs.ratio[seen], kind="stable")].tolist():
        upper, lower = sorted((int(root[rows[pair]]), int(root[columns[pair]])))
        if upper == lower or lower < t:
            continue
        above, below = np.flatnonzero(root == upper), np.flatnonzero(root == lower)
        ways = asked[begin[below[0]] : begin[below[0] + 1]]
        ways = ways[root[rows[ways]] == upper]
        strange = upper < t and any(tails[upper].excludes(tracks[each]) for each in below.tolist())
        if len(ways) and not strange and not contradict(above, below, when):
            previous[below[0]] = pairs.rows[ways[pairs.ratio[ways].argmax()]]
            root[below] = upper
    return previous


@compiled
def contradict(some: Int64, others: Int64, when: When) -> bool:
    """Whether one of some tracks and one of others cannot be one person's.

    when: what `excludes` takes behind the two tracks.
    """
    first_ns, last_ns, camera, pinned, fitting, touch_ns = when
    for a in some:
        for b in others:
            if excludes(min(a, b), max(a, b), first_ns, last_ns, camera, pinned, fitting, touch_ns):
                return True
    return False


@compiled
def compatible(upper: Int64, lower: Int64, order: Int64, start: Int64, when: When) -> Bool:
    """(K,) whether the trees of these roots do not contradict each other.

    order: the tracks, tree by tree; those of root r from start[r] to start[r + 1].
    """
    out = np.empty(len(upper), np.bool_)
    for k in range(len(upper)):
        a, b = upper[k], lower[k]
        out[k] = not contradict(order[start[a] : start[a + 1]], order[start[b] : start[b + 1]], when)
    return out
