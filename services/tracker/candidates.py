"""Which pairs of tracks are worth a look where there are too many tracks to compare all.

Somebody who appears comes from near by: from the same camera, or from one of the few that people are known
to come from, and not much later than people do.  Whoever else it may be must look alike; those are found
among the ones seen last.  So the pairs to look at for one track grow neither with the number of cameras
nor with how many people there have ever been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import Float64
from services.tracker.appearance import Similarity
from services.tracker.resemblance import Looks
from services.tracker.topology import Neighbour
from services.tracker.ways import TOUCH_S

Int64 = NDArray[np.int64]

UNLIKELY = -2.0
"""Pairs against which looks and time say more than this together are not looked at any closer."""

MOST_ALIKE = 16
"""So many of the most alike are looked at for a track that appears, wherever they were,"""

LATEST = 2048
"""among so many of those seen last."""


def near(
    camera: Int64,
    first_ns: Int64,
    last_ns: Int64,
    settled: int,
    chosen: Int64,
    neighbours: Mapping[int, Sequence[Neighbour]],
) -> tuple[Int64, Int64, Float64]:
    """Rows and columns of the pairs that time and place allow, and what the time says of each, roughly.

    camera, first_ns, last_ns: (T + N,) of the T settled people's last tracks and the N tracks.  chosen: (C,)
    the columns to look at.  neighbours: for each camera those to look at.
    """
    order = np.argsort(camera, kind="stable")
    present, begins = np.unique(camera[order], return_index=True)
    part = dict(zip(present.tolist(), np.split(order, begins[1:]), strict=True))
    columns_at: dict[int, list[int]] = {}
    for column in chosen.tolist():
        columns_at.setdefault(int(camera[settled + column]), []).append(column)
    rows, columns, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for there, own in sorted(columns_at.items()):
        mine = np.array(own, np.int64)
        for here, mean_s, at_once in neighbours.get(there, ()):
            if here not in part:
                continue
            earlier = part[here]
            gap_s = (first_ns[settled + mine] - last_ns[earlier][:, None]) * 1e-9
            time = np.where(gap_s < -TOUCH_S, at_once, -np.maximum(gap_s, 0.0) / mean_s)
            a, b = np.nonzero((earlier[:, None] < settled + mine) & (time >= UNLIKELY - Similarity.BOUND))
            rows.append(earlier[a])
            columns.append(mine[b])
            times.append(time[a, b])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(times)


def alike(looks: Sequence[Looks], last_ns: Int64, settled: int, chosen: Int64) -> tuple[Int64, Int64]:
    """Rows and columns of the pairs that look most alike, for each of the (C,) columns `chosen`."""
    count = len(last_ns)
    rows = np.arange(count)
    if count > LATEST:
        rows = np.sort(np.argpartition(last_ns, count - LATEST)[count - LATEST :])
    if not len(chosen) or not looks:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    value: Float64 = np.sum([look.table(rows, chosen) for look in looks], axis=0)
    value = np.where(rows[:, None] < settled + chosen, value, -np.inf)
    if len(rows) > MOST_ALIKE:
        best = np.argpartition(value, len(rows) - MOST_ALIKE, axis=0)[len(rows) - MOST_ALIKE :]
    else:
        best = np.broadcast_to(np.arange(len(rows))[:, None], value.shape)
    a, b = np.nonzero(np.take_along_axis(value, best, axis=0) > 0)
    return rows[best[a, b]], chosen[b]
