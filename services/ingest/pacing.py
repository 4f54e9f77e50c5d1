"""When frames were taken, which are let through, and how long to wait before the next attempt."""

from __future__ import annotations

import math

_LONGEST_GAP_NS = 3600 * 10**9
"""A container's timestamp further ahead than this is taken for damage, not for a pause."""

_LARGEST_MS = 1e14
"""No timestamp lies further from zero than this; 3000 years."""

_EARLY = 0.4
"""How early a frame may be, in frame periods."""


class Timeline:
    """Positions of a recording's frames, nanoseconds from its first frame, strictly increasing.

    The container's timestamps count where they are sane; a frame whose timestamp is missing, repeats,
    goes back or leaps is one frame period behind the one before it.
    """

    def __init__(self, fps: float) -> None:
        self._period_ns = round(1e9 / fps)
        self._origin_ms = 0.0
        self._last_ns: int | None = None

    def advance(self, container_ms: float) -> int:
        """Position of the next frame, given the container's timestamp in milliseconds (NaN: none)."""
        known = abs(container_ms) < _LARGEST_MS  # written so that NaN fails it
        if self._last_ns is None:
            self._origin_ms = container_ms if known else 0.0
            self._last_ns = 0
            return 0
        position_ns = round((container_ms - self._origin_ms) * 1e6) if known else -1
        if not 0 < position_ns - self._last_ns <= _LONGEST_GAP_NS:
            position_ns = self._last_ns + self._period_ns
        self._last_ns = position_ns
        return position_ns


class RateLimit:
    """Lets through at most `per_s` frames a second on average.

    Frames of a camera at just that rate all pass, although none arrives exactly on time: one that is a
    little early passes and does not make the next one due any sooner.
    """

    def __init__(self, per_s: float) -> None:
        self._period_s = 1.0 / per_s
        self._due_s = -math.inf

    def admits(self, now_s: float) -> bool:
        """Whether a frame that came at `now_s` passes."""
        if now_s < self._due_s - _EARLY * self._period_s:
            return False
        behind = now_s > self._due_s + self._period_s
        self._due_s = (now_s if behind else self._due_s) + self._period_s
        return True


class Backoff:
    """Pauses that double from `first_s` up to `longest_s`."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def pause_s(self) -> float:
        """The next pause."""
        pause_s = self._next_s
        self._next_s = min(2.0 * pause_s, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._next_s = self._first_s
