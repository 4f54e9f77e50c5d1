"""All that speaks for and against two stays being one person's: one log-likelihood ratio, its terms kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.candidates import UNLIKELY, alike, near
from services.tracker.kalman import Float64
from services.tracker.person import TrackedPerson
from services.tracker.resemblance import KINDS, Looks, Resemblance
from services.tracker.topology import REACH_S, Topology
from services.tracker.track import Track
from services.tracker.ways import Ways

Int64 = NDArray[np.int64]

LOYALTY = 0.5
"""Advantage of what was decided before, so that equal evidence does not make identities flicker."""

BEFORE = "decided before"

HOPELESS = -4.0
"""Pairs whose ratio can be no more than this are not looked at."""


@dataclass(slots=True)
class Scores:
    """The evidence for the K pairs of one decision that were judged, column by column.

    rows: (K,) of T settled people, then N tracks.  columns: (K,) of the tracks.  total: (K,) log-likelihood
    ratio of the row preceding the column, minus infinity where it cannot be.  terms: by name, (K,) what the
    ratios are the sums of.
    """

    rows: Int64
    columns: Int64
    total: Float64
    terms: dict[str, Float64]
    _values: Float64 = field(init=False)

    def __post_init__(self) -> None:
        self._values = np.stack(list(self.terms.values()), axis=1)

    def of(self, pair: int) -> dict[str, float]:
        """The terms of one of the pairs that say anything, strongest first."""
        found = zip(self.terms, self._values[pair].tolist(), strict=True)
        said = [(name, value) for name, value in found if 0.05 <= abs(value) < np.inf]
        return dict(sorted(said, key=lambda item: -abs(item[1])))


class Chosen(NamedTuple):
    """Which pairs to look at where there are too many for all, see `candidates`.

    columns: (C,) the columns to judge.  new: those that were never judged.  rows_before, columns_before: (K,)
    pairs that were found to be likely before.  What was linked before is always judged.
    """

    columns: Int64
    new: Int64
    rows_before: Int64
    columns_before: Int64


class Evidence:
    """Looks, time and place, fused."""

    def __init__(self) -> None:
        self.topology = Topology()
        self._looks = [Resemblance(kind) for kind in KINDS]

    def scores(
        self,
        tracks: list[Track],
        tails: list[TrackedPerson],
        before: Mapping[int, int],
        sizes_px: Mapping[int, tuple[int, int]],
        chosen: Chosen | None = None,
    ) -> Scores:
        """Judge the pairs in which the row may precede the column.

        tracks: N, in the order of their beginning.  before: track -> the track it was decided to continue.
        chosen: what to look at; None for all pairs.
        """
        n, t = len(tracks), len(tails)
        ends = [person.tail for person in tails if person.tail is not None] + tracks
        found = {look.kind.name: look.looks(tracks, tails) for look in self._looks}
        looks = {name: value for name, value in found.items() if value is not None}
        row_of = {end.track_id: row for row, end in enumerate(ends)}
        previous = np.array([row_of.get(before.get(track.track_id, 0), -1) for track in tracks], np.int64)
        if chosen is None:
            rows, columns = self._possible(ends, t, previous, list(looks.values()))
        else:
            rows, columns = self._candidates(ends, t, previous, list(looks.values()), chosen)
        terms = {name: each.ratio(rows, columns) for name, each in looks.items()}
        alike = np.sum(list(terms.values()), axis=0) if terms else np.zeros(len(rows))
        linked = rows == previous[columns]
        # A link that was made teaches as much as its looks, not its place, make it certain.
        links = linked / (1 + np.exp(-alike))
        if len(rows):
            used = np.zeros(t + n, bool)
            used[rows] = used[columns + t] = True
            at = np.cumsum(used) - 1
            ways = Ways.of([ends[each] for each in np.flatnonzero(used).tolist()], sizes_px)
            terms |= self.topology.ratios(ways, at[rows], at[columns + t], links)
        terms[BEFORE] = linked * LOYALTY
        total = np.sum(list(terms.values()), axis=0)
        for pair in np.flatnonzero(rows < t).tolist():
            track = tracks[columns[pair]]
            if track.first_ns <= tails[rows[pair]].busy_ns.get(track.camera, -1):
                total[pair] = -np.inf
        return Scores(rows, columns, total, terms)

    def _possible(
        self, ends: list[Track], t: int, previous: Int64, looks: list[Looks]
    ) -> tuple[Int64, Int64]:
        """Rows and columns of all pairs but those that are hopeless after so long, column by column."""
        camera = np.array([end.camera for end in ends], np.int64)
        first_ns = np.array([end.first_ns for end in ends], np.int64)
        last_ns = np.array([end.last_ns for end in ends], np.int64)
        columns, rows = np.nonzero(np.arange(len(ends)) < np.arange(t, len(ends))[:, None])
        gap_s = (first_ns[t + columns] - last_ns[rows]) * 1e-9
        most = self.topology.at_most(gap_s, camera[rows] == camera[t + columns])
        most = sum((each.ratio(rows, columns) for each in looks), start=most)
        keep = (gap_s < REACH_S) | (most > HOPELESS) | (rows == previous[columns])
        return rows[keep], columns[keep]

    def _candidates(
        self, ends: list[Track], t: int, previous: Int64, looks: list[Looks], chosen: Chosen
    ) -> tuple[Int64, Int64]:
        """Rows and columns of the pairs to look at, column by column."""
        camera = np.array([end.camera for end in ends], np.int64)
        first_ns = np.array([end.first_ns for end in ends], np.int64)
        last_ns = np.array([end.last_ns for end in ends], np.int64)
        linked = np.flatnonzero(previous >= 0)
        a, b = camera[previous[linked]], camera[t + linked]
        two = a != b
        pairs = zip(np.minimum(a, b)[two].tolist(), np.maximum(a, b)[two].tolist(), strict=True)
        neighbours = self.topology.neighbours(np.unique(camera).tolist(), Counter(pairs))
        rows, columns, time = near(camera, first_ns, last_ns, t, chosen.columns, neighbours)
        likely = sum((each.ratio(rows, columns) for each in looks), start=time) >= UNLIKELY
        # Links between cameras are looked at in any case, for they teach.
        teaching = linked[two | np.isin(linked, chosen.columns)]
        found = (
            (rows[likely], columns[likely]),
            alike(looks, last_ns, t, chosen.new),
            (chosen.rows_before, chosen.columns_before),
            (previous[teaching], teaching),
        )
        rows, columns = (np.concatenate(each) for each in zip(*found, strict=True))
        key = np.sort(columns * len(ends) + rows)
        key = key[np.diff(key, prepend=-1) > 0]
        return key % len(ends), key // len(ends)

    def settle(self, track: Track, previous: Track | None, sizes_px: Mapping[int, tuple[int, int]]) -> None:
        """Keep what a track says whose identity is final, and the way from the one it continues."""
        for look in self._looks:
            look.settle(track)
        if previous is not None:
            self.topology.learn(Ways.of([previous, track], sizes_px), 0, 1)

    def state(self) -> dict[str, Any]:
        """Plain values and arrays for `restored`."""
        return {
            "topology": self.topology.state(),
            "looks": {look.kind.name: look.state() for look in self._looks},
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Evidence:
        """What `state` gave."""
        evidence = cls()
        evidence.topology = Topology.restored(state["topology"])
        evidence._looks = [Resemblance.restored(kind, state["looks"].get(kind.name, [])) for kind in KINDS]
        return evidence
