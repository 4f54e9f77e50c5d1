"""Capture times of a live camera: UTC where the session began, then the monotonic clock."""

from __future__ import annotations

import logging

from services.ingest.clock import Clock

log = logging.getLogger(__name__)

STEP_NS = 500_000_000
"""A difference from the system clock up to this is worked off gradually; a larger one begins a new session.

Half of it would end tracks for what an NTP client corrects in daily use; twice as much leaves the times of
hosts apart for longer than `live_wait_ms` allows for."""

SLEW = 0.05
"""Share of the elapsed time by which a difference is worked off: 0.5 s are gone after 10 s."""

_READ_WITHIN_S = 0.01
_READ_TRIES = 5


class CaptureClock:
    """Gives each frame its capture time; used from one capturing thread at a time.

    Within a session times strictly increase and run as fast as the monotonic clock, give or take `SLEW`.
    When the system clock has been set (by an operator, by NTP, after the machine slept), capture time follows
    it at once and a new session begins.

    session: how many sessions were begun by a step of the clock, from 0.
    """

    def __init__(self, title: str, clock: Clock) -> None:
        self.session = 0
        self._title = title
        self._clock = clock
        self._ahead_ns: int | None = None  # capture time minus the monotonic clock
        self._read_s = 0.0
        self._last_ns = -1

    def now_ns(self) -> int:
        """The capture time of a frame that arrives now, UTC nanoseconds."""
        wall_ns, now_s = self._read()
        now_ns = round(now_s * 1e9)
        if self._ahead_ns is None:
            self._ahead_ns = wall_ns - now_ns
        difference_ns = wall_ns - now_ns - self._ahead_ns
        if abs(difference_ns) > STEP_NS:
            self._begin_session(difference_ns)
        else:
            most_ns = round(SLEW * (now_s - self._read_s) * 1e9)
            self._ahead_ns += max(-most_ns, min(most_ns, difference_ns))
        self._read_s = now_s
        self._last_ns = max(now_ns + self._ahead_ns, self._last_ns + 1)
        return self._last_ns

    def _begin_session(self, difference_ns: int) -> None:
        assert self._ahead_ns is not None
        self._ahead_ns += difference_ns
        self._last_ns = -1
        self.session += 1
        log.warning(
            "%s: the system clock was set %s by %.1f s; capture times follow it, and tracks begin anew",
            self._title,
            "back" if difference_ns < 0 else "forward",
            abs(difference_ns) / 1e9,
        )

    def _read(self) -> tuple[int, float]:
        """Both clocks at one moment: read again where the thread was held up between the two."""
        for _ in range(_READ_TRIES):
            before_s = self._clock.monotonic_s()
            wall_ns = self._clock.utc_ns()
            after_s = self._clock.monotonic_s()
            if after_s - before_s <= _READ_WITHIN_S:
                break
        return wall_ns, (before_s + after_s) / 2
