"""One identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import normalised
from services.tracker.reason import Reason
from services.tracker.track import Track

Prototype: TypeAlias = tuple[NDArray[np.floating[Any]], float]
"""A mean vector (D,) of `PROTOTYPE_DTYPE` and its weight, the sum of the qualities that went into it."""

PROTOTYPE_DTYPE: type[np.floating[Any]] = np.float16
"""Changes a cosine by less than 0.001 and takes a quarter of the memory of float64.  What that costs in
identities: `benchmarks/remembered.py`."""

MAX_TRACK_WEIGHT = 10.0
"""No single track counts for more than this many embeddings of full quality."""

MAX_PROTOTYPES = 3
"""Of one kind of features in one camera: so many views of a person, or lights, are kept apart."""

MAX_STAYS = 20
"""Of the tracks of one person that are long over, so many are remembered one by one."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One track of a person, and why it is this person's."""

    track: int
    camera: int
    first_ns: int
    last_ns: int
    reason: Reason | None

    @classmethod
    def of(cls, track: Track) -> Stay:
        """What stays of a track."""
        return cls(track.track_id, track.camera, track.first_ns, track.last_ns, track.reason)

    def state(self) -> list[Any]:
        """Plain values for `restored`."""
        reason = None if self.reason is None else self.reason.state()
        return [self.track, self.camera, self.first_ns, self.last_ns, reason]

    @classmethod
    def restored(cls, state: list[Any]) -> Stay:
        """What `state` gave."""
        track, camera, first_ns, last_ns, reason = state
        return cls(track, camera, first_ns, last_ns, None if reason is None else Reason.restored(reason))


class TrackedPerson:
    """One identity: what is remembered of a person beyond the tracks that may still be re-decided.

    prototypes: kind of feature -> camera -> a few of (mean vector (D,), weight), from the tracks
        settled so far; apart by camera, because each has its own light and angle, and in each by what is
        alike, so that front and back, or morning and evening, are not averaged into one vector that fits
        neither.
    stays: the latest settled tracks, and why each is this person's.
    tail: the last settled track, None while all are still open to revision.
    busy_ns: camera -> end of the last settled track there.
    seen: (camera, t_ns, x, y) of the last observation, x, y the foot point in pixels.
    """

    def __init__(self, identity: int) -> None:
        self.identity = identity
        self.name = ""
        self.followed = False
        self.prototypes: dict[str, dict[int, list[Prototype]]] = {}
        self.stays: list[Stay] = []
        self.tail: Track | None = None
        self.busy_ns: dict[int, int] = {}
        self.seen: tuple[int, int, float, float] | None = None

    @property
    def kept(self) -> bool:
        """Whether an operator has marked this person, so that the identity outlives its tracks."""
        return self.followed or bool(self.name)

    def excludes(self, track: Track) -> bool:
        """Whether a track cannot be this person's, who was there still, or an operator has said so."""
        busy = self.busy_ns.get(track.camera, -1) >= track.first_ns
        return busy or track.pinned not in (0, self.identity)

    def settle(self, track: Track) -> None:
        """Take in a track whose identity is final."""
        for kind in ("appearance", *track.others):
            feature = track.feature(kind)
            if feature is None:
                continue
            total, weight = feature
            share = min(weight, MAX_TRACK_WEIGHT)
            self._remember(kind, track.camera, [((total / weight).astype(PROTOTYPE_DTYPE), share)])
        self.stays = [*self.stays, Stay.of(track)][-MAX_STAYS:]
        if self.tail is None or track.last_ns >= self.tail.last_ns:
            self.tail = track.end()
        self.busy_ns[track.camera] = max(self.busy_ns.get(track.camera, 0), track.last_ns)

    def absorb(self, other: TrackedPerson) -> None:
        """Take in all that is remembered of another identity: both are this person."""
        for kind, cameras in other.prototypes.items():
            for camera, prototypes in cameras.items():
                self._remember(kind, camera, prototypes)
        self.stays = sorted([*self.stays, *other.stays], key=lambda stay: (stay.last_ns, stay.track))
        self.stays = self.stays[-MAX_STAYS:]
        if other.tail is not None and (self.tail is None or other.tail.last_ns > self.tail.last_ns):
            self.tail = other.tail
        for camera, busy_ns in other.busy_ns.items():
            self.busy_ns[camera] = max(self.busy_ns.get(camera, 0), busy_ns)
        if other.seen is not None and (self.seen is None or other.seen[1] > self.seen[1]):
            self.seen = other.seen
        self.name = self.name or other.name
        self.followed |= other.followed

    def _remember(self, kind: str, camera: int, prototypes: list[Prototype]) -> None:
        """Add prototypes; of more than are kept the two most alike become one, again and again.

        That is agglomerative clustering (Ward 1963) with the cosine for a distance.
        """
        known = [*self.prototypes.setdefault(kind, {}).get(camera, []), *prototypes]
        while len(known) > MAX_PROTOTYPES:
            unit = normalised(np.stack([mean for mean, _ in known]).astype(np.float64))
            alike = np.where(np.tri(len(known), dtype=bool), -np.inf, unit @ unit.T)
            a, b = divmod(int(alike.argmax()), len(known))
            (mean, weight), (other, other_weight) = known[a], known.pop(b)
            both = weight + other_weight
            joint = (weight * mean.astype(np.float64) + other_weight * other.astype(np.float64)) / both
            known[a] = (joint.astype(PROTOTYPE_DTYPE), both)
        self.prototypes[kind][camera] = known

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [
            self.identity,
            self.name,
            self.followed,
            {
                kind: [[c, [list(one) for one in known]] for c, known in sorted(each.items())]
                for kind, each in self.prototypes.items()
            },
            None if self.tail is None else self.tail.state(),
            sorted(self.busy_ns.items()),
            self.seen,
            [stay.state() for stay in self.stays],
        ]

    @classmethod
    def restored(cls, state: list[Any]) -> TrackedPerson:
        """What `state` gave."""
        person = cls(state[0])
        person.name, person.followed = state[1], state[2]
        person.prototypes = {
            kind: {camera: [(mean, weight) for mean, weight in known] for camera, known in each}
            for kind, each in state[3].items()
        }
        person.tail = None if state[4] is None else Track.restored(state[4])
        person.busy_ns = dict(state[5])
        person.seen = None if state[6] is None else tuple(state[6])
        person.stays = [Stay.restored(each) for each in state[7]]
        return person
