"""How alike people look, by one kind of feature vector, as log-likelihood ratios.

Light, angle and picture differ from camera to camera.  So where a kind asks for it, vectors are compared
after the mean of their own camera's people is taken out.  A person is known by several prototypes: every
track that may still be decided about is one, and of those settled there are a few a camera (`person.py`).
How alike somebody is to a person is the soft maximum of the cosines with these, each with the quality of its
crops for a weight: a view that fits well says more than the mean of all views, yet none decides alone.  What
the cosines of two different people are like is learned all the time from people seen at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import Similarity, Spread, normalised
from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.person import MAX_TRACK_WEIGHT, TrackedPerson
from services.tracker.track import Track
from shared.messages import Float32

FEW = 10.0
"""With this many people half of a camera's mean embedding is subtracted, with fewer less: the mean over a few
people is mostly their own appearance."""

CENTRE_WEIGHT = 3.0
"""Tracks that a camera's mean must outweigh to be told from the mean of all cameras."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of feature vectors.

    same, different: mean and standard deviation of the cosine before anything is learned.
    centred: whether the mean of the camera's people is taken out.
    share: how much of the ratio counts, for what also shows in another kind counts only once.
    lasts_s: mean time for which a person's appearance of this kind stays the same.
    """

    name: str
    same: tuple[float, float]
    different: tuple[float, float]
    centred: bool
    share: float
    lasts_s: float


DRESSED_S = 12 * 3600.0
"""Chosen: people change clothes about once a day, and put a coat on or take it off in between."""

KINDS = (
    Kind("appearance", same=(0.65, 0.16), different=(0.0, 0.2), centred=True, share=1.0, lasts_s=DRESSED_S),
    Kind("face", same=(0.7, 0.15), different=(0.05, 0.15), centred=False, share=1.0, lasts_s=math.inf),
    Kind("clothing", same=(0.5, 0.25), different=(0.0, 0.25), centred=True, share=0.5, lasts_s=DRESSED_S),
)

BOUND = 8.0
"""Largest log-likelihood ratio of one kind, in either direction: 1 in 3000 strangers looks the same."""

SOFTNESS = 8.0
"""Of the soft maximum, in 1/cosine: 0 is the mean of the cosines, infinity the largest."""

MOST_PROTOTYPES = 16
"""So many of a person's prototypes, the latest, are compared."""

_PRIOR_WEIGHT = 50.0


