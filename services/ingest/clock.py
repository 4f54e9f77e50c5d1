"""Time as capture needs it, so that tests can bring their own."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Where capture reads the time and waits."""

    def utc_ns(self) -> int:
        """UTC nanoseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps back."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event`, at most `timeout_s`; whether it is set."""
        ...


class SystemClock:
    """The machine's own clock."""

    def utc_ns(self) -> int:
        """UTC nanoseconds since 1970."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps back."""
        return time.monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event`, at most `timeout_s`; whether it is set."""
        return event.wait(timeout_s)
