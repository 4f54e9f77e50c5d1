"""How alike people look, by one kind of feature vector, as log-likelihood ratios.

Light, angle and picture differ from camera to camera.  So where a kind asks for it, vectors are compared
after the mean of their own camera's people is taken out, and every person has one prototype a camera.  What
the cosines of two different people are like is learned all the time from people seen at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import Similarity, Spread, normalised
from services.tracker.compiled import compiled
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

_PRIOR_WEIGHT = 50.0


@compiled
def cosines(a: Float64, b: Float64, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
    """(K,) inner products of (N, D) rows of a and (M, D) rows of b."""
    out = np.empty(len(rows))
    size = a.shape[1]
    for k in range(len(rows)):
        one, other = a[rows[k]], b[columns[k]]
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        for d in range(0, size - 3, 4):  # four sums at once: a processor waits for each to end
            s0 += one[d] * other[d]
            s1 += one[d + 1] * other[d + 1]
            s2 += one[d + 2] * other[d + 2]
            s3 += one[d + 3] * other[d + 3]
        for d in range(size - size % 4, size):
            s0 += one[d] * other[d]
        out[k] = (s0 + s1) + (s2 + s3)
    return out


@dataclass(slots=True)
class Looks:
    """What is known of one kind of T settled people and N tracks, for one decision.

    known: (T + N, D) what each row's person has looked like, length 1.  own: (N, D) each track alone.
    Where nothing is known a row is zero, and its ratios are 0.
    """

    known: Float64
    own: Float64
    similarity: Similarity
    share: float

    def ratio(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
        """(K,) log-likelihood ratios: track `columns[k]` is the person of `rows[k]`."""
        has = self.known.any(axis=1)[rows] & self.own.any(axis=1)[columns]
        cosine = cosines(self.known, self.own, rows, columns)
        return np.where(has, self.share * self.similarity.ratio(cosine), 0.0)

    def table(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
        """(R, C) the same, of all these rows with all these columns."""
        known, own = self.known[rows], self.own[columns]
        has = known.any(axis=1)[:, None] & own.any(axis=1)
        return np.where(has, self.share * self.similarity.ratio(known @ own.T), 0.0)


class Resemblance:
    """The evidence of one kind of feature vectors."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._centres: dict[int, tuple[Float64, float]] = {}

    def looks(self, tracks: list[Track], tails: list[TrackedPerson]) -> Looks | None:
        """What all are known to look like; None where nothing of this kind is known of any track.

        The row of a track stands for what its identity has looked like up to it.
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
        known: Float64 = np.zeros((t + n, size))
        prefix: dict[int, Float64] = {}
        for row, person in enumerate(tails):
            for camera, (total, share) in sorted(person.prototypes.get(self.kind.name, {}).items()):
                known[row] += total - share * centre.get(camera, 0.0)
            prefix[person.identity] = known[row]
        for i, track in enumerate(tracks):
            value = own[i] * weight[i]
            if track.identity:
                value = value + prefix.get(track.identity, np.zeros(size))
                prefix[track.identity] = value
            known[t + i] = value
        return Looks(normalised(known), own, self._similarity(tracks, own), self.kind.share)

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


def apart(tracks: list[Track]) -> NDArray[np.bool_]:
    """(N, N) which of one camera's tracks it has seen at once, so that they are two people."""
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    meet = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    np.fill_diagonal(meet, False)
    return np.asarray(meet)
