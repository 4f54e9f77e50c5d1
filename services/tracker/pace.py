"""How often links between tracks are re-evaluated, as a function of the number of tracks."""

from __future__ import annotations

REVISION_S = 1.0
"""Seconds between two evaluations of the links."""

CROWDED_TRACKS = 2000
SLOWEST = 3.0
"""Above `CROWDED_TRACKS` the interval grows in proportion to the number of tracks, up to `SLOWEST` times,
because an evaluation takes longer, too."""

BUSY_TRACKS = 200
"""Above this many tracks only candidate pairs are scored (`candidates.py`), and new tracks wait to be decided
together; with twice as many they wait for a whole interval."""


def pace_s(tracks: int) -> float:
    """Seconds between two evaluations for this many tracks."""
    return min(max(tracks / CROWDED_TRACKS, 1.0), SLOWEST) * REVISION_S


def wait_s(tracks: int) -> float:
    """Seconds for which new tracks wait to be decided together."""
    return min(max(tracks / BUSY_TRACKS - 1, 0.0), 1.0) * pace_s(tracks)
