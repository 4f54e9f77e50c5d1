"""The best assignments, in order: shortest augmenting paths within Murty's partition.

Rows are track leaves, columns detections; a row may also go without, at a cost of its own.  Costs are
negative log-likelihood ratios, infinite where a pair is impossible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64

Int64 = NDArray[np.int64]


@compiled
def solve(cost: Float64, without: Float64, column_of: Int64, u: Float64, v: Float64) -> float:
    """The assignment with the lowest total cost (Jonker and Volgenant 1987).

    cost: (N, M).  without: (N,) cost of a row that gets no column.  column_of: (N,) is filled with each
    row's column, -1 for none; u: (N,) and v: (M,) with dual prices: cost - u - v is nowhere negative, and
    zero where assigned.  Returns the total, infinite where there is no assignment.
    """
    n, m = cost.shape
    row_of = np.full(m, -1, np.int64)
    distance = np.empty(m)
    before = np.empty(m, np.int64)
    scanned = np.empty(m, np.bool_)
    u[:] = 0.0
    v[:] = 0.0
    column_of[:] = -1
    total = 0.0
    for first in range(n):
        # Most rows find their best column free, or do better without any.
        nearest, nearest_at = -1, np.inf
        for j in range(m):
            at = cost[first, j] - v[j]
            if at < nearest_at:
                nearest_at, nearest = at, j
        if without[first] <= nearest_at:
            if without[first] == np.inf:
                return np.inf
            u[first] = without[first]
            continue
        if row_of[nearest] < 0:
            u[first] = nearest_at
            row_of[nearest], column_of[first] = first, nearest
            continue
        distance[:] = np.inf
        scanned[:] = False
        row, low = first, 0.0
        free_at, free_row = np.inf, -1  # the nearest row that could go without
        sink = -1
        while True:
            at = low + without[row] - u[row]
            if at < free_at:
                free_at, free_row = at, row
            nearest, nearest_at = -1, np.inf
            for j in range(m):
                if not scanned[j]:
                    at = low + cost[row, j] - u[row] - v[j]
                    if at < distance[j]:
                        distance[j] = at
                        before[j] = row
                    if distance[j] < nearest_at:
                        nearest_at, nearest = distance[j], j
            if free_at <= nearest_at:
                low = free_at
                break
            low = nearest_at
            scanned[nearest] = True
            if row_of[nearest] < 0:
                sink = nearest
                break
            row = row_of[nearest]
        if low == np.inf:
            return np.inf
        u[first] += low
        for j in range(m):
            if scanned[j] and j != sink:
                u[row_of[j]] += low - distance[j]
                v[j] -= low - distance[j]
        total += low
        column = sink
        if sink < 0:
            if free_row == first:
                continue
            column = column_of[free_row]
            column_of[free_row] = -1
        while True:
            row = before[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
            if row == first:
                break
    total = 0.0
    for i in range(n):
        total += without[i] if column_of[i] < 0 else cost[i, column_of[i]]
    return total


@compiled
def _loss(cost: Float64, without: Float64, column: int, u: Float64, v: Float64) -> float:
    """The least by which the total can grow when the first row must not have its column, by the prices."""
    n, m = cost.shape
    least = np.inf if column < 0 else without[0] - u[0]
    for j in range(m):
        if j != column:
            least = min(least, cost[0, j] - u[0] - v[j])
    if column >= 0:
        other = -v[column]
        for i in range(1, n):
            other = min(other, cost[i, column] - u[i] - v[column])
        least += max(other, 0.0)
    return least


@compiled
def _gather(cost: Float64, without: Float64, rows: Int64, n: int, part: Float64, free: Float64) -> None:
    """Copy the first n of `rows` of `cost` and `without` to `part` and `free`."""
    for i in range(n):
        free[i] = without[rows[i]]
        for j in range(cost.shape[1]):
            part[i, j] = cost[rows[i], j]


@compiled
def _fix(part: Float64, free: Float64, n: int, row: int, column: int) -> float:
    """Leave a row's column to none of the rows behind it; returns what the row costs."""
    if column < 0:
        return float(free[row])
    for i in range(row + 1, n):
        part[i, column] = np.inf
    return float(part[row, column])


