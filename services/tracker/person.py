"""One identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.tracker.kalman import Float64
from services.tracker.track import Track


class TrackedPerson:
    """One identity: what is remembered of a person beyond the tracks that may still be re-decided.

    prototypes: camera -> (sum of mean embeddings, weight), from the tracks settled so far; one a camera,
        because each has its own light and angle.
    tail: the last settled track, None while all are still open to revision.
    busy_ns: camera -> end of the last settled track there.
    seen: (camera, t_ns, x, y) of the last observation, x, y the foot point in pixels.
    """

    def __init__(self, identity: int) -> None:
        self.identity = identity
        self.name = ""
        self.followed = False
        self.prototypes: dict[int, tuple[Float64, float]] = {}
        self.tail: Track | None = None
        self.busy_ns: dict[int, int] = {}
        self.seen: tuple[int, int, float, float] | None = None

    @property
    def kept(self) -> bool:
        """Whether an operator has marked this person, so that the identity outlives its tracks."""
        return self.followed or bool(self.name)

    def settle(self, track: Track) -> None:
        """Take in a track whose identity is final."""
        mean = track.mean
        if mean is not None:
            total, weight = self.prototypes.get(track.camera, (np.zeros_like(mean), 0.0))
            share = min(track.weight, MAX_TRACK_WEIGHT)
            self.prototypes[track.camera] = (total + share * mean, weight + share)
        if self.tail is None or track.last_ns >= self.tail.last_ns:
            self.tail = track
        self.busy_ns[track.camera] = max(self.busy_ns.get(track.camera, 0), track.last_ns)

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [
            self.identity,
            self.name,
            self.followed,
            [[camera, *value] for camera, value in sorted(self.prototypes.items())],
            None if self.tail is None else self.tail.state(),
            sorted(self.busy_ns.items()),
            self.seen,
        ]

    @classmethod
    def restored(cls, state: list[Any]) -> TrackedPerson:
        """What `state` gave."""
        person = cls(state[0])
        person.name, person.followed = state[1], state[2]
        person.prototypes = {camera: (total, weight) for camera, total, weight in state[3]}
        person.tail = None if state[4] is None else Track.restored(state[4])
        person.busy_ns = dict(state[5])
        person.seen = None if state[6] is None else tuple(state[6])
        return person


MAX_TRACK_WEIGHT = 10.0
"""No single track counts for more than this many embeddings of full quality."""