@compiled
def cosines(a: Float32, b: Float32, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
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


@compiled
def chained(
    owners: NDArray[np.int64],
    slots: NDArray[np.int64],
    undecided: NDArray[np.bool_],
    weight: Float64,
    settled: int,
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(T + N,) the latest prototype of each row's person, -1 for none, and (P,) the one before each.

    owners: (P - N,) rows of the settled prototypes, increasing; the N tracks are prototypes behind them.
    slots: (N,) number of each track's identity, the first T (`settled`) of `count` being those of the rows.
    undecided: (N,) who has no identity, and stands alone.  weight: (N,), 0 of whom nothing is known.
    """
    n, first = len(slots), len(owners)
    latest = np.full(count, -1)
    head, before = np.full(settled + n, -1), np.full(first + n, -1)
    for place in range(first):
        before[place] = latest[owners[place]]
        latest[owners[place]] = place
    for row in range(settled):
        head[row] = latest[row]
    for column in range(n):
        known = weight[column] > 0
        if undecided[column]:
            head[settled + column] = first + column if known else -1
            continue
        if known:
            before[first + column] = latest[slots[column]]
            latest[slots[column]] = first + column
        head[settled + column] = latest[slots[column]]
    return head, before


@compiled
def gathered(
    vectors: Float32, weights: Float64, head: NDArray[np.int64], before: NDArray[np.int64]
) -> Float32:
    """(T + N, D) the weighted sum of each row's latest prototypes, at most `MOST_PROTOTYPES`."""
    out = np.zeros((len(head), vectors.shape[1]), np.float32)
    for row in range(len(head)):
        place, left = head[row], MOST_PROTOTYPES
        while place >= 0 and left > 0:
            out[row] += weights[place] * vectors[place]
            place, left = before[place], left - 1
    return out


@compiled
def soft_cosines(
    vectors: Float32,
    weights: Float64,
    head: NDArray[np.int64],
    before: NDArray[np.int64],
    own: Float32,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> Float64:
    """(K,) soft maximum of the cosines of own[columns[k]] with the latest prototypes of rows[k]."""
    out = np.zeros(len(rows))
    size = own.shape[1]
    for k in range(len(rows)):
        other = own[columns[k]]
        place, left, total, mass = head[rows[k]], MOST_PROTOTYPES, 0.0, 0.0
        while place >= 0 and left > 0:
            one = vectors[place]
            s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
            for d in range(0, size - 3, 4):
                s0 += one[d] * other[d]
                s1 += one[d + 1] * other[d + 1]
                s2 += one[d + 2] * other[d + 2]
                s3 += one[d + 3] * other[d + 3]
            for d in range(size - size % 4, size):
                s0 += one[d] * other[d]
            total += weights[place] * np.exp(SOFTNESS * ((s0 + s1) + (s2 + s3)))
            mass += weights[place]
            place, left = before[place], left - 1
        if mass > 0:
            out[k] = np.log(total / mass) / SOFTNESS
    return out


@compiled
def centred(
    totals: Float64, quality: Float64, at: NDArray[np.int64], sums: Float64, counts: Float64, share: float
) -> tuple[Float32, Float64]:
    """(K, D) of length 1, K tracks' looks without the means of their cameras; (C + 1, D) those means.

    totals, quality: (K, D), (K,) sums of embeddings weighted by their qualities, and of these.  at: (K,)
    which camera.  sums, counts: (C, D), (C,) of the means of the tracks that each camera has seen before.
    share: of the means that is taken out; each is drawn towards that of all cameras.
    """
    size = totals.shape[1]
    means = np.zeros((len(sums) + 1, size))
    if share > 0:
        overall, weight = np.zeros(size), CENTRE_WEIGHT
        for c in range(len(sums)):
            means[c], overall, weight = sums[c], overall + sums[c], weight + counts[c]
        counts = counts.copy()
        for k in range(len(totals)):
            c = at[k]
            counts[c] += 1.0
            weight += 1.0
            for d in range(size):
                value = totals[k, d] / quality[k]
                means[c, d] += value
                overall[d] += value
        overall /= weight
        for c in range(len(sums)):
            means[c] = share * (means[c] + CENTRE_WEIGHT * overall) / (counts[c] + CENTRE_WEIGHT)
    own = np.empty((len(totals), size), np.float32)
    for k in range(len(totals)):
        squares = 0.0
        for d in range(size):
            value = totals[k, d] / quality[k] - means[at[k], d]
            own[k, d] = value
            squares += value * value
        own[k] /= np.float32(max(math.sqrt(squares), 1e-12))
    return own, means


class Centres(NamedTuple):
    """The means of cameras.  place: camera -> row of `means`, (C + 1, D), of which the last is zero."""

    place: dict[int, int]
    means: Float64

    def of(self, cameras: Sequence[int]) -> Float64:
        """(K, D) those of these cameras, zero where there is none."""
        return self.means[[self.place.get(camera, -1) for camera in cameras]]


@dataclass(slots=True)
class Looks:
    """What is known of one kind of T settled people and N tracks, for one decision.

    mean: (T + N, D) what each row's person has looked like, length 1.  asked: (N, D) each track and what
    continues it.  known: (N,) of which of these there is anything.
    vectors, weights: (P, D), (P,) prototypes.
    head: (T + N,) the latest of each row's person, -1 for none.  before: (P,) the one before each.  Where
    nothing is known a row is zero, and its ratios are 0.
    """

    mean: Float32
    asked: Float32
    known: NDArray[np.bool_]
    vectors: Float32
    weights: Float64
    head: NDArray[np.int64]
    before: NDArray[np.int64]
    similarity: Similarity
    kind: Kind

    def ratio(self, rows: NDArray[np.int64], columns: NDArray[np.int64], gap_s: Float64) -> Float64:
        """(K,) log-likelihood ratios: track `columns[k]` is the person of `rows[k]`, `gap_s[k]` later."""
        has = (self.head[rows] >= 0) & self.known[columns]
        alike = soft_cosines(self.vectors, self.weights, self.head, self.before, self.asked, rows, columns)
        ratio = np.where(has, self.kind.share * self.similarity.ratio(alike), 0.0)
        return faded(ratio, gap_s, self.kind.lasts_s)

    def rough(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
        """(K,) the same by the mean of the prototypes alone: enough to tell what is worth a look."""
        has = (self.head[rows] >= 0) & self.known[columns]
        cosine = cosines(self.mean, self.asked, rows, columns)
        return np.where(has, self.kind.share * self.similarity.ratio(cosine), 0.0)

    def table(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
        """(R, C) `rough` of all these rows with all these columns."""
        has = (self.head[rows] >= 0)[:, None] & self.known[columns]
        cosine = (self.mean[rows] @ self.asked[columns].T).astype(np.float64)
        return np.where(has, self.kind.share * self.similarity.ratio(cosine), 0.0)


class Resemblance:
    """The evidence of one kind of feature vectors."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._centres: dict[int, tuple[Float64, float]] = {}

    def looks(
        self, tracks: list[Track], tails: list[TrackedPerson], before: Mapping[int, int]
    ) -> Looks | None:
        """What all are known to look like; None where nothing of this kind is known of any track.

        The row of a track stands for what its identity has looked like up to it, its column for the track and
        those that continue it (`before`): whether somebody who appears was here already is better told by
        all that was seen of them since.
        """
        n, t = len(tracks), len(tails)
        kind = self.kind.name
        said = [(row, it) for row, track in enumerate(tracks) if (it := track.feature(kind)) is not None]
        if not said:
            return None
        seen = np.array([row for row, _ in said])
        totals, quality = np.array([it[0] for _, it in said]), np.array([it[1] for _, it in said])
        own, weight = np.zeros((n, totals.shape[1]), np.float32), np.zeros(n)
        people = len({track.identity for track in tracks} | {person.identity for person in tails})
        own[seen], centres = self._centred([tracks[row].camera for row, _ in said], totals, quality, people)
        weight[seen] = np.minimum(quality, MAX_TRACK_WEIGHT)
        owners, vectors, weights = self._prototypes(tails, centres)
        identities = {person.identity: row for row, person in enumerate(tails)}
        slots = [identities.setdefault(track.identity, len(identities)) for track in tracks]
        undecided = np.array([not track.identity for track in tracks])
        vectors, weights = np.concatenate([vectors, own]), np.concatenate([weights, weight])
        head, latest = chained(owners, np.array(slots, np.int64), undecided, weight, t, len(identities))
        known = weight > 0
        similarity = self._similarity(tracks, own, known)
        mean = normalised(gathered(vectors, weights, head, latest))
        asked = self._asked(tracks, own, weight, before)
        known |= asked.any(axis=1)
        return Looks(mean, asked, known, vectors, weights, head, latest, similarity, self.kind)

    @staticmethod
    def _asked(tracks: list[Track], own: Float32, weight: Float64, before: Mapping[int, int]) -> Float32:
        """(N, D) mean embedding, length 1, of each track and the tracks linked behind it.

        Each of these counts in proportion to how much more likely than not its link is right.
        """
        place = {track.track_id: column for column, track in enumerate(tracks)}
        total = own * weight[:, None]
        for column in range(len(tracks) - 1, -1, -1):
            parent = place.get(before.get(tracks[column].track_id, 0))
            if parent is not None:
                reason = tracks[column].reason
                trust = 0.0 if reason is None else max(2 * reason.sureness - 1, 0.0)
                total[parent] += trust * total[column]
        return normalised(total.astype(np.float32))

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

    def _centred(
        self, cameras: list[int], totals: Float64, quality: Float64, people: int
    ) -> tuple[Float32, Centres]:
        """What `centred` gives of tracks in these cameras."""
        place = {camera: number for number, camera in enumerate(self._centres)}
        at = np.array([place.setdefault(camera, len(place)) for camera in cameras])
        sums, counts = np.zeros((len(place), totals.shape[1])), np.zeros(len(place))
        for number, (total, count) in enumerate(self._centres.values()):
            sums[number], counts[number] = total, count
        own, means = centred(
            totals, quality, at, sums, counts, people / (people + FEW) if self.kind.centred else 0.0
        )
        return own, Centres(place, means)

    def _prototypes(
        self, tails: list[TrackedPerson], centres: Centres
    ) -> tuple[NDArray[np.int64], Float32, Float64]:
        """Of settled people: (P,) whose, (P, D) what each looks like, (P,) weights."""
        found = [
            (row, camera, weight, mean)
            for row, person in enumerate(tails)
            for camera, known in sorted(person.prototypes.get(self.kind.name, {}).items())
            for mean, weight in known
        ]
        if not found:
            return np.zeros(0, np.int64), np.zeros((0, centres.means.shape[1]), np.float32), np.zeros(0)
        rows, cameras, weights, means = zip(*found, strict=True)
        vectors = normalised(np.array(means).astype(np.float64) - centres.of(cameras))
        return np.array(rows, np.int64), vectors.astype(np.float32), np.array(weights)

    def _similarity(self, tracks: list[Track], own: Float32, known: NDArray[np.bool_]) -> Similarity:
        """With what the cosines of two people are like here: those seen at once by one camera."""
        similarity = Similarity(
            Spread(*self.kind.same, _PRIOR_WEIGHT), Spread(*self.kind.different, _PRIOR_WEIGHT), BOUND
        )
        cameras: dict[int, list[int]] = {}
        for i in np.flatnonzero(known).tolist():
            cameras.setdefault(tracks[i].camera, []).append(i)
        for rows in cameras.values():
            two = apart([tracks[i] for i in rows])
            if two.any():
                similarity.different.add((own[rows] @ own[rows].T)[two].astype(np.float64), 0.5)
        return similarity


def faded(ratio: Float64, gap_s: Float64, lasts_s: float) -> Float64:
    """(K,) log-likelihood ratios after gaps; appearance stays the same for `lasts_s` on average."""
    kept = np.exp(-np.maximum(gap_s, 0.0) / lasts_s)
    return np.asarray(np.log(kept * np.exp(ratio) + (1 - kept)), np.float64)


def apart(tracks: list[Track]) -> NDArray[np.bool_]:
    """(N, N) which of one camera's tracks it has seen at once, so that they are two people."""
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    meet = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    np.fill_diagonal(meet, False)
    return np.asarray(meet)
