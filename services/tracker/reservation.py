"""Numbers reserved on the disk before they are given out, so that none is given out again after a crash."""

from __future__ import annotations

from dataclasses import dataclass

TRACK_BLOCK = 1000
IDENTITY_BLOCK = 100
DECISION_BLOCK = 1_000_000
"""Numbers that a snapshot of a live tracker reserves beyond those given out.  A restored tracker begins
behind them, so that what was given out between the snapshot and a crash is never given to somebody else.
Half a block lasts several seconds in a crowd; the next snapshot is due by then.  Larger blocks leave larger
gaps in the numbers that people see after a crash."""


@dataclass(slots=True)
class Reservation:
    """The next track and identity at the last snapshot."""

    track: int = 1
    identity: int = 1

    def begin(self, track: int, identity: int) -> None:
        """A snapshot reserves a block from these numbers on."""
        self.track, self.identity = track, identity

    def is_low(self, track: int, identity: int) -> bool:
        """Whether half of a block has been given out, these being the next numbers."""
        return track - self.track > TRACK_BLOCK // 2 or identity - self.identity > IDENTITY_BLOCK // 2


def behind_blocks(track: int, identity: int, decision: int) -> list[int]:
    """The next numbers of a tracker that is restored after a crash."""
    return [track + TRACK_BLOCK, identity + IDENTITY_BLOCK, decision + DECISION_BLOCK]
