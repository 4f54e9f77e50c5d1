"""How often it is decided who is who: the more tracks there are, the more rarely, for it takes as long."""

from __future__ import annotations

REVISION_S = 1.0
"""Decisions are looked over again after this long;"""

CROWDED_TRACKS = 2000
SLOWEST = 3.0
"""of more tracks than that so much more rarely, but not more than so many times."""

BUSY_TRACKS = 200
"""Where there are more tracks than this, not all pairs are looked at (`candidates.py`), and newcomers wait
for one another, of twice as many as long as a decision stands."""


def pace_s(tracks: int) -> float:
    """How long a decision about so many tracks stands."""
    return min(max(tracks / CROWDED_TRACKS, 1.0), SLOWEST) * REVISION_S


def wait_s(tracks: int) -> float:
    """How long newcomers wait for one another."""
    return min(max(tracks / BUSY_TRACKS - 1, 0.0), 1.0) * pace_s(tracks)
