"""Clocks: now, and how far another host's clock is from ours."""

from __future__ import annotations

import time
from collections import deque

from shared.limits import MAX_CLOCK_OFFSET_NS

NEGLIGIBLE_NS = 5_000_000
"""Estimated offsets below this are noise of the estimate, not of the clocks."""


_DRIFT_NS = 20_000_000
"""How far two clocks may drift apart during 16 exchanges: NTP corrects at most 500 ppm, 8 ms in 16 s."""


def now_ns() -> int:
    """UTC, nanoseconds."""
    return time.time_ns()


def bounded_offset_ns(offset_ns: int) -> int:
    """A difference between two clocks, cut to what messages and the tracker's arithmetic can hold."""
    return max(-MAX_CLOCK_OFFSET_NS, min(offset_ns, MAX_CLOCK_OFFSET_NS))


class OffsetEstimator:
    """The other clock minus ours, from echoed timestamps.

    Cristian's algorithm: the other's reading is taken to be from half way between sending and hearing
    back; of the last 16 exchanges the one with the shortest way is believed (as in NTP's clock filter,
    RFC 5905 section 10).

    An exchange bounds the offset to half its round trip.  Where a new one cannot agree with an earlier one,
    one of the two clocks was set in between: then only what is newer counts.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=16)

    def add(self, sent_ns: int, other_ns: int, heard_ns: int) -> None:
        """Take in one exchange; an answer heard before it was asked for is dropped."""
        round_trip_ns = heard_ns - sent_ns
        if round_trip_ns < 0:
            return
        offset_ns = other_ns - sent_ns - round_trip_ns // 2
        if any(
            abs(offset_ns - earlier_ns) > (round_trip_ns + earlier_trip_ns) // 2 + _DRIFT_NS
            for earlier_trip_ns, earlier_ns in self._samples
        ):
            self._samples.clear()
        self._samples.append((round_trip_ns, offset_ns))

    def reset(self) -> None:
        """Forget all exchanges: our clock was set."""
        self._samples.clear()

    @property
    def offset_ns(self) -> int:
        """The other clock minus ours, nanoseconds; 0 while unknown or negligible.

        At most `MAX_CLOCK_OFFSET_NS` either way: what is further off is no clock that could be corrected.
        """
        if not self._samples:
            return 0
        round_trip_ns, offset_ns = min(self._samples)
        if abs(offset_ns) <= max(NEGLIGIBLE_NS, round_trip_ns):
            return 0
        return bounded_offset_ns(offset_ns)
