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
def _loss(cost: Float64, without: Float64, columns: Int64, u: Float64, v: Float64, row: int) -> float:
    """The least by which the total can grow when a row must not have what it has, by the dual prices."""
    n, m = cost.shape
    own = columns[row]
    least = np.inf if own < 0 else without[row] - u[row]
    for j in range(m):
        if j != own:
            least = min(least, cost[row, j] - u[row] - v[j])
    if own >= 0:
        other = -v[own]
        for i in range(n):
            if i != row:
                other = min(other, cost[i, own] - u[i] - v[own])
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
    """Leave a row only what it has, and that to no other row; returns what it costs."""
    own: float = free[row] if column < 0 else part[row, column]
    for j in range(part.shape[1]):
        if j != column:
            part[row, j] = np.inf
    if column >= 0:
        free[row] = np.inf
        for i in range(n):
            if i != row:
                part[i, column] = np.inf
    return own


@compiled
def _rank(total: Float64, among: NDArray[np.bool_], count: int, rank: int) -> float:
    """The rank-th lowest of the totals that are among those wanted, infinite where there are fewer."""
    for i in range(count):
        if among[i]:
            not_above = 0
            below = 0
            for other in range(count):
                if among[other]:
                    not_above += total[other] <= total[i]
                    below += total[other] < total[i]
            if below < rank <= not_above:
                return float(total[i])
    return np.inf


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
    open_ = np.zeros(room, np.bool_)
    part, free = np.empty((most, m)), np.empty(most)
    count = 0
    for q in range(problems):
        n = sizes[q]
        _gather(cost, without, members[q], n, part, free)
        value = bases[q] + solve(part[:n], free[:n], column_of[count, :n], us[count, :n], vs[count])
        if value < np.inf:
            problem_of[count], total[count], open_[count] = q, value, True
            banned[count] = False
            count += 1
    found = np.empty(k, np.int64)
    results = 0
    while results < k:
        node, low = -1, np.inf
        for i in range(count):
            if open_[i] and total[i] < low:
                node, low = i, total[i]
        if node < 0 or (results and low > total[found[0]] + margin):
            break
        open_[node] = False
        found[results] = node
        results += 1
        if results == k:
            break
        q, n, first = problem_of[node], sizes[problem_of[node]], fixed[node]
        _gather(cost, without, members[q], n, part, free)
        prefix = bases[q]
        # Only what is better than the results that are sure to come is worth solving.
        limit = min(total[found[0]] + margin, _rank(total, open_, count, k - results))
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
            loss = _loss(
                part[first:n], free[first:n], column_of[node, first:n], us[node, first:n], vs[node], i - first
            )
            if low + loss <= limit:
                own = free[i] if column < 0 else part[i, column]
                if column < 0:
                    free[i] = np.inf
                else:
                    part[i, column] = np.inf
                value = prefix + solve(part[i:n], free[i:n], column_of[count, i:n], us[count, i:n], vs[count])
                if value <= limit:
                    problem_of[count], total[count], fixed[count], open_[count] = q, value, i, True
                    for other in range(i):
                        column_of[count, other] = column_of[node, other]
                    for j in range(m + 1):
                        banned[count, j] = i == first and banned[node, j]
                    banned[count, column if column >= 0 else m] = True
                    count += 1
                    limit = min(limit, _rank(total, open_, count, k - results))
                if column < 0:
                    free[i] = own
                else:
                    part[i, column] = own
            prefix += _fix(part, free, n, i, column)
    problems_found, columns_found = np.empty(results, np.int64), np.full((results, most), -1, np.int64)
    totals_found = np.empty(results)
    for i in range(results):
        node = found[i]
        problems_found[i], totals_found[i] = problem_of[node], total[node]
        for row in range(sizes[problem_of[node]]):
            columns_found[i, row] = column_of[node, row]
    return problems_found, columns_found, totals_found
