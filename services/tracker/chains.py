"""Who continues whom: the joint decision over all tracks.

Every track has at most one predecessor: a track that began before it, or a settled person.  A stay that has
ended is continued by one other at most; a stay that goes on may be joined by any number in overlapping
views.  So the decision is the assignment with the highest total log-likelihood ratio (a minimum-cost path
cover, Zhang et al. 2008) in which only successions compete.  The trees that result are people; where one
would be in two places at once, its weakest link is cut and the decision is made again.
"""

from __future__ import annotations

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

STRANGE = -3.0
"""Two stays at once in different views are not one person's where their own ratio is below this."""


def predecessors(
    tracks: list[Track], tails: list[TrackedPerson], ratio: Float64, threshold: float
) -> list[int]:
    """For each track the row of its predecessor, -1 for none.

    tracks: N, in the order of their beginning.  tails: T settled people.  ratio: (T + N, N) log-likelihood
    ratios, rows in the order settled people, tracks.  threshold: what a link must exceed.
    What an operator has decided (`Track.pinned`) is kept, whatever the ratios say.
    """
    t, n = len(tails), len(tracks)
    ratio = _decided(tracks, tails, ratio)
    at_once = _at_once(tracks)
    excluded = _excluded(tracks, at_once, ratio[t:])
    joining = np.vstack([np.zeros((t, n), bool), at_once])
    columns = np.arange(n)
    while True:
        joined = np.where(joining, ratio, -np.inf)
        host = joined.argmax(axis=0)
        # A row of its own for each column: joining a stay that goes on is open to all.
        company = np.full((n, n), -np.inf)
        company[columns, columns] = joined[host, columns]
        rows, taken = assign(np.vstack([np.where(joining, -np.inf, ratio), company]), threshold)
        previous = np.full(n, -1)
        previous[taken] = np.where(rows < t + n, rows, host[taken])
        broken = _contradiction(tracks, tails, _Trees(t, previous, ratio), excluded, joining)
        if broken is None:
            return [int(row) for row in previous]
        ratio[previous[broken], broken] = -np.inf


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


def _excluded(tracks: list[Track], at_once: NDArray[np.bool_], ratio: Float64) -> NDArray[np.bool_]:
    """(N, N), row before column: two tracks that cannot be one person's.

    One camera has seen both at once, two cameras have in places that do not fit, or an operator has said so.
    """
    camera = np.array([track.camera for track in tracks])
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    pinned = np.array([track.pinned for track in tracks])
    earlier = np.triu(np.ones((len(tracks), len(tracks)), bool), 1)
    met = (last[:, None] >= first[None]) & (camera[:, None] == camera[None])
    parted = (pinned[:, None] != pinned[None]) & (pinned[:, None] > 0) & (pinned[None] > 0)
    return np.asarray(earlier & (met | parted | (at_once & (ratio < STRANGE))))


def _decided(tracks: list[Track], tails: list[TrackedPerson], ratio: Float64) -> Float64:
    """The ratios with an operator's decisions in them."""
    ratio = ratio.copy()
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
    return ratio


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

    def weakest(self, columns: list[int]) -> int:
        """Of these columns the one whose link is the weakest."""
        linked = [column for column in columns if self.previous[column] >= 0]
        return min(linked, key=lambda column: (self.ratio[self.previous[column], column], column))

    def weakest_between(self, one: int, other: int) -> int:
        """The column of the weakest link on the way from one track of a tree to another."""
        mine, theirs = self.path(one), self.path(other)
        apart = set(mine) ^ set(theirs)
        return self.weakest([each for each in mine + theirs if each in apart])


def _contradiction(
    tracks: list[Track],
    tails: list[TrackedPerson],
    trees: _Trees,
    excluded: NDArray[np.bool_],
    joining: NDArray[np.bool_],
) -> int | None:
    """The column of the weakest link between two tracks, or a person and a track, that cannot be one."""
    t = len(tails)
    ends = [track.last_ns for track in tracks]
    members: dict[int, list[int]] = {}
    root: list[int] = []
    for column, track in enumerate(tracks):
        row = int(trees.previous[column])
        above = root[row - t] if row >= t else (row if row >= 0 else t + column)
        root.append(above)
        if above < t:
            person = tails[above]
            busy = person.busy_ns.get(track.camera, -1) >= track.first_ns
            if busy or (track.pinned and track.pinned != person.identity):
                return trees.weakest(trees.path(column))
        others = members.setdefault(above, [])
        for other in others:
            # Who has been seen since in another view does not continue the stay that ended before.
            left = row >= t and other != row - t and not joining[row, column]
            if excluded[other, column] or (left and ends[other] > ends[row - t]):
                return trees.weakest_between(column, other)
        others.append(column)
    return None
