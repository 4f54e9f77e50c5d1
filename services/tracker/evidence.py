"""All that speaks for and against two stays being one person's: one log-likelihood ratio, its terms kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import Float64
from services.tracker.person import TrackedPerson
from services.tracker.resemblance import KINDS, Resemblance
from services.tracker.topology import Topology
from services.tracker.track import Track
from services.tracker.ways import Ways

LOYALTY = 0.5
"""Advantage of what was decided before, so that equal evidence does not make identities flicker."""

BEFORE = "decided before"

MANY_PAIRS = 100_000
MOST_ALIKE = 16
"""Where there are more pairs than that, only so many of the most alike are looked at for each track."""


@dataclass(slots=True)
class Scores:
    """The evidence for the K pairs of one decision that were judged.

    total: (T + N, N) log-likelihood ratio of row preceding column, minus infinity where it cannot be; the
    rows are the T settled people, then the N tracks.  pairs: (K,) row * N + column, increasing.
    terms: by name, (K,) what the ratios are the sums of.
    """

    total: Float64
    pairs: NDArray[np.intp]
    terms: dict[str, Float64]

    def of(self, row: int, column: int) -> dict[str, float]:
        """The terms of one judged pair that say anything, strongest first."""
        place = int(np.searchsorted(self.pairs, row * self.total.shape[1] + column))
        if place == len(self.pairs) or self.pairs[place] != row * self.total.shape[1] + column:
            return {}  # an operator's decision, or one made before
        found = {name: float(value[place]) for name, value in self.terms.items()}
        said = {name: value for name, value in found.items() if np.isfinite(value) and abs(value) >= 0.05}
        return dict(sorted(said.items(), key=lambda item: -abs(item[1])))


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
        revised: NDArray[np.bool_],
    ) -> Scores:
        """Judge the pairs in which the row may precede the column.

        tracks: N, in the order of their beginning.  before: track -> the track it was decided to continue.
        revised: (N,) the columns to judge.  Where pairs are very many, those are left out that neither
        looks nor a known way between their cameras speak for; they count as impossible.
        """
        n, t = len(tracks), len(tails)
        ends = [person.tail for person in tails if person.tail is not None] + tracks
        chosen = np.flatnonzero(revised)
        found = {look.kind.name: look.ratio(tracks, tails, chosen) for look in self._looks}
        looks = {name: value for name, value in found.items() if value is not None}
        alike = sum(looks.values(), start=np.zeros((t + n, len(chosen))))
        row_of = {end.track_id: row for row, end in enumerate(ends)}
        previous = np.array([row_of.get(before.get(track.track_id, 0), -1) for track in tracks])
        rows, places = self._pairs(tracks, ends, alike, previous, chosen)
        columns = chosen[places]
        linked = rows == previous[columns]
        # A link that was made teaches as much as its looks, not its place, make it certain.
        links = linked / (1 + np.exp(-alike[rows, places]))
        used, at = np.unique(np.concatenate([rows, columns + t]), return_inverse=True)
        earlier, later = at[: len(rows)], at[len(rows) :]
        terms = {name: value[rows, places] for name, value in looks.items()}
        if len(rows):
            ways = Ways.of([ends[each] for each in used], sizes_px)
            terms |= self.topology.ratios(ways, earlier, later, links)
        terms[BEFORE] = linked * LOYALTY
        total = np.full((t + n, n), -np.inf)
        total[rows, columns] = np.sum(list(terms.values()), axis=0)
        camera = np.array([track.camera for track in tracks])
        first_ns = np.array([track.first_ns for track in tracks])
        for row, person in enumerate(tails):
            for place, busy_ns in person.busy_ns.items():
                total[row, (camera == place) & (first_ns <= busy_ns)] = -np.inf
        return Scores(total, rows * n + columns, terms)

    def _pairs(
        self,
        tracks: list[Track],
        ends: list[Track],
        alike: Float64,
        previous: NDArray[np.intp],
        chosen: NDArray[np.intp],
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and places in `chosen` of the pairs to look at, row by row."""
        t, n = len(ends) - len(tracks), len(tracks)
        wanted = np.arange(t + n)[:, None] - t < chosen[None]
        if np.count_nonzero(wanted) > MANY_PAIRS:
            here = np.array([end.camera for end in ends])
            there = np.array([tracks[column].camera for column in chosen])
            known = self.topology.connected()
            cameras, place = np.unique(np.concatenate([here, there]), return_inverse=True)
            joined = np.array(
                [[a == b or (a, b) in known for b in cameras.tolist()] for a in cameras.tolist()]
            )
            likely = joined[place[: t + n]][:, place[t + n :]]
            looks = np.where(wanted, alike, -np.inf)
            least = np.partition(looks, -MOST_ALIKE, axis=0)[-MOST_ALIKE]
            likely |= (looks >= least[None]) & (looks > 0)
            linked = np.flatnonzero(previous[chosen] >= 0)
            likely[previous[chosen][linked], linked] = True
            wanted &= likely
        rows, places = np.nonzero(wanted)
        return rows, places

    def settle(self, track: Track, previous: Track | None, sizes_px: Mapping[int, tuple[int, int]]) -> None:
        """Keep what a track says whose identity is final, and the way from the one it continues."""
        for look in self._looks:
            look.settle(track)
        if previous is not None:
            self.topology.learn(Ways.of([previous, track], sizes_px), 0, 1)

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
