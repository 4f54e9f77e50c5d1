"""How alike people look, by one kind of feature vector, as log-likelihood ratios.

Light, angle and picture differ from camera to camera.  So where a kind asks for it, vectors are compared
after the mean of their own camera's people is taken out.  A person is known by several prototypes: every
track that may still be decided about is one, and of those settled there are a few a camera (`person.py`).
How alike somebody is to a person is the soft maximum of the cosines with these, each with the quality of its
crops for a weight: a view that fits well says more than the mean of all views, yet none decides alone.  What
the cosines of two different people are like is learned all the time from people seen at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import Similarity, Spread, normalised
from services.tracker.kalman import Float64
from services.tracker.person import MAX_TRACK_WEIGHT, TrackedPerson
from services.tracker.track import Track

CENTRE_WEIGHT = 3.0
"""Tracks that a camera's mean must outweigh to be told from the mean of all cameras."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of feature vectors.

    same, different: mean and standard deviation of the cosine before anything is learned.
    centred: whether the mean of the camera's people is taken out.
    share: how much of the ratio counts, for what also shows in another kind counts only once.
    """

    name: str
    same: tuple[float, float]
    different: tuple[float, float]
    centred: bool
    share: float


KINDS = (
    Kind("appearance", same=(0.65, 0.16), different=(0.0, 0.2), centred=True, share=1.0),
    Kind("face", same=(0.7, 0.15), different=(0.05, 0.15), centred=False, share=1.0),
    Kind("clothing", same=(0.5, 0.25), different=(0.0, 0.25), centred=True, share=0.5),
)

SOFTNESS = 8.0
"""Of the soft maximum, in 1/cosine: 0 is the mean of the cosines, infinity the largest."""

_PRIOR_WEIGHT = 50.0


class Resemblance:
    """The evidence of one kind of feature vectors."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._centres: dict[int, tuple[Float64, float]] = {}

    def ratio(
        self, tracks: list[Track], tails: list[TrackedPerson], columns: NDArray[np.intp]
    ) -> Float64 | None:
        """(T + N, C) log-likelihood ratios: each of C tracks is the person of a row, the T settled first.

        The row of a track stands for what its identity has looked like up to it.  0 where nothing is known;
        None where nothing of this kind is known of any track.
        """
        n, t = len(tracks), len(tails)
        size = self._dimensions(tracks, tails)
        if not size:
            return None
        centre = self._centre(tracks, size)
        own, weight = np.zeros((n, size)), np.zeros(n)
        for i, track in enumerate(tracks):
            feature = track.feature(self.kind.name)
            if feature is not None:
                total, quality = feature
                own[i] = total / quality - centre.get(track.camera, 0.0)
                weight[i] = min(quality, MAX_TRACK_WEIGHT)
        own = normalised(own)
        similarity = self._similarity(tracks, own)
        asked = own[columns]
        likeness, mass = np.zeros((t + n, len(columns))), np.zeros(t + n)
        first: dict[int, int] = {}
        vectors, weights, rows = self._prototypes(tails, centre)
        if len(rows):
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            likeness[rows[starts]] = np.add.reduceat(_weighed(vectors, weights, asked), starts, axis=0)
            mass[rows[starts]] = np.add.reduceat(weights, starts)
        likeness[t:], mass[t:] = _weighed(own, weight, asked), weight
        for row, person in enumerate(tails):
            first[person.identity] = row
        # What a person has looked like up to a track is what it looked like before, and in the track.
        for row, track in enumerate(tracks, t):
            if track.identity:
                before = first.get(track.identity)
                if before is not None:
                    likeness[row] += likeness[before]
                    mass[row] += mass[before]
                first[track.identity] = row
        has = (mass > 0)[:, None] & np.any(asked != 0, axis=1)[None]
        soft = np.log(np.where(has, likeness / np.maximum(mass, 1e-12)[:, None], 1.0)) / SOFTNESS
        return np.where(has, self.kind.share * similarity.ratio(soft), 0.0)

    def _prototypes(
        self, tails: list[TrackedPerson], centre: dict[int, Float64]
    ) -> tuple[Float64, Float64, NDArray[np.intp]]:
        """Of settled people (P, D) unit vectors, (P,) weights and (P,) increasing rows of the people."""
        found = [
            (total / share - centre.get(camera, 0.0), share, row)
            for row, person in enumerate(tails)
            for camera, known in sorted(person.prototypes.get(self.kind.name, {}).items())
            for total, share in known
        ]
        if not found:
            return np.empty((0, 0)), np.empty(0), np.empty(0, np.intp)
        vectors, weights, rows = zip(*found, strict=True)
        return normalised(np.stack(vectors)), np.array(weights), np.array(rows, np.intp)

    def settle(self, track: Track) -> None:
        """Take a track whose identity is final into its camera's mean."""
        feature = track.feature(self.kind.name)
        if feature is not None:
            mean = feature[0] / feature[1]
            total, n = self._centres.get(track.camera, (np.zeros_like(mean), 0.0))
            self._centres[track.camera] = (total + mean, n + 1)

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [[camera, *value] for camera, value in self._centres.items()]

    @classmethod
    def restored(cls, kind: Kind, state: list[Any]) -> Resemblance:
        """What `state` gave."""
        resemblance = cls(kind)
        resemblance._centres = {camera: (total, n) for camera, total, n in state}
        return resemblance

    def _dimensions(self, tracks: list[Track], tails: list[TrackedPerson]) -> int:
        for track in tracks:
            feature = track.feature(self.kind.name)
            if feature is not None:
                return len(feature[0])
        return 0

    def _centre(self, tracks: list[Track], size: int) -> dict[int, Float64]:
        """The mean of each camera's people, drawn towards that of all cameras."""
        if not self.kind.centred:
            return {}
        sums = dict(self._centres)
        for track in tracks:
            feature = track.feature(self.kind.name)
            if feature is not None:
                total, n = sums.get(track.camera, (np.zeros(size), 0.0))
                sums[track.camera] = (total + feature[0] / feature[1], n + 1)
        overall = np.sum([total for total, _ in sums.values()], axis=0) / (
            sum(n for _, n in sums.values()) + CENTRE_WEIGHT
        )
        return {
            camera: (total + CENTRE_WEIGHT * overall) / (n + CENTRE_WEIGHT)
            for camera, (total, n) in sums.items()
        }

    def _similarity(self, tracks: list[Track], own: Float64) -> Similarity:
        """With what the cosines of two people are like here: those seen at once by one camera."""
        similarity = Similarity(
            Spread(*self.kind.same, _PRIOR_WEIGHT), Spread(*self.kind.different, _PRIOR_WEIGHT)
        )
        has = np.any(own != 0, axis=1)
        cameras: dict[int, list[int]] = {}
        for i, track in enumerate(tracks):
            if has[i]:
                cameras.setdefault(track.camera, []).append(i)
        for rows in cameras.values():
            two = apart([tracks[i] for i in rows])
            if two.any():
                similarity.different.add((own[rows] @ own[rows].T)[two], 0.5)
        return similarity


def _weighed(prototypes: Float64, weights: Float64, asked: Float64) -> Float64:
    """(P, C) what each of P prototypes, with (P,) weights, adds to the soft maximum for each of C vectors."""
    return np.asarray(weights[:, None] * np.exp(SOFTNESS * (prototypes @ asked.T)))


def apart(tracks: list[Track]) -> NDArray[np.bool_]:
    """(N, N) which of one camera's tracks it has seen at once, so that they are two people."""
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    meet = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    np.fill_diagonal(meet, False)
    return np.asarray(meet)
