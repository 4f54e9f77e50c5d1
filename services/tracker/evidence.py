"""All that speaks for and against two stays being one person's: one log-likelihood ratio, its terms kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.candidates import HOPELESS, Chosen, candidates
from services.tracker.kalman import Float64
from services.tracker.person import TrackedPerson
from services.tracker.resemblance import BOUND, KINDS, Resemblance
from services.tracker.stays import Stays
from services.tracker.topology import LONG_S, Asked, Topology
from services.tracker.track import Track
from services.tracker.ways import Ways

Int64 = NDArray[np.int64]

LOYALTY = 0.5
"""Advantage of what was decided before, so that equal evidence does not make identities flicker."""

BEFORE = "decided before"


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


class Evidence:
    """Looks, time and place, fused."""

    def __init__(self) -> None:
        self.topology = Topology()
        self._looks = [Resemblance(kind) for kind in KINDS]

    def recognisable(self, person: TrackedPerson, since_ns: int, threshold: float) -> bool:
        """Whether a link to a settled person, of a track that begins at since_ns or later, may exceed this.

        After long that takes more than one kind of looks: a face, above all.
        """
        if person.tail is None:
            return False
        gap_s = (since_ns - person.tail.last_ns) * 1e-9
        looks = sum(look.kind.share for look in self._looks if look.kind.name in person.prototypes)
        return gap_s <= LONG_S or self.topology.long_after(gap_s) + looks * BOUND > threshold

    def scores(
        self,
        tracks: list[Track],
        tails: list[TrackedPerson],
        before: Mapping[int, int],
        sizes_px: Mapping[int, tuple[int, int]],
        *,
        stays: Stays,
        chosen: Chosen,
    ) -> Scores:
        """Judge pairs in which the row may precede the column.

        tracks: N, in the order of their beginning.  stays: of the tails and tracks.  before: track -> the
        track it was decided to continue.
        """
        t = len(tails)
        ends = [person.tail for person in tails if person.tail is not None] + tracks
        found = {look.kind.name: look.looks(tracks, tails, before) for look in self._looks}
        looks = {name: value for name, value in found.items() if value is not None}
        row_of = {end.track_id: row for row, end in enumerate(ends)}
        previous = np.array([row_of.get(before.get(track.track_id, 0), -1) for track in tracks], np.int64)
        rows, columns = candidates(stays, list(looks.values()), previous, self.topology, chosen)
        gap_s = np.asarray((stays.first_ns[t + columns] - stays.last_ns[rows]) * 1e-9, np.float64)
        terms = {name: each.ratio(rows, columns, gap_s) for name, each in looks.items()}
        alike = np.sum(list(terms.values()), axis=0) if terms else np.zeros(len(rows))
        linked = rows == previous[columns]
        # A link that was made teaches as much as its looks, not its place, make it certain.
        links = linked / (1 + np.exp(-alike))
        if len(rows):
            used = np.zeros(len(ends), bool)
            used[rows] = used[columns + t] = True
            at = np.cumsum(used) - 1
            ways = Ways.of([ends[each] for each in np.flatnonzero(used).tolist()], sizes_px)
            asked = Asked(at[rows], at[columns + t], links, stays.company(rows, columns))
            terms |= self.topology.ratios(ways, asked)
        terms[BEFORE] = linked * LOYALTY
        total = np.sum(list(terms.values()), axis=0)
        for pair in np.flatnonzero((rows < t) & (total > HOPELESS)).tolist():
            track = tracks[columns[pair]]
            if track.first_ns <= tails[rows[pair]].busy_ns.get(track.camera, -1):
                total[pair] = -np.inf
        return Scores(rows, columns, total, terms)

    def settle(self, track: Track) -> None:
        """Keep what the looks of a track say whose identity is final."""
        for look in self._looks:
            look.settle(track)

    def learn(self, links: list[tuple[Track, Track]], sizes_px: Mapping[int, tuple[int, int]]) -> None:
        """Keep what the ways from tracks to those that continue them say, which is final."""
        if links:
            ways = Ways.of([track for link in links for track in link], sizes_px)
            earlier = np.arange(0, 2 * len(links), 2)
            self.topology.learn(ways, earlier, earlier + 1)

    def forget_looks(self, kind: str) -> None:
        """Drop what is learned of looks of one kind."""
        self._looks = [Resemblance(each.kind) if each.kind.name == kind else each for each in self._looks]

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
