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

    def __len__(self) -> int:
        return len(self._ratio)

    def judged_ns(self, track_id: int) -> int:
        """When a track was last compared with all that it may continue, 0 if never."""
        return self._judged_ns.get(track_id, 0)

    def chosen(self, ends: Ends, columns: Int64) -> Chosen:
        """What to look at in order to judge these columns."""
        rows, places = _places(ends, self._earlier, self._later)
        own = ends.ids[ends.settled :]
        again = (rows >= 0) & (self._ratio > STRANGE) & np.isin(places, columns)
        new = [column for column in columns.tolist() if int(own[column]) not in self._judged_ns]
        return Chosen(columns, np.array(new, np.int64), rows[again], places[again])

    def take(self, scores: Scores, ends: Ends, chosen: Int64, threshold: float, t_ns: int) -> None:
        """Take in what was found now; of the columns `chosen` it is all there is."""
        found = Pairs(scores.rows, scores.columns, scores.total)
        at_once = ends.stays.at_once(found, ends.settled)
        own = ends.ids[ends.settled :]
        judged = np.isin(self._later, own[chosen])
        # Of the other columns only the links that they have were looked at again.
        width = len(ends.ids)
        rows, columns = _places(ends, self._earlier, self._later)
        again = (rows >= 0) & (columns >= 0) & np.isin(columns * width + rows, found.columns * width + found.rows)
        old = ~(judged | again)
        matters = (found.ratio > threshold) | (at_once & (found.ratio >= STRANGE))
        self._earlier = np.concatenate([self._earlier[old], ends.ids[found.rows[matters]]])
        self._later = np.concatenate([self._later[old], own[found.columns[matters]]])
        self._ratio = np.concatenate([self._ratio[old], found.ratio[matters]])
        self._at_once = np.concatenate([self._at_once[old], at_once[matters].astype(np.int64)])
        for track_id in own[chosen].tolist():
            self._judged_ns[track_id] = t_ns

    def pairs(self, ends: Ends) -> Pairs:
        """All that is known of these tracks; what is true no longer is forgotten."""
        rows, columns = _places(ends, self._earlier, self._later)
        found = (rows >= 0) & (columns >= 0) & (rows < ends.settled + columns)
        rows, columns, stays = np.maximum(rows, 0), np.maximum(columns, 0), ends.stays
        pairs = Pairs(rows, columns, self._ratio)
        # Who was taken to have left and is seen again, or the other way round, must be judged again.
        found &= stays.at_once(pairs, ends.settled) == (self._at_once != 0)
        row = np.maximum(rows - ends.settled, 0)
        met = (stays.camera[row] == stays.camera[columns]) & (stays.last_ns[row] >= stays.first_ns[columns])
        found &= ~((rows >= ends.settled) & met)
        self._earlier, self._later = self._earlier[found], self._later[found]
        self._ratio, self._at_once = self._ratio[found], self._at_once[found]
        if len(self._judged_ns) > 2 * len(stays.camera) + 64:
            own = set(ends.ids[ends.settled :].tolist())
            self._judged_ns = {each: t_ns for each, t_ns in self._judged_ns.items() if each in own}
        return Pairs(rows[found], columns[found], self._ratio)

    def part(self, ends: Ends, cover: Cover, threshold: float) -> None:
        """Make no links of those that contradicted others, until they are judged again."""
        rows, columns = _places(ends, self._earlier, self._later)
        width = len(ends.ids)
        cut = np.isin(columns * width + rows, cover.cut_columns * width + cover.cut_rows)
        self._ratio[cut] = np.minimum(self._ratio[cut], threshold)

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


def _places(ends: Ends, earlier: Int64, later: Int64) -> tuple[Int64, Int64]:
    """The row of each earlier track and the column of each later one, -1 where it is not among the ends."""
    own = ends.ids[ends.settled :]
    return _place(ends.ids, earlier), _place(own, later)


def _place(ids: Int64, wanted: Int64) -> Int64:
    if not len(ids):
        return np.full(len(wanted), -1)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
    return np.where(ids[place] == wanted, place, -1)
