"""What was found about pairs of tracks, kept until they are looked at again.

Where there are many tracks only some are judged at a time, but all are decided together: from what is
found now of some, and was found before of the others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.chains import STRANGE, Cover, Pairs, Stays
from services.tracker.evidence import Chosen, Scores
from services.tracker.kalman import Float64

Int64 = NDArray[np.int64]


class Ends(NamedTuple):
    """Who is decided about: T settled people's last tracks, then N tracks.

    ids: (T + N,) of the tracks.  settled: T.  stays: of the N tracks.
    """

    ids: Int64
    settled: int
    stays: Stays


class Judgements:
    """The pairs of tracks that may be links, or may be one person seen at once, and how likely they are."""

    def __init__(self) -> None:
        self._earlier = np.empty(0, np.int64)
        self._later = np.empty(0, np.int64)
        self._ratio: Float64 = np.empty(0)
        self._at_once = np.empty(0, np.int64)
        self._judged_ns: dict[int, int] = {}
        self._ends = Ends(np.empty(0, np.int64), 0, Stays.of([]))
        self._pairs = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def __len__(self) -> int:
        return len(self._ratio)

    def judged_ns(self, track_id: int) -> int:
        """When a track was last compared with all that it may continue, 0 if never."""
        return self._judged_ns.get(track_id, 0)

    def begin(self, ends: Ends) -> None:
        """A decision about these begins; what is true no longer is forgotten."""
        self._ends = ends
        rows = _place(ends.ids, self._earlier)
        columns = _place(ends.ids[ends.settled :], self._later)
        found = (rows >= 0) & (columns >= 0) & (rows < ends.settled + columns)
        rows, columns = rows[found], columns[found]
        self._keep(found)
        # Who was taken to have left and is seen again, or the other way round, must be judged again.
        stays, row = ends.stays, np.maximum(rows - ends.settled, 0)
        met = (stays.camera[row] == stays.camera[columns]) & (stays.last_ns[row] >= stays.first_ns[columns])
        found = stays.at_once(Pairs(rows, columns, self._ratio), ends.settled) == (self._at_once != 0)
        found &= ~((rows >= ends.settled) & met)
        self._keep(found)
        self._pairs = Pairs(rows[found], columns[found], self._ratio)
        if len(self._judged_ns) > 2 * len(stays.camera) + 64:
            own = set(ends.ids[ends.settled :].tolist())
            self._judged_ns = {each: t_ns for each, t_ns in self._judged_ns.items() if each in own}

    def chosen(self, columns: Int64) -> Chosen:
        """What to look at in order to judge these columns."""
        own = self._ends.ids[self._ends.settled :]
        asked = np.zeros(len(own), bool)
        asked[columns] = True
        again = (self._ratio > STRANGE) & asked[self._pairs.columns]
        new = [column for column in columns.tolist() if int(own[column]) not in self._judged_ns]
        return Chosen(
            columns, np.array(new, np.int64), self._pairs.rows[again], self._pairs.columns[again]
        )

    def take(self, scores: Scores, columns: Int64, threshold: float, t_ns: int) -> Pairs:
        """Take in what was found now; of `columns` it is all there is.  Returns all that is known."""
        ends = self._ends
        own = ends.ids[ends.settled :]
        asked = np.zeros(len(own), bool)
        asked[columns] = True
        # Of the other columns only the links that they have were looked at again, one of each at most.
        again = np.full(len(own), -1)
        again[scores.columns] = scores.rows
        self._keep(~(asked[self._pairs.columns] | (again[self._pairs.columns] == self._pairs.rows)))
        found = Pairs(scores.rows, scores.columns, scores.total)
        at_once = ends.stays.at_once(found, ends.settled)
        matters = (found.ratio > threshold) | (at_once & (found.ratio >= STRANGE))
        rows, places = found.rows[matters], found.columns[matters]
        self._earlier = np.concatenate([self._earlier, ends.ids[rows]])
        self._later = np.concatenate([self._later, own[places]])
        self._ratio = np.concatenate([self._ratio, found.ratio[matters]])
        self._at_once = np.concatenate([self._at_once, at_once[matters].astype(np.int64)])
        self._pairs = Pairs(
            np.concatenate([self._pairs.rows, rows]), np.concatenate([self._pairs.columns, places]), self._ratio
        )
        for track_id in own[columns].tolist():
            self._judged_ns[track_id] = t_ns
        return self._pairs

    def part(self, cover: Cover, threshold: float) -> None:
        """Make no links of those that contradicted others, until they are judged again."""
        width = len(self._ends.ids)
        key = self._pairs.columns * width + self._pairs.rows
        cut = np.isin(key, cover.cut_columns * width + cover.cut_rows)
        self._ratio[cut] = np.minimum(self._ratio[cut], threshold)

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._earlier, self._later = self._earlier[which], self._later[which]
        self._ratio, self._at_once = self._ratio[which], self._at_once[which]
        if len(self._pairs.rows) == len(which):
            self._pairs = Pairs(self._pairs.rows[which], self._pairs.columns[which], self._ratio)

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [self._earlier, self._later, self._ratio, self._at_once, self._judged_ns]

    @classmethod
    def restored(cls, state: list[Any]) -> Judgements:
        """What `state` gave."""
        judgements = cls()
        earlier, later, ratio, at_once, judged_ns = state
        judgements._earlier, judgements._later = earlier, later
        judgements._ratio, judgements._at_once, judgements._judged_ns = ratio, at_once, judged_ns
        return judgements


def _place(ids: Int64, wanted: Int64) -> Int64:
    """Where in `ids` each of those wanted is, -1 for nowhere."""
    if not len(ids):
        return np.full(len(wanted), -1)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
    return np.where(ids[place] == wanted, place, -1)
