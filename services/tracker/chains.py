"""Who continues whom: the joint decision over all tracks.

Every track has at most one predecessor: a track that began before it, or a settled person.  A stay that has
ended is continued by one other at most; a stay that goes on may be joined by any number in overlapping
views.  So the decision is the assignment with the highest total log-likelihood ratio (a minimum-cost path
cover, Zhang et al. 2008) in which only successions compete.  The trees that result are people; where one
would be in two places at once, its weakest link is cut and the decision is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.tracker.association import assign
from services.tracker.kalman import Float64
from services.tracker.person import TrackedPerson
from services.tracker.track import Track
from services.tracker.ways import TOUCH_S

DECIDED = 1e6
"""Ratio of a link that an operator has made."""

FIXED = 1e3
"""Ratio of a link that is not to be decided again."""

SMALL = 256
"""So many tracks are all decided again when something contradicts; of more only those that are cut off."""

LARGE_TREE = 40
"""In a tree with more tracks who contradicts one of them is cut off, without a look for the weakest link."""

STRANGE = -3.0
"""Two stays at once in different views are not one person's where their own ratio is below this."""


def predecessors(
    tracks: list[Track],
    tails: list[TrackedPerson],
    ratio: Float64,
    threshold: float,
    fixed: Mapping[int, int] | None = None,
) -> list[int]:
    """For each track the row of its predecessor, -1 for none.

    tracks: N, in the order of their beginning.  tails: T settled people.  ratio: (T + N, N) log-likelihood
    ratios, rows in the order settled people, tracks.  threshold: what a link must exceed.
    fixed: column -> row (-1 for none) of those not to be decided again, unless they contradict another.
    What an operator has decided (`Track.pinned`) is kept, whatever the ratios say.
    """
    t, n = len(tails), len(tracks)
    ratio = ratio.copy()
    previous = np.full(n, -1)
    for column, row in (fixed or {}).items():
        ratio[:, column] = -np.inf
        previous[column] = row
        if row >= 0:
            ratio[row, column] = FIXED
    _decide(tracks, tails, ratio)
    joining = np.vstack([np.zeros((t, n), bool), _at_once(tracks)])
    excluded = excluded_pairs(tracks, ratio[t:])
    open_columns = np.array([column for column in range(n) if column not in (fixed or {})], np.intp)
    while True:
        _assign(previous, open_columns, ratio, joining, threshold)
        trees = _Trees(t, previous, ratio)
        if n > SMALL:
            # Only what was cut is decided again, so that the work grows as the tracks do.
            cuts = _cut(tracks, tails, trees, excluded, joining)
            broken = [column for _, column in cuts]
        else:
            broken = _contradictions(tracks, tails, trees, excluded, joining)
            cuts = [(int(previous[column]), column) for column in broken]
        if not broken:
            return [int(row) for row in previous]
        for row, column in cuts:
            ratio[row, column] = -np.inf
        open_columns = np.unique(broken) if n > SMALL else np.arange(n)


def _assign(
    previous: NDArray[np.intp],
    columns: NDArray[np.intp],
    ratio: Float64,
    joining: NDArray[np.bool_],
    threshold: float,
) -> None:
    """Give these columns the best predecessors that the others leave."""
    previous[columns] = -1
    mine, joins = ratio[:, columns], joining[:, columns]
    joined = np.where(joins, mine, -np.inf)
    host = joined.argmax(axis=0)
    # A row of its own for each column: joining a stay that goes on is open to all.
    company = np.full((len(columns), len(columns)), -np.inf)
    np.fill_diagonal(company, joined[host, np.arange(len(columns))])
    following = np.where(joins, -np.inf, mine)
    others = np.flatnonzero(previous >= 0)
    taken = previous[others][~joining[previous[others], others]]
    following[taken] = -np.inf
    rows, chosen = assign(np.vstack([following, company]), threshold)
    previous[columns[chosen]] = np.where(rows < len(ratio), rows, host[chosen])


def together(a: Track, b: Track) -> bool:
    """Whether one camera has seen both at once."""
    return a.camera == b.camera and a.first_ns <= b.last_ns and b.first_ns <= a.last_ns


def _at_once(tracks: list[Track]) -> NDArray[np.bool_]:
    """(N, N) whether the row is still seen when the column begins, in another camera."""
    camera = np.array([track.camera for track in tracks])
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    earlier = np.triu(np.ones((len(tracks), len(tracks)), bool), 1)
    touch_ns = int(TOUCH_S * 1e9)
    return np.asarray(earlier & (last[:, None] > first[None] + touch_ns) & (camera[:, None] != camera[None]))


def excluded_pairs(tracks: list[Track], ratio: Float64) -> NDArray[np.bool_]:
    """(N, N), row before column: two tracks that cannot be one person's.

    One camera has seen both at once, two cameras have in places that do not fit, or an operator has said so.
    ratio: (N, N) as for `predecessors`.
    """
    camera = np.array([track.camera for track in tracks])
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    pinned = np.array([track.pinned for track in tracks])
    earlier = np.triu(np.ones((len(tracks), len(tracks)), bool), 1)
    met = (last[:, None] >= first[None]) & (camera[:, None] == camera[None])
    parted = (pinned[:, None] != pinned[None]) & (pinned[:, None] > 0) & (pinned[None] > 0)
    return np.asarray(earlier & (met | parted | (_at_once(tracks) & (ratio < STRANGE))))


