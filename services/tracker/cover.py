"""The loops of the joint decision: a sparse assignment, and who in a tree cannot be one person's.

A row is a settled person (the first T) or a track, T + its column; a column is one of N tracks.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Scratch: TypeAlias = tuple[Float64, Int64, Bool]


class Side(NamedTuple):
    """One side of an assignment, its rows or its columns, A of them.

    start: (A + 1,), edges: (K,) the pairs of each, those of a being `edges[start[a] : start[a + 1]]`.  own:
    (K,) of each pair the one on this side.  alone: (A,) what it costs to have none.  price: (A,) dual: cost
    - prices is nowhere negative, and zero where linked.  match: (A,) the pair that each has, -1 for none.
    """

    start: Int64
    edges: Int64
    own: Int64
    alone: Float64
    price: Float64
    match: Int64


class Graph(NamedTuple):
    """K pairs that may be links, and those that are.

    A row is continued by one column at most, but joined by any number.  cost: (K,) below zero.  joining:
    (K,) whether the column joins a stay that goes on.  alive: (K,) False for who can be a link no longer.
    host: (N,) of each column the cheapest pair in which it joins a stay, -1 for none.
    """

    rows: Side
    columns: Side
    cost: Float64
    joining: Bool
    alive: Bool
    host: Int64


def graph(rows: Int64, columns: Int64, gain: Float64, joining: Bool, *, count: int, width: int) -> Graph:
    """Nothing is linked yet: (K,) pairs, of `count` rows and `width` columns, with gains above zero."""
    sides = []
    for own, size in ((rows, count), (columns, width)):
        edges = np.argsort(own, kind="stable")
        start = np.searchsorted(own[edges], np.arange(size + 1))
        sides.append(Side(start, edges, own, np.zeros(size), np.zeros(size), np.full(size, -1)))
    return Graph(sides[0], sides[1], -gain, joining, np.ones(len(gain), bool), np.full(width, -1))


@compiled
def _augment(
    first: int, a: Side, b: Side, cost: Float64, joining: Bool, alive: Bool, scratch: Scratch
) -> None:
    """Find the one `first` of side a what is best for all; somebody may have to give way, or to do without.

    A shortest augmenting path (Jonker and Volgenant, 1987) over the sparse graph.
    """
    distance, before, scanned = scratch
    touched = [first]
    touched.clear()
    heap = [(0.0, first)]
    heap.clear()
    one, low = first, 0.0
    free_at, free_one, sink = np.inf, -1, -1
    while True:
        at = low + a.alone[one] - a.price[one]
        if at < free_at:
            free_at, free_one = at, one
        for i in range(a.start[one], a.start[one + 1]):
            k = a.edges[i]
            other = b.own[k]
            if not alive[k] or joining[k] or scanned[other]:
                continue
            at = low + cost[k] - a.price[one] - b.price[other]
            if at < distance[other]:
                if distance[other] == np.inf:
                    touched.append(other)
                distance[other], before[other] = at, k
                heapq.heappush(heap, (at, other))
        other = -1
        while heap:
            at, other = heapq.heappop(heap)
            if not scanned[other] and at == distance[other]:
                break
            other = -1
        if other < 0 or free_at <= distance[other]:
            low = free_at
            break
        low = distance[other]
        scanned[other] = True
        if b.match[other] < 0:
            sink = other
            break
        one = a.own[b.match[other]]
    a.price[first] += low
    for other in touched:
        if scanned[other] and other != sink:
            a.price[a.own[b.match[other]]] += low - distance[other]
            b.price[other] -= low - distance[other]
    other = sink
    if sink < 0 and free_one != first:
        other = b.own[a.match[free_one]]
        a.match[free_one] = -1
        b.match[other] = -1
    while other >= 0:
        k = before[other]
        one = a.own[k]
        left = -1 if a.match[one] < 0 else b.own[a.match[one]]
        a.match[one], b.match[other] = k, k
        other = -1 if one == first else left
    for other in touched:
        distance[other], scanned[other] = np.inf, False


@compiled
def _find_host(column: int, links: Graph) -> None:
    """Note the cheapest stay that a column may join."""
    links.host[column], links.columns.alone[column] = -1, 0.0
    for i in range(links.columns.start[column], links.columns.start[column + 1]):
        k = links.columns.edges[i]
        if links.joining[k] and links.alive[k] and links.cost[k] < links.columns.alone[column]:
            links.columns.alone[column], links.host[column] = links.cost[k], k


@compiled
def link(links: Graph) -> None:
    """Give the columns the pairs with the lowest total cost."""
    n, count = len(links.columns.match), len(links.rows.match)
    scratch = np.full(count, np.inf), np.empty(count, np.int64), np.zeros(count, np.bool_)
    for column in range(n):
        _find_host(column, links)
        _augment(column, links.columns, links.rows, links.cost, links.joining, links.alive, scratch)


@compiled
def relink(links: Graph, broken: Int64) -> None:
    """The same after the links of some columns have been cut, starting from what there was."""
    n, count = len(links.columns.match), len(links.rows.match)
    rows, columns = links.rows, links.columns
    size = max(n, count)
    scratch = np.full(size, np.inf), np.empty(size, np.int64), np.zeros(size, np.bool_)
    left = np.empty(len(broken), np.int64)
    for i in range(len(broken)):
        column = broken[i]
        k = columns.match[column]
        left[i] = -1
        if k >= 0:
            left[i] = rows.own[k]
            columns.match[column] = rows.match[left[i]] = -1
        else:
            k = links.host[column]
        links.alive[k] = False
        _find_host(column, links)
    # Whom somebody has left is free for others, and then those who were cut off look for somebody.
    for i in range(len(left)):
        if left[i] >= 0:
            _augment(left[i], rows, columns, links.cost, links.joining, links.alive, scratch)
    for column in broken:
        if columns.match[column] < 0:
            _augment(column, columns, rows, links.cost, links.joining, links.alive, scratch)


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
    a: int,
    b: int,
    first_ns: Int64,
    last_ns: Int64,
    camera: Int64,
    pinned: Int64,
    fitting: Int64,
    touch_ns: int,
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

    columns: increasing, whole trees.  previous: (N,) row of each, -1 for none.  ratio, joined: (N,)
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
