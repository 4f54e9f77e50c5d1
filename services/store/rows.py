"""Rows of the database while a batch of messages is folded over them."""

from __future__ import annotations

from dataclasses import dataclass

SIGHTING_GAP_NS = 5_000_000_000
"""A person not observed for longer than this begins a new sighting."""


@dataclass(slots=True)
class SessionRow:
    """One uninterrupted stream of a camera."""

    key: int
    first_ns: int
    last_ns: int
    frames: int
    ended: str | None
    detail: str
    announced_frames: int | None


@dataclass(slots=True)
class SightingRow:
    """One presence of a person.  box: the last one, in hundredths of pixels.  score: in ten thousandths."""

    first_ns: int
    last_ns: int
    box: list[int]
    score: int


@dataclass(slots=True)
class TrackRow:
    """A track's row; `sightings` holds its newest stored sighting and those begun since."""

    session_key: int
    camera: int
    identity: int | None
    first_ns: int
    last_ns: int
    frames: int
    sightings: list[SightingRow]
    decision: int = 0
    stored_identity: int | None = None

    def show(self, t_ns: int) -> None:
        """Take in a moment at which there was a box, observed or predicted."""
        self.first_ns = min(self.first_ns, t_ns)
        self.last_ns = max(self.last_ns, t_ns)

    def observe(self, t_ns: int, box: list[int], score: int) -> None:
        """Take in a frame in which the person was seen."""
        self.frames += 1
        newest = self.sightings[-1] if self.sightings else None
        if newest is None or t_ns > newest.last_ns + SIGHTING_GAP_NS:
            self.sightings.append(SightingRow(t_ns, t_ns, box, score))
        elif t_ns >= newest.last_ns:  # a clock set back leaves the sighting as it was
            newest.last_ns, newest.box, newest.score = t_ns, box, score

    def assign(self, identity: int, decision: int) -> None:
        """Take in whose track it is, 0 for nobody's, unless a later decision has said so already."""
        if decision >= self.decision:
            self.identity, self.decision = identity if identity > 0 else None, decision
