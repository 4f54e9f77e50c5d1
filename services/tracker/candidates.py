"""Which pairs of tracks are worth a look where there are too many tracks to compare all.

Somebody who appears comes from near by: from the same camera, or from one of the few that people are known
to come from, and not much later than people do.  Whoever else it may be must look alike; those are found
among the ones seen last.  So the pairs to look at for one track grow neither with the number of cameras
nor with how many people there have ever been.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.resemblance import Looks
from services.tracker.stays import Pairs, Stays
from services.tracker.topology import REACH_S, Neighbour, Topology
from services.tracker.ways import TOUCH_S

Int64 = NDArray[np.int64]

HOPELESS = -4.0
"""Pairs whose ratio can be no more than this are never looked at."""

UNLIKELY = -2.0
"""Pairs against which looks and time say more than this together are not looked at any closer."""

MOST_ALIKE = 16
"""So many of the most alike are looked at for a track that appears, wherever they were,"""

LATEST = 2048
"""among so many of those seen last."""


class Chosen(NamedTuple):
    """What to look at.

    columns: (C,) the columns to judge.  new: those that were never judged.  known: pairs that were found to
    be likely before.  everywhere: whether to look at all rows but the hopeless ones.
    """

    columns: Int64
    new: Int64
    known: Pairs
    everywhere: bool


def candidates(
    stays: Stays, looks: Sequence[Looks], previous: Int64, topology: Topology, chosen: Chosen
) -> tuple[Int64, Int64]:
    """Rows and columns of the pairs to look at, column by column.

    previous: (N,) row that each column was decided to continue, -1 for none.  These are among the pairs if
    the column is chosen, or the link is one between cameras, for that teaches.
    """
    linked = np.flatnonzero(previous >= 0)
    a, b = stays.camera[previous[linked]], stays.camera[stays.settled + linked]
    asked = np.zeros(len(previous), bool)
    asked[chosen.columns] = True
    wanted = linked[(a != b) | asked[linked]]
    found = [(previous[wanted], wanted)]
    if chosen.everywhere:
        found.append(_possible(stays, looks, topology, chosen.columns))
    else:
        two = np.sort(np.stack([a, b])[:, a != b], axis=0)
        links = Counter(zip(*two.tolist(), strict=True))
        neighbours = topology.neighbours(np.unique(stays.camera).tolist(), links)
        again = asked[chosen.known.columns] & (chosen.known.ratio > HOPELESS)
        found += [
            _near(stays, looks, neighbours, chosen.columns),
            _alike(stays, looks, chosen.new),
            (chosen.known.rows[again], chosen.known.columns[again]),
        ]
    rows, columns = (np.concatenate(each) for each in zip(*found, strict=True))
    key = np.sort(columns * len(stays.ids) + rows)
    key = key[np.diff(key, prepend=-1) > 0]
    return key % len(stays.ids), key // len(stays.ids)


def _possible(stays: Stays, looks: Sequence[Looks], topology: Topology, chosen: Int64) -> tuple[Int64, Int64]:
    """All pairs but those that are hopeless after so long."""
    places, rows = np.nonzero(np.arange(len(stays.ids)) < stays.settled + chosen[:, None])
    columns = chosen[places]
    gap_s = np.asarray((stays.first_ns[stays.settled + columns] - stays.last_ns[rows]) * 1e-9, np.float64)
    late = np.flatnonzero(gap_s > REACH_S)
    keep = np.ones(len(rows), bool)
    same = stays.camera[rows[late]] == stays.camera[stays.settled + columns[late]]
    most = topology.at_most(gap_s[late], same)
    keep[late] = sum((each.rough(rows[late], columns[late]) for each in looks), start=most) > HOPELESS
    return rows[keep], columns[keep]


def _near(
    stays: Stays, looks: Sequence[Looks], neighbours: Mapping[int, Sequence[Neighbour]], chosen: Int64
) -> tuple[Int64, Int64]:
    """The pairs that time, roughly, and looks allow, of each camera with its neighbours."""
    camera, first_ns, last_ns, settled = stays.camera, stays.first_ns, stays.last_ns, stays.settled
    order = np.argsort(camera, kind="stable")
    present, begins = np.unique(camera[order], return_index=True)
    part = dict(zip(present.tolist(), np.split(order, begins[1:]), strict=True))
    columns_at: dict[int, list[int]] = {}
    for column in chosen.tolist():
        columns_at.setdefault(int(camera[settled + column]), []).append(column)
    rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for there, own in sorted(columns_at.items()):
        mine = np.array(own, np.int64)
        near = [each for each in neighbours.get(there, ()) if each.camera in part]
        if not near:
            continue
        earlier = np.concatenate([part[each.camera] for each in near])
        lengths = [len(part[each.camera]) for each in near]
        mean_s = np.repeat([each.mean_s for each in near], lengths)[:, None]
        at_once = np.repeat([each.at_once for each in near], lengths)[:, None]
        gap_s = (first_ns[settled + mine] - last_ns[earlier][:, None]) * 1e-9
        value = np.where(gap_s < -TOUCH_S, at_once, -np.maximum(gap_s, 0.0) / mean_s)
        value = sum((each.table(earlier, mine) for each in looks), start=value)
        a, b = np.nonzero((earlier[:, None] < settled + mine) & (value >= UNLIKELY))
        rows.append(earlier[a])
        columns.append(mine[b])
    return np.concatenate(rows), np.concatenate(columns)


def _alike(stays: Stays, looks: Sequence[Looks], chosen: Int64) -> tuple[Int64, Int64]:
    """For each of the (C,) columns `chosen` the pairs that look most alike."""
    count = len(stays.ids)
    rows = np.arange(count)
    if count > LATEST:
        rows = np.sort(np.argpartition(stays.last_ns, count - LATEST)[count - LATEST :])
    if not len(chosen) or not looks:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    value: Float64 = np.sum([look.table(rows, chosen).T for look in looks], axis=0)
    best, of = most_alike(value, np.searchsorted(rows, stays.settled + chosen), MOST_ALIKE)
    return rows[best], chosen[of]


@compiled
def most_alike(value: Float64, before: Int64, most: int) -> tuple[Int64, Int64]:
    """(K,) places of the highest positive values in each line, at most so many, and (K,) their lines.

    Of equal ones those farther on count.  value: (C, R).  before: (C,) how many of each line count.
    """
    place, line = np.empty(len(value) * most, np.int64), np.empty(len(value) * most, np.int64)
    count = 0
    for c in range(len(value)):
        begin = count
        for r in range(before[c] - 1, -1, -1):
            if value[c, r] <= 0.0 or (count == begin + most and value[c, r] <= value[c, place[count - 1]]):
                continue
            i = count if count < begin + most else count - 1
            while i > begin and value[c, place[i - 1]] < value[c, r]:
                place[i] = place[i - 1]
                i -= 1
            place[i] = r
            count = min(count + 1, begin + most)
        line[begin:count] = c
    return place[:count], line[:count]
