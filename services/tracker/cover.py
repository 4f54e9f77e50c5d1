"""The loops of the joint decision: a sparse assignment, and who in a tree cannot be one person's.

Candidates are the K pairs that may be links, column by column: those of column c are `start[c]` to
`start[c + 1]`.  A row is a settled person (the first T) or a track, T + its column.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@compiled
def components(start: Int64, rows: Int64, count: int) -> Int64:
    """(N,) what the component of each column is known by: columns that share a row, or lead to one another.

    rows: (K,) of the candidates.  count: of all rows, of which the last N are the columns' own.
    """
    n = len(start) - 1
    parent = np.arange(count)
    for column in range(n):
        a = count - n + column
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        for k in range(start[column], start[column + 1]):
            b = rows[k]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a != b:
                parent[max(a, b)] = min(a, b)
                a = min(a, b)
    out = np.empty(n, np.int64)
    for column in range(n):
        a = count - n + column
        while parent[a] != a:
            a = parent[a]
        out[column] = a
    return out


@compiled
def link(
    columns: Int64,
    start: Int64,
    rows: Int64,
    gain: Float64,
    joining: Bool,
    alive: Bool,
    chosen: Int64,
    holder: Int64,
) -> None:
    """Give these columns, whole components, the candidates with the highest total gain.

    A row is continued by one column at most, but joined by any number.  gain: (K,) above zero.  joining,
    alive: (K,).  chosen: (N,) is filled with each column's candidate, -1 for none.  holder: (T + N,) which
    column continues each row, -1 for none; kept up to date.  Shortest augmenting paths (Jonker and
    Volgenant 1987) over the sparse graph.
    """
    n, count = len(chosen), len(holder)
    alone, host = np.zeros(n), np.full(n, -1, np.int64)
    u, v = np.zeros(n), np.zeros(count)  # dual prices: cost - u - v is nowhere negative, zero where linked
    distance, before = np.full(count, np.inf), np.empty(count, np.int64)
    scanned = np.zeros(count, np.bool_)
    for column in columns:
        chosen[column] = -1
        for k in range(start[column], start[column + 1]):
            if not joining[k]:
                holder[rows[k]] = -1
            elif alive[k] and -gain[k] < alone[column]:
                alone[column], host[column] = -gain[k], k
    for first in columns:
        u[first] = alone[first]
        low = alone[first]
        best = -1
        for k in range(start[first], start[first + 1]):
            if alive[k] and not joining[k] and -gain[k] - v[rows[k]] < low:
                low, best = -gain[k] - v[rows[k]], k
        u[first] = low
        if best < 0:
            continue
        if holder[rows[best]] < 0:
            holder[rows[best]], chosen[first] = first, best
            continue
        # Somebody has to give way: the cheapest chain of changes ends at a free row, or with one alone.
        touched = [rows[best]]
        touched.clear()
        heap = [(0.0, 0)]
        heap.clear()
        column, low = first, 0.0
        free_at, free_column, sink = np.inf, -1, -1
        while True:
            at = low + alone[column] - u[column]
            if at < free_at:
                free_at, free_column = at, column
            for k in range(start[column], start[column + 1]):
                row = rows[k]
                if not alive[k] or joining[k] or scanned[row]:
                    continue
                at = low - gain[k] - u[column] - v[row]
                if at < distance[row]:
                    if distance[row] == np.inf:
                        touched.append(row)
                    distance[row], before[row] = at, k
                    heapq.heappush(heap, (at, row))
            row = -1
            while len(heap):
                at, row = heapq.heappop(heap)
                if not scanned[row] and at == distance[row]:
                    break
                row = -1
            if row < 0 or free_at <= distance[row]:
                low = free_at
                break
            low = distance[row]
            scanned[row] = True
            if holder[row] < 0:
                sink = row
                break
            column = holder[row]
        u[first] += low
        for row in touched:
            if scanned[row] and row != sink:
                u[holder[row]] += low - distance[row]
                v[row] -= low - distance[row]
        row = sink
        if sink < 0 and free_column != first:
            row = rows[chosen[free_column]]
            chosen[free_column] = -1
        while row >= 0:
            k = before[row]
            column = np.searchsorted(start, k, side="right") - 1
            left = -1 if chosen[column] < 0 else rows[chosen[column]]
            holder[row], chosen[column] = column, k
            row = -1 if column == first else left
        for row in touched:
            distance[row], scanned[row] = np.inf, False
    for column in columns:
        if chosen[column] < 0:
            chosen[column] = host[column]


@compiled
def climb(columns: Int64, settled: int, previous: Int64, root: Int64) -> None:
    """Fill `root`, (N,), with what the tree of each of these columns, increasing, is known by.

    That is the row of a settled person, else `settled` and the tree's first column.
    """
    for column in columns:
        row = previous[column]
        root[column] = root[row - settled] if row >= settled else (row if row >= 0 else settled + column)


@compiled
def excludes(
    a: int, b: int, first_ns: Int64, last_ns: Int64, camera: Int64, pinned: Int64, fitting: Int64, touch_ns: int
) -> bool:
    """Whether track a and track b, which began later, cannot be one person's.

    One camera has seen both at once, two cameras have in places that do not fit, or an operator has said
    so.  fitting: a * N + b of the pairs seen at once by two cameras in places that fit, increasing.
    """
    if pinned[a] > 0 and pinned[b] > 0 and pinned[a] != pinned[b]:
        return True
    if camera[a] == camera[b]:
        return bool(last_ns[a] >= first_ns[b])
    if last_ns[a] <= first_ns[b] + touch_ns:
        return False
    key = a * len(camera) + b
    place = np.searchsorted(fitting, key)
    return bool(place == len(fitting) or fitting[place] != key)


@compiled
def _weakest(
    one: int, other: int, settled: int, previous: Int64, ratio: Float64, mark: Int64, stamp: int
) -> int:
    """The column with the weakest link on the way from one track of a tree to another, or to its root.

    other: -1 for the root.  mark: (N,) scratch, nowhere `stamp`.
    """
    column = other
    while column >= 0:
        mark[column] = stamp
        column = previous[column] - settled if previous[column] >= settled else -1
    found, least = -1, np.inf
    meeting = -1
    column = one
    while column >= 0:
        if mark[column] == stamp:
            meeting = column
            break
        if previous[column] >= 0 and (ratio[column], column) < (least, found):
            found, least = column, ratio[column]
        column = previous[column] - settled if previous[column] >= settled else -1
    column = other
    while column >= 0 and column != meeting:
        if previous[column] >= 0 and (ratio[column], column) < (least, found):
            found, least = column, ratio[column]
        column = previous[column] - settled if previous[column] >= settled else -1
    return found


@compiled
def contradictions(
    columns: Int64,
    settled: int,
    previous: Int64,
    ratio: Float64,
    joined: Bool,
    stranger: Bool,
    first_ns: Int64,
    last_ns: Int64,
    camera: Int64,
    pinned: Int64,
    fitting: Int64,
    touch_ns: int,
    root: Int64,
    final: bool,
) -> Int64:
    """Columns of the weakest links between two tracks, or a person and a track, that cannot be one.

    columns: increasing, whole components.  previous: (N,) row of each, -1 for none.  ratio, joined: (N,)
    of these links.  stranger: (N,) which are not the settled person's at the root.  root: (N,) as `climb`
    gives.  One a tree: where it is cut, the rest of the tree may be sound; with `final` every
    track that contradicts an earlier one is cut off at once, and `previous` changed.
    """
    n = len(camera)
    head, tail = np.full(settled + n, -1, np.int64), np.full(settled + n, -1, np.int64)
    next_, mark = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    broken = np.zeros(settled + n, np.bool_)
    out = np.empty(len(columns), np.int64)
    count = 0
    for column in columns:
        row = previous[column]
        above = root[row - settled] if row >= settled else (row if row >= 0 else settled + column)
        root[column] = above
        if broken[above] and not final:
            continue
        cut = -2
        if above < settled and stranger[column]:
            cut = -1
        else:
            other = head[above]
            while other >= 0:
                clash = excludes(other, column, first_ns, last_ns, camera, pinned, fitting, touch_ns)
                if not clash and row >= settled and other != row - settled and not joined[column]:
                    # Who has been seen since in another view does not continue the stay that ended before.
                    clash = last_ns[other] > last_ns[row - settled]
                if clash:
                    cut = other
                    break
                other = next_[other]
        if cut != -2:
            if not final:
                broken[above] = True
                out[count] = _weakest(column, cut, settled, previous, ratio, mark, column)
                count += 1
                continue
            previous[column] = -1
            above = settled + column
            root[column] = above
        if tail[above] >= 0:
            next_[tail[above]] = column
        else:
            head[above] = column
        tail[above] = column
    return out[:count]
