"""Why each track was given its identity, written down with the track."""

from __future__ import annotations

import numpy as np

from services.tracker.evidence import Scores
from services.tracker.person import TrackedPerson
from services.tracker.reason import Candidate, Reason
from services.tracker.stays import Pairs
from services.tracker.track import Track


def explain(
    tracks: list[Track],
    tails: list[TrackedPerson],
    previous: list[int],
    scores: Scores,
    pairs: Pairs,
    *,
    threshold: float,
    columns: list[int],
) -> None:
    """Leave with some of the tracks the reason of a decision.

    previous: row of each track's predecessor, -1 for none.  scores: what was found now.  pairs: what was
    decided from, found now or before.  threshold: what a link must exceed.  columns: the tracks.
    """
    t, width = len(tails), len(tails) + len(tracks)
    link = np.array(previous, np.int64)[scores.columns] == scores.rows
    pair_of = dict(zip(scores.columns[link].tolist(), np.flatnonzero(link).tolist(), strict=True))
    others = np.where(link, -np.inf, scores.total)
    order = np.lexsort((scores.rows, -others, scores.columns))
    best, first = np.unique(scores.columns[order], return_index=True)
    second_of = dict(zip(best.tolist(), order[first].tolist(), strict=True))
    found_before = [c for c in columns if previous[c] >= 0 and c not in pair_of]
    told = np.isin(pairs.columns, found_before)
    keys = (pairs.columns[told] * width + pairs.rows[told]).tolist()
    known = dict(zip(keys, pairs.ratio[told].tolist(), strict=True))

    def candidate(row: int, ratio: float, terms: dict[str, float]) -> Candidate:
        end = tails[row].tail if row < t else tracks[row - t]
        assert end is not None
        return Candidate(
            tails[row].identity if row < t else end.identity, end.camera, end.track_id, ratio, terms
        )

    for column in columns:
        track, chosen = tracks[column], previous[column]
        continues = second = None
        if column in pair_of:
            pair = pair_of[column]
            continues = candidate(chosen, float(scores.total[pair]), scores.of(pair))
        elif chosen >= 0:  # an operator's decision, or what was found before
            continues = candidate(chosen, known.get(column * width + chosen, 0.0), {})
        pair = second_of.get(column, -1)
        if pair >= 0 and np.isfinite(others[pair]):
            second = candidate(int(scores.rows[pair]), float(others[pair]), scores.of(pair))
        track.reason = Reason(continues, second, threshold, bool(track.pinned))
