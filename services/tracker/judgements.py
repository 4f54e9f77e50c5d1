"""What was found about pairs of tracks, kept until they are looked at again.

Where there are many tracks only some are judged at a time, but all are decided together: from what is
found now of some, and was found before of the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.chains import Cover
from services.tracker.evidence import Scores
from services.tracker.kalman import Float64
from services.tracker.stays import STRANGE, Pairs, Stays

Int64 = NDArray[np.int64]


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

    def known(self, stays: Stays) -> Pairs:
        """What was found of these before; what is true no longer is forgotten."""
        rows, columns = _place(stays.ids, self._earlier), _place(stays.ids, self._later) - stays.settled
        found = (rows >= 0) & (columns >= 0) & (rows < stays.settled + columns)
        rows, columns = np.where(found, rows, 0), np.where(found, columns, 0)
        if len(found) and found.any():
            # Who was taken to have left and is seen again, or the other way round, must be judged again.
            found &= stays.at_once(rows, columns) == (self._at_once != 0)
            found &= ~stays.met(rows, columns)
        self._keep(found)
        if len(self._judged_ns) > 2 * len(stays.ids) + 64:
            ids = set(stays.ids.tolist())
            self._judged_ns = {each: t_ns for each, t_ns in self._judged_ns.items() if each in ids}
        return Pairs(rows[found], columns[found], self._ratio)

    def take(
        self, stays: Stays, known: Pairs, scores: Scores, judged: Int64, *, threshold: float, t_ns: int
    ) -> Pairs:
        """Take in what was found now; of the columns `judged` it is all there is.  Returns all that is known.

        known: what `known` gave.
        """
        n = len(stays.ids) - stays.settled
        asked = np.zeros(n, bool)
        asked[judged] = True
        # Of the other columns only the links that they have were looked at again, one of each at most.
        again = np.full(n, -1)
        again[scores.columns] = scores.rows
        old = ~(asked[known.columns] | (again[known.columns] == known.rows))
        self._keep(old)
        at_once = stays.at_once(scores.rows, scores.columns)
        matters = (scores.total > threshold) | (at_once & (scores.total >= STRANGE))
        rows, columns = scores.rows[matters], scores.columns[matters]
        self._earlier = np.concatenate([self._earlier, stays.ids[rows]])
        self._later = np.concatenate([self._later, stays.ids[columns + stays.settled]])
        self._ratio = np.concatenate([self._ratio, scores.total[matters]])
        self._at_once = np.concatenate([self._at_once, at_once[matters].astype(np.int64)])
        for track_id in stays.ids[judged + stays.settled].tolist():
            self._judged_ns[track_id] = t_ns
        return Pairs(
            np.concatenate([known.rows[old], rows]),
            np.concatenate([known.columns[old], columns]),
            self._ratio,
        )

    def part(self, pairs: Pairs, cover: Cover, threshold: float) -> None:
        """Make no links of those that contradicted others, until they are judged again.

        pairs: what `take` gave.
        """
        width = int(pairs.rows.max(initial=0)) + 1
        cut = np.isin(pairs.columns * width + pairs.rows, cover.cut_columns * width + cover.cut_rows)
        self._ratio[cut] = np.minimum(self._ratio[cut], threshold)

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._earlier, self._later = self._earlier[which], self._later[which]
        self._ratio, self._at_once = self._ratio[which], self._at_once[which]

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
