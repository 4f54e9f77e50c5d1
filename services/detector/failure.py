"""A frame that could not be used, as a value: one bad frame is counted and passed over, never raised."""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages import FrameStamp


@dataclass(frozen=True, slots=True)
class FrameFailure:
    """Which frame failed and why, in words for a log line."""

    stamp: FrameStamp
    reason: str


def told(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
