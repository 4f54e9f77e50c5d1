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
    column_of = np.full((room, most), -1, np.int64)
    banned = np.zeros((room, m + 1), np.bool_)  # what the row behind them must not have; the last: nothing
    us, vs = np.zeros((room, most)), np.zeros((room, m))
    open_ = np.zeros(room, np.bool_)
    count = 0
    for q in range(problems):
        n = sizes[q]
        rows = members[q, :n]
        value = bases[q] + solve(cost[rows], without[rows], column_of[count, :n], us[count, :n], vs[count])
        if value < np.inf:
            problem_of[count], total[count], open_[count] = q, value, True
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
        # Only what is better than the results that are sure to come is worth solving.
        limit = total[found[0]] + margin
        better = np.sort(total[:count][open_[:count]])
        if len(better) >= k - results:
            limit = min(limit, better[k - results - 1])
        q = problem_of[node]
        n = sizes[q]
        rows = members[q, :n]
        part, free = cost[rows], without[rows]
        prefix = bases[q]
        for i in range(n):
            column = column_of[node, i]
            if i >= fixed[node]:
                ban = np.zeros(m + 1, np.bool_)
                if i == fixed[node]:
                    ban[:] = banned[node]
                    for j in range(m):
                        if ban[j]:
                            part[i, j] = np.inf
                    if ban[m]:
                        free[i] = np.inf
                own = free[i] if column < 0 else part[i, column]
                if low + _loss(
                    part[fixed[node] :], free[fixed[node] :], column_of[node, fixed[node] : n],
                    us[node, fixed[node] : n], vs[node], i - fixed[node],
                ) <= limit:
                    ban[column if column >= 0 else m] = True
                    if column >= 0:
                        part[i, column] = np.inf
                    else:
                        free[i] = np.inf
                    column_of[count, :i] = column_of[node, :i]
                    value = prefix + solve(
                        part[i:], free[i:], column_of[count, i:n], us[count, i:n], vs[count]
                    )
                    if value <= limit:
                        problem_of[count], total[count], fixed[count] = q, value, i
                        banned[count], open_[count] = ban, True
                        count += 1
                    else:
                        column_of[count, :] = -1
                    if column >= 0:
                        part[i, column] = own
                    else:
                        free[i] = own
            prefix += free[i] if column < 0 else part[i, column]
            # From here on this row is fixed.
            for j in range(m):
                if j != column:
                    part[i, j] = np.inf
            if column >= 0:
                free[i] = np.inf
                for other in range(n):
                    if other != i:
                        part[other, column] = np.inf
    chosen = found[:results]
    return problem_of[chosen], column_of[chosen], total[chosen]