def _decide(tracks: list[Track], tails: list[TrackedPerson], ratio: Float64) -> None:
    """Put an operator's decisions into the ratios."""
    t = len(tails)
    last = {person.identity: row for row, person in enumerate(tails)}
    for column, track in enumerate(tracks):
        if not track.pinned:
            continue
        for row, person in enumerate(tails):
            if person.identity != track.pinned:
                ratio[row, column] = -np.inf
        row = last.get(track.pinned, -1)
        if row >= 0:
            ratio[:, column] = -np.inf
            ratio[row, column] = DECIDED
        last[track.pinned] = t + column


@dataclass(slots=True)
class _Trees:
    """The people that one assignment makes.

    previous: (N,) row of each track's predecessor, -1 for none; rows below `settled` are settled people.
    """

    settled: int
    previous: NDArray[np.intp]
    ratio: Float64

    def path(self, column: int) -> list[int]:
        """The columns from one to the root of its tree."""
        path = [column]
        while self.previous[path[-1]] >= self.settled:
            path.append(int(self.previous[path[-1]]) - self.settled)
        return path

    def root(self, column: int) -> int:
        """What a tree is known by: the row of a settled person, else `settled` and its first column."""
        first = self.path(column)[-1]
        row = int(self.previous[first])
        return row if row >= 0 else self.settled + first

    def weakest(self, columns: list[int]) -> int:
        """Of these columns the one whose link is the weakest."""
        linked = [column for column in columns if self.previous[column] >= 0]
        return min(linked, key=lambda column: (self.ratio[self.previous[column], column], column))

    def weakest_between(self, one: int, other: int) -> int:
        """The column of the weakest link on the way from one track of a tree to another."""
        mine, theirs = self.path(one), self.path(other)
        apart = set(mine) ^ set(theirs)
        return self.weakest([each for each in mine + theirs if each in apart])


def _contradictions(
    tracks: list[Track],
    tails: list[TrackedPerson],
    trees: _Trees,
    excluded: NDArray[np.bool_],
    joining: NDArray[np.bool_],
) -> list[int]:
    """Columns of the weakest links between two tracks, or a person and a track, that cannot be one.

    One a tree: where it is cut, the rest of the tree may be sound.
    """
    t = len(tails)
    ends = [track.last_ns for track in tracks]
    members: dict[int, list[int]] = {}
    broken: dict[int, int] = {}
    root: list[int] = []
    for column, track in enumerate(tracks):
        row = int(trees.previous[column])
        above = root[row - t] if row >= t else (row if row >= 0 else t + column)
        root.append(above)
        if above in broken:
            continue
        if above < t:
            person = tails[above]
            busy = person.busy_ns.get(track.camera, -1) >= track.first_ns
            if busy or (track.pinned and track.pinned != person.identity):
                broken[above] = trees.weakest(trees.path(column))
                continue
        others = members.setdefault(above, [])
        for other in others:
            # Who has been seen since in another view does not continue the stay that ended before.
            left = row >= t and other != row - t and not joining[row, column]
            if excluded[other, column] or (left and ends[other] > ends[row - t]):
                broken[above] = trees.weakest_between(column, other)
                break
        others.append(column)
    return list(broken.values())


def _cut(
    tracks: list[Track],
    tails: list[TrackedPerson],
    trees: _Trees,
    excluded: NDArray[np.bool_],
    joining: NDArray[np.bool_],
) -> list[tuple[int, int]]:
    """Cut the weakest links, (row, column), until no tree holds what cannot be one person's."""
    t = len(tails)
    ends = np.array([track.last_ns for track in tracks])
    cuts: list[tuple[int, int]] = []
    members: dict[int, list[int]] = {}
    for column, track in enumerate(tracks):
        while True:
            above = trees.root(column)
            row = int(trees.previous[column])
            others = np.array(members.get(above, []), np.intp)
            clash = excluded[others, column]
            if row >= t and not joining[row, column]:
                # Who has been seen since in another view does not continue the stay that ended before.
                clash = clash | ((ends[others] > ends[row - t]) & (others != row - t))
            stranger = above < t and (
                tails[above].busy_ns.get(track.camera, -1) >= track.first_ns
                or (track.pinned and track.pinned != tails[above].identity)
            )
            if (stranger or clash.any()) and len(others) > LARGE_TREE:
                weakest = column
            elif stranger:
                weakest = trees.weakest(trees.path(column))
            elif clash.any():
                weakest = trees.weakest_between(column, int(others[clash][0]))
            else:
                break
            cuts.append((int(trees.previous[weakest]), weakest))
            trees.previous[weakest] = -1
            if weakest == column:
                continue
            for member in members.pop(above, []):
                members.setdefault(trees.root(member), []).append(member)
        members.setdefault(above, []).append(column)
    return cuts
