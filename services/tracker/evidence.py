"""All that speaks for and against two stays being one person's: one log-likelihood ratio, its terms kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.tracker.ground import GroundPlane
from services.tracker.kalman import Float64
from services.tracker.person import TrackedPerson
from services.tracker.resemblance import KINDS, Resemblance
from services.tracker.topology import TERMS as WAY_TERMS
from services.tracker.topology import Topology
from services.tracker.track import Track
from services.tracker.ways import Ways

LOYALTY = 0.5
"""Advantage of what was decided before, so that equal evidence does not make identities flicker."""

BEFORE = "decided before"


@dataclass(slots=True)
class Scores:
    """The evidence for every pair of one decision.

    terms: by name, (T + N, N) log-likelihood ratios of row preceding column; the rows are the T settled
    people, then the N tracks.  total: their sum, minus infinity where it cannot be.
    """

    terms: dict[str, Float64]
    total: Float64

    def of(self, row: int, column: int) -> dict[str, float]:
        """The terms of one pair that say anything, strongest first."""
        found = {name: float(value[row, column]) for name, value in self.terms.items()}
        said = {name: value for name, value in found.items() if np.isfinite(value) and abs(value) >= 0.05}
        return dict(sorted(said.items(), key=lambda item: -abs(item[1])))


class Evidence:
    """Looks, time and place, fused."""

    def __init__(self, grounds: Mapping[int, GroundPlane] | None = None) -> None:
        self.topology = Topology(grounds)
        self._looks = [Resemblance(kind) for kind in KINDS]

    def scores(
        self,
        tracks: list[Track],
        tails: list[TrackedPerson],
        before: Mapping[int, int],
        sizes_px: Mapping[int, tuple[int, int]],
    ) -> Scores:
        """Judge every pair in which the row may precede the column.

        tracks: in the order of their beginning.  before: track -> the track it was decided to continue.
        """
        n, t = len(tracks), len(tails)
        ends = [person.tail for person in tails if person.tail is not None] + tracks
        terms = {look.kind.name: look.ratio(tracks, tails) for look in self._looks}
        alike = np.sum(list(terms.values()), axis=0)
        rows, columns = np.nonzero(np.arange(t + n)[:, None] - t < np.arange(n)[None])
        row_of = {end.track_id: row for row, end in enumerate(ends)}
        previous = np.array([row_of.get(before.get(track.track_id, 0), -1) for track in tracks])
        linked = rows == previous[columns]
        # A link that was made teaches as much as its looks, not its place, make it certain.
        links = linked / (1 + np.exp(-alike[rows, columns]))
        ways = Ways.of(ends, sizes_px)
        found = self.topology.ratios(ways, rows, columns + t, links)
        for name in WAY_TERMS:
            terms[name] = np.full((t + n, n), -np.inf)
            terms[name][rows, columns] = found[name]
        terms[BEFORE] = np.zeros((t + n, n))
        terms[BEFORE][rows[linked], columns[linked]] = LOYALTY
        total = np.sum(list(terms.values()), axis=0)
        camera = np.array([track.camera for track in tracks])
        first_ns = np.array([track.first_ns for track in tracks])
        for row, person in enumerate(tails):
            for place, busy_ns in person.busy_ns.items():
                total[row, (camera == place) & (first_ns <= busy_ns)] = -np.inf
        return Scores(terms, total)

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
    def restored(cls, state: dict[str, Any], grounds: Mapping[int, GroundPlane] | None = None) -> Evidence:
        """What `state` gave."""
        evidence = cls(grounds)
        evidence.topology = Topology.restored(state["topology"], grounds)
        evidence._looks = [Resemblance.restored(kind, state["looks"].get(kind.name, [])) for kind in KINDS]
        return evidence
