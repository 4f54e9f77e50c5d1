"""IDF1 over any number of cameras, counted while frames come, so that nothing but counts is kept.

The definition of Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking" (2016), as TrackEval computes it: one-to-one between people and identities over everything,
with the most frames in which the boxes overlap by half.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.simulation import Truth
from shared.messages import Tracks

SAME_BOX_IOU = 0.5


class IdentityScore:
    """Compares what a tracker said with the truth, online and settled.

    `add` takes frames; `assign` what later frames say of the tracks in them, when they come.
    """

    def __init__(self) -> None:
        self._truths = 0
        self._shown: Counter[int] = Counter()
        self._tracks: Counter[int] = Counter()
        self._shown_pairs: Counter[tuple[int, int]] = Counter()
        self._track_pairs: Counter[tuple[int, int]] = Counter()
        self._identity: dict[int, int] = {}

    def add(self, tracks: Tracks, truth: Truth) -> None:
        """One frame: the people who were observed, and those who were there."""
        self._truths += len(truth.people)
        observed = np.flatnonzero(tracks.observed)
        identities, ids = tracks.identity_ids[observed].tolist(), tracks.track_ids[observed].tolist()
        self._shown.update(identity for identity in identities if identity)
        self._tracks.update(ids)
        self._identity.update(zip(ids, identities, strict=True))
        rows, columns = np.nonzero(overlaps(tracks.boxes[observed], truth.boxes) >= SAME_BOX_IOU)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            person = int(truth.people[column])
            self._track_pairs[person, ids[row]] += 1
            if identities[row]:
                self._shown_pairs[person, identities[row]] += 1

    def assign(self, tracks: Tracks) -> None:
        """What a frame says of tracks seen before."""
        for track, identity in tracks.assignments.tolist():
            if track in self._identity:
                self._identity[track] = identity

    @property
    def online(self) -> float:
        """IDF1 of the identities as they were shown."""
        return self._idf1(self._shown_pairs, self._shown.total())

    @property
    def settled(self) -> float:
        """IDF1 of the identities that the tracks have now."""
        pairs: Counter[tuple[int, int]] = Counter()
        for (person, track), count in self._track_pairs.items():
            if self._identity[track]:
                pairs[person, self._identity[track]] += count
        shown = sum(count for track, count in self._tracks.items() if self._identity[track])
        return self._idf1(pairs, shown)

    def _idf1(self, pairs: Counter[tuple[int, int]], shown: int) -> float:
        return 2 * _matched(pairs) / max(self._truths + shown, 1)


def _matched(pairs: Counter[tuple[int, int]]) -> int:
    """The most frames that a one-to-one matching of people and identities explains."""
    if not pairs:
        return 0
    people = {person: n for n, person in enumerate(sorted({person for person, _ in pairs}))}
    others = {other: n for n, other in enumerate(sorted({other for _, other in pairs}))}
    rows = np.array([people[person] for person, _ in pairs])
    columns = np.array([others[other] for _, other in pairs])
    counts = np.array(list(pairs.values()))
    # Whoever never met cannot be matched: each connected part is a small problem of its own.
    size = len(people) + len(others)
    _, label = connected_components(coo_array((counts, (rows, columns + len(people))), (size, size)), False)
    total = 0
    order = np.argsort(label[rows], kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(label[rows][order])) + 1):
        own, its = np.unique(rows[part], return_inverse=True), np.unique(columns[part], return_inverse=True)
        gain = np.zeros((len(own[0]), len(its[0])), np.int64)
        gain[own[1], its[1]] = counts[part]
        total += int(gain[linear_sum_assignment(gain, maximize=True)].sum())
    return total


def overlaps(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.maximum(sides, 0).prod(axis=2)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (a, b)]
    return np.asarray(common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-9), np.float64)
