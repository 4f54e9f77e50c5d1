"""How the tracks of a camera go on from one frame to the next."""

from __future__ import annotations

import numpy as np

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.leaves import CONFIRMED, DETECTION, PARENT, Int64


@compiled
def continued(
    state: Float64, tags: Int64, believed: Int64, before: Int64, t_s: float
) -> tuple[Int64, Int64, Int64, Float64]:
    """(N,) the believed leaves that are confirmed, and how each goes on.

    before: (K,) the same in the frame before.  Behind them (N,) which of these each continues, (N,) the
    detection of each, -1 for none, and (N, 6) `points_of`.
    """
    rows = np.empty(len(believed), np.int64)
    count = 0
    for leaf in believed:
        if tags[leaf, CONFIRMED] != 0:
            rows[count] = leaf
            count += 1
    rows = rows[:count]
    places, columns = np.full(count, -1), np.empty(count, np.int64)
    for i in range(count):
        columns[i] = tags[rows[i], DETECTION]
        for k in range(len(before)):
            if before[k] == tags[rows[i], PARENT]:
                places[i] = k
                break
    return rows, places, columns, points_of(state, rows, t_s)


@compiled
def points_of(state: Float64, rows: Int64, t_s: float) -> Float64:
    """(N, 6) the time, the foot point, its velocity and the height of these rows of leaves."""
    out = np.empty((len(rows), 6))
    for i in range(len(rows)):
        row = state[rows[i]]
        out[i, 0], out[i, 1], out[i, 2] = t_s, row[0], row[1] + row[3] / 2
        out[i, 3], out[i, 4], out[i, 5] = row[4], row[5] + row[7] / 2, row[3]
    return out
