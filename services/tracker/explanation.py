"""Why each track was given its identity, written down with the track."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.tracker.evidence import Scores
from services.tracker.person import TrackedPerson
from services.tracker.reason import Candidate, Reason
from services.tracker.track import Track


def explain(
    tracks: list[Track],
    tails: list[TrackedPerson],
    previous: list[int],
    scores: Scores,
    *,
    threshold: float,
    columns: Iterable[int],
) -> None:
    """Leave with some of the tracks the reason of a decision.

    previous: row of each track's predecessor, -1 for none.  threshold: what a link must exceed.
    columns: the tracks that were decided.
    """
    t = len(tails)

    def candidate(row: int, column: int) -> Candidate:
        end = tails[row].tail if row < t else tracks[row - t]
        assert end is not None
        identity = tails[row].identity if row < t else end.identity
        ratio = float(scores.total[row, column])
        return Candidate(identity, end.camera, end.track_id, ratio, scores.of(row, column))

    for column in columns:
        track, others = tracks[column], scores.total[:, column].copy()
        chosen = previous[column]
        if chosen >= 0:
            others[chosen] = -np.inf
        best = int(np.argmax(others))
        second = candidate(best, column) if np.isfinite(others[best]) else None
        continues = candidate(chosen, column) if chosen >= 0 else None
        track.reason = Reason(continues, second, threshold, bool(track.pinned))
