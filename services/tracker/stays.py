"""Where and when tracks were, as arrays: what one decision is about."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import Float64
from services.tracker.person import TrackedPerson
from services.tracker.track import Track
from services.tracker.ways import TOUCH_S

Int64 = NDArray[np.int64]

STRANGE = -3.0
"""Two stays at once in different views are not one person's where their own ratio is below this."""


class Pairs(NamedTuple):
    """K pairs of a row, that may precede, and a column, in any order.

    rows, columns: (K,) int64; rows are T settled people, then N tracks; columns are tracks.
    ratio: (K,) log-likelihood ratios.  A pair that is not among them cannot be a link.
    """

    rows: Int64
    columns: Int64
    ratio: Float64


class Stays(NamedTuple):
    """The last tracks of T settled people, then N tracks in the order of their beginning: (T + N,) each.

    settled: T.  ids: of the tracks.  pinned: whose an operator has said that each is, 0 for nobody's.
    """

    settled: int
    ids: Int64
    first_ns: Int64
    last_ns: Int64
    camera: Int64
    pinned: Int64

    @classmethod
    def of(cls, tracks: list[Track], tails: list[TrackedPerson]) -> Stays:
        """Of settled people and tracks."""
        ends = [person.tail for person in tails if person.tail is not None] + tracks
        values = (
            [each.track_id for each in ends],
            [each.first_ns for each in ends],
            [each.last_ns for each in ends],
            [each.camera for each in ends],
            [each.pinned for each in ends],
        )
        return cls(len(ends) - len(tracks), *(np.array(value, np.int64) for value in values))

    def at_once(self, rows: Int64, columns: Int64) -> NDArray[np.bool_]:
        """(K,) whether the row is a track that is still seen when the column begins, in another camera."""
        column = columns + self.settled
        seen = self.last_ns[rows] > self.first_ns[column] + int(TOUCH_S * 1e9)
        return np.asarray((rows >= self.settled) & seen & (self.camera[rows] != self.camera[column]))

    def company(self, rows: Int64, columns: Int64) -> Int64:
        """(K,) how many tracks, the row's own among them, the row's camera sees when the column begins."""
        found = np.empty(len(rows), np.int64)
        cameras, begin_ns = self.camera[rows], self.first_ns[self.settled + columns]
        for camera in np.unique(cameras).tolist():
            own, asked = self.camera == camera, cameras == camera
            begun = np.searchsorted(np.sort(self.first_ns[own]), begin_ns[asked], side="right")
            found[asked] = begun - np.searchsorted(np.sort(self.last_ns[own]), begin_ns[asked])
        return found

    def fitting(self, pairs: Pairs) -> Int64:
        """The tracks a, b seen at once by two cameras in places that fit, as a * N + b, increasing."""
        fits = self.at_once(pairs.rows, pairs.columns) & (pairs.ratio >= STRANGE)
        width = len(self.ids) - self.settled
        return np.sort((pairs.rows[fits] - self.settled) * width + pairs.columns[fits])

    def met(self, rows: Int64, columns: Int64) -> NDArray[np.bool_]:
        """(K,) whether the row is a track that the same camera still sees when the column begins."""
        column = columns + self.settled
        seen = self.last_ns[rows] >= self.first_ns[column]
        return np.asarray((rows >= self.settled) & seen & (self.camera[rows] == self.camera[column]))
