"""Who continues whom: the joint decision over all tracks.

Every track has at most one predecessor: a track that began before it, or a settled person.  A stay that has
ended is continued by one other at most; a stay that goes on may be joined by any number in overlapping
views.  So the decision is the assignment with the highest total log-likelihood ratio (a minimum-cost path
cover, Zhang et al. 2008) in which only successions compete.  The trees that result are people; where one
would be in two places at once, its weakest link is cut and the decision is made again for all who could
be affected.  Only pairs that may be links are ever looked at, so the work grows as the tracks do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.cover import climb, contradictions, graph, link, relink
from services.tracker.person import TrackedPerson
from services.tracker.stays import Pairs, Stays
from services.tracker.track import Track
from services.tracker.ways import TOUCH_S

DECIDED = 1e6
"""Ratio of a link that an operator has made."""

ROUNDS = 64
"""After so many cuts a tree's members that still contradict another are people of their own."""


class Cover(NamedTuple):
    """The decision: each of N tracks and its predecessor.

    previous: (N,) row of each track's predecessor, -1 for none.  cut_rows, cut_columns: (C,) the pairs that
    were links until they contradicted others.
    """

    previous: NDArray[np.int64]
    cut_rows: NDArray[np.int64]
    cut_columns: NDArray[np.int64]


def predecessors(
    tracks: list[Track], tails: list[TrackedPerson], stays: Stays, pairs: Pairs, threshold: float
) -> Cover:
    """The best predecessor for each track.

    tracks: N, in the order of their beginning.  tails: T settled people.  stays: theirs.  threshold: what a
    link must exceed.  Two stays at once in different views that are not among the pairs cannot be one
    person's.
    What an operator has decided (`Track.pinned`) is kept, whatever the ratios say.
    """
    t, n = len(tails), len(tracks)
    pairs = _decided(tracks, tails, pairs)
    at_once = stays.at_once(pairs.rows, pairs.columns)
    fitting = stays.fitting(pairs)
    good = np.flatnonzero(pairs.ratio > threshold)
    good = good[np.lexsort((pairs.rows[good], pairs.columns[good]))]
    rows, columns, ratio = pairs.rows[good], pairs.columns[good], pairs.ratio[good]
    joining = at_once[good]
    links = graph(rows, columns, ratio - threshold, joining, count=t + n, width=n)
    link(links)
    times = stays.first_ns[t:], stays.last_ns[t:], stays.camera[t:], stays.pinned[t:]
    everybody = np.arange(n)
    previous, root, open_ = np.full(n, -1), np.empty(n, np.int64), everybody
    for remaining in range(ROUNDS, -1, -1):
        before, above = previous, root
        chosen = np.where(links.columns.match >= 0, links.columns.match, links.host)
        linked = np.flatnonzero(chosen >= 0)
        previous, joined, value = np.full(n, -1), np.zeros(n, bool), np.zeros(n)
        previous[linked], joined[linked] = rows[chosen[linked]], joining[chosen[linked]]
        value[linked] = ratio[chosen[linked]]
        root = np.empty(n, np.int64)
        climb(everybody, t, previous, root)
        if remaining < ROUNDS:
            # Only trees that somebody has come into or gone out of are not known to be sound.
            changed = np.flatnonzero(before != previous)
            open_ = np.flatnonzero(np.isin(root, np.concatenate([root[changed], above[changed]])))
        strange = _strangers(tracks, tails, root, open_)
        broken = contradictions(
            open_, t, previous, value, joined, strange, *times, fitting, int(TOUCH_S * 1e9), root,
            remaining == 0,
        )  # fmt: skip
        if not len(broken):
            break
        relink(links, broken)
    return Cover(previous, rows[~links.alive], columns[~links.alive])


def together(a: Track, b: Track) -> bool:
    """Whether one camera has seen both at once."""
    return a.camera == b.camera and a.first_ns <= b.last_ns and b.first_ns <= a.last_ns


def _strangers(
    tracks: list[Track], tails: list[TrackedPerson], root: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(N,) which of these columns cannot be the settled person's at the root of their tree."""
    strange = np.zeros(len(tracks), bool)
    for column in columns[root[columns] < len(tails)].tolist():
        strange[column] = tails[root[column]].excludes(tracks[column])
    return strange


def _decided(tracks: list[Track], tails: list[TrackedPerson], pairs: Pairs) -> Pairs:
    """The pairs with an operator's decisions put into them."""
    if not any(track.pinned for track in tracks):
        return pairs
    t = len(tails)
    identity = np.array([person.identity for person in tails] + [0] * len(tracks), np.int64)
    pinned = np.array([track.pinned for track in tracks], np.int64)
    last = {person.identity: row for row, person in enumerate(tails)}
    made: list[tuple[int, int]] = []
    for column, track in enumerate(tracks):
        if track.pinned:
            if track.pinned in last:
                made.append((last[track.pinned], column))
            last[track.pinned] = t + column
    own = pinned[pairs.columns]
    keep = (own == 0) | (pairs.rows >= t) | (identity[pairs.rows] == own)
    keep &= ~np.isin(pairs.columns, [column for _, column in made])
    added = np.array(made, np.int64).reshape(-1, 2)
    return Pairs(
        np.concatenate([pairs.rows[keep], added[:, 0]]),
        np.concatenate([pairs.columns[keep], added[:, 1]]),
        np.concatenate([pairs.ratio[keep], np.full(len(added), DECIDED)]),
    )
