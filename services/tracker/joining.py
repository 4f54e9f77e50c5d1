"""People who have been taken for several, for each camera saw them from another side: joined over views.

The cover (`chains.py`) asks of each track how it began.  Two people whose tracks all began for reasons of
their own can be one all the same, where cameras see them at once in places and with looks that fit: the
pair of their tracks that is most alike decides (single linkage), unless another pair contradicts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.tracker.cover import any_excludes, climb
from services.tracker.person import TrackedPerson
from services.tracker.stays import Pairs, Stays
from services.tracker.track import Track
from services.tracker.ways import TOUCH_S

Int64 = NDArray[np.int64]


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
    t = stays.settled
    rows, columns = pairs.rows - t, pairs.columns
    at_once = stays.at_once(pairs.rows, columns)
    root = np.empty(len(tracks), np.int64)
    climb(np.arange(len(tracks)), t, previous, root)
    seen = np.flatnonzero(at_once & (pairs.ratio > threshold))
    seen = seen[root[rows[seen]] != root[columns[seen]]]
    if not len(seen):
        return previous
    previous = previous.copy()
    times = stays.first_ns[t:], stays.last_ns[t:], stays.camera[t:], stays.pinned[t:], stays.fitting(pairs)
    refused: set[tuple[int, int]] = set()
    for pair in seen[np.argsort(-pairs.ratio[seen], kind="stable")].tolist():
        upper, lower = sorted((int(root[rows[pair]]), int(root[columns[pair]])))
        if upper == lower or lower < t or (upper, lower) in refused:
            continue
        above, below = np.flatnonzero(root == upper), np.flatnonzero(root == lower)
        ways = np.flatnonzero(at_once & (columns == below[0]) & np.isin(rows, above))
        strange = upper < t and any(tails[upper].excludes(tracks[each]) for each in below.tolist())
        if not len(ways) or strange or any_excludes(above, below, *times, int(TOUCH_S * 1e9)):
            refused.add((upper, lower))
            continue
        previous[below[0]] = pairs.rows[ways[pairs.ratio[ways].argmax()]]
        root[below] = upper
    return previous
