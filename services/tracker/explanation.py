"""Why each track was given its identity, written down with the track."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.tracker.chains import Pairs
from services.tracker.evidence import Scores
from services.tracker.person import TrackedPerson
from services.tracker.reason import Candidate, Reason
from services.tracker.track import Track


def explain(
    tracks: list[Track],
    tails: list[TrackedPerson],
    previous: list[int],
    scores: Scores,
    pairs: Pairs,
    *,
    threshold: float,
    columns: Iterable[int],
) -> None:
    """Leave with some of the tracks the reason of a decision.

    previous: row of each track's predecessor, -1 for none.  scores: what was found now.  pairs: what was
    decided from, found now or before.  threshold: what a link must exceed.  columns: the tracks.
    """
    t = len(tails)
    begins = np.searchsorted(scores.columns, np.arange(len(tracks) + 1))

    def candidate(row: int, ratio: float, terms: dict[str, float]) -> Candidate:
        end = tails[row].tail if row < t else tracks[row - t]
        assert end is not None
        return Candidate(tails[row].identity if row < t else end.identity, end.camera, end.track_id, ratio, terms)

    for column in columns:
        track, chosen = tracks[column], previous[column]
        rows = scores.rows[begins[column] : begins[column + 1]]
        total = scores.total[begins[column] : begins[column + 1]]
        continues = second = None
        if chosen >= 0:
            here = np.flatnonzero(rows == chosen)
            if len(here):
                pair = int(here[0])
                continues = candidate(chosen, float(total[pair]), scores.of(int(begins[column]) + pair))
            else:  # an operator's decision, or a link found before that was the second best then
                there = pairs.ratio[(pairs.columns == column) & (pairs.rows == chosen)]
                continues = candidate(chosen, float(there[0]) if len(there) else 0.0, {})
        others = np.where(rows == chosen, -np.inf, total)
        if len(others) and np.isfinite(others.max()):
            best = int(np.argmax(others))
            second = candidate(int(rows[best]), float(others[best]), scores.of(int(begins[column]) + best))
        track.reason = Reason(continues, second, threshold, bool(track.pinned))