@compiled
def _queue(waiting: Int64, first: int, last: int, total: Float64, node: int) -> None:
    """Put a node among waiting[first:last], lowest total first, behind those with the same."""
    while last > first and total[waiting[last - 1]] > total[node]:
        waiting[last] = waiting[last - 1]
        last -= 1
    waiting[last] = node


@compiled
def _rank(waiting: Int64, first: int, last: int, total: Float64, rank: int) -> float:
    """The rank-th lowest total of waiting[first:last], infinite where there are fewer."""
    return float(total[waiting[first + rank - 1]]) if first + rank <= last else np.inf


@compiled
def k_best(
    cost: Float64, without: Float64, members: Int64, sizes: Int64, bases: Float64, k: int, margin: float
) -> tuple[Int64, Int64, Float64]:
    """The k best assignments over several problems (Murty 1968), lowest total first.

    cost: (L, M), without: (L,) as in `solve`.  members: (P, N) rows of `cost` that are problem p's, of
    which the first sizes[p] count.  bases: (P,) what each problem costs by itself.  margin: no total
    exceeds the lowest by more.  Returns (K,) the problem of each, (K, N) the column of each of its rows
    (-1 for none) and (K,) totals, K <= k.

    A subproblem that cannot be among the results by the dual prices of its parent is never solved.
    """
    problems, most = members.shape
    m = cost.shape[1]
    room = problems + k * most
    problem_of = np.empty(room, np.int64)
    total = np.full(room, np.inf)
    fixed = np.zeros(room, np.int64)  # so many rows have what their parent had
    column_of = np.empty((room, most), np.int64)
    banned = np.empty((room, m + 1), np.bool_)  # what the row behind them must not have; the last: nothing
    us, vs = np.empty((room, most)), np.empty((room, m))
    waiting = np.empty(room, np.int64)  # nodes, lowest total first; those before `results` are found
    part, free = np.empty((most, m)), np.empty(most)
    count = 0
    for q in range(problems):
        n = sizes[q]
        _gather(cost, without, members[q], n, part, free)
        value = bases[q] + solve(part[:n], free[:n], column_of[count, :n], us[count, :n], vs[count])
        if value < np.inf:
            problem_of[count], total[count] = q, value
            banned[count] = False
            _queue(waiting, 0, count, total, count)
            count += 1
    results = 0
    while results < min(k, count):
        node = waiting[results]
        low = total[node]
        if low > total[waiting[0]] + margin:
            break
        results += 1
        if results == k:
            break
        q, n, first = problem_of[node], sizes[problem_of[node]], fixed[node]
        _gather(cost, without, members[q], n, part, free)
        prefix = bases[q]
        # Only what is better than the results that are sure to come is worth solving.
        most_total = total[waiting[0]] + margin
        limit = min(most_total, _rank(waiting, results, count, total, k - results))
        for i in range(n):
            column = column_of[node, i]
            if i < first:
                prefix += _fix(part, free, n, i, column)
                continue
            if i == first:
                for j in range(m):
                    if banned[node, j]:
                        part[i, j] = np.inf
                if banned[node, m]:
                    free[i] = np.inf
            loss = _loss(part[i:n], free[i:n], column, us[node, i:n], vs[node])
            if low + loss <= limit:
                own = free[i] if column < 0 else part[i, column]
                if column < 0:
                    free[i] = np.inf
                else:
                    part[i, column] = np.inf
                value = prefix + solve(part[i:n], free[i:n], column_of[count, i:n], us[count, i:n], vs[count])
                if value <= limit:
                    problem_of[count], total[count], fixed[count] = q, value, i
                    _queue(waiting, results, count, total, count)
                    for other in range(i):
                        column_of[count, other] = column_of[node, other]
                    for j in range(m + 1):
                        banned[count, j] = i == first and banned[node, j]
                    banned[count, column if column >= 0 else m] = True
                    count += 1
                    limit = min(most_total, _rank(waiting, results, count, total, k - results))
                if column < 0:
                    free[i] = own
                else:
                    part[i, column] = own
            prefix += _fix(part, free, n, i, column)
    problems_found, columns_found = np.empty(results, np.int64), np.full((results, most), -1, np.int64)
    totals_found = np.empty(results)
    for i in range(results):
        node = waiting[i]
        problems_found[i], totals_found[i] = problem_of[node], total[node]
        for row in range(sizes[problem_of[node]]):
            columns_found[i, row] = column_of[node, row]
    return problems_found, columns_found, totals_found
