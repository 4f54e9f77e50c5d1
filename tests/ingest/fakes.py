"""Stand-ins for time and cameras: tests say when time passes and what a camera does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from services.ingest.pool import FramePool, Image
from services.ingest.source import Recording, Source
from shared.errors import SourceError

PATIENCE_S = 20.0
"""How long a test waits for another thread before it fails."""


class FakeClock:
    """Stands still until a test advances it; `wait` returns once its event is set or its time has come."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._changed = threading.Condition()
        self._sleepers: list[float] = []
        self.utc_offset_ns = 1_700_000_000 * 10**9

    def utc_ns(self) -> int:
        return self.utc_offset_ns + round(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        with self._changed:
            return self._now_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        with self._changed:
            due_s = self._now_s + timeout_s
            self._sleepers.append(due_s)
            self._changed.notify_all()
            # An event cannot notify this condition, so it is looked at every few milliseconds.
            while not event.is_set() and self._now_s < due_s - 1e-6:
                self._changed.wait(0.002)
            self._sleepers.remove(due_s)
            return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass, waking whose time has come."""
        with self._changed:
            self._now_s += seconds
            self._changed.notify_all()

    def sleeper(self, shortest_s: float, longest_s: float) -> float:
        """Wait until somebody waits for a time in this range; how long that is from now."""

        def found() -> list[float]:
            # The rounding takes away what adding and subtracting the same number left.
            left = [round(due_s - self._now_s, 6) for due_s in self._sleepers]
            return [each for each in left if shortest_s <= each <= longest_s]

        with self._changed:
            assert self._changed.wait_for(found, PATIENCE_S), f"nobody waits {shortest_s} to {longest_s} s"
            return found()[0]


def picture(value: int, size: tuple[int, int] = (8, 6)) -> Image:
    """A picture of one grey, `size` = (width, height)."""
    return np.full((size[1], size[0], 3), value, np.uint8)


Step: TypeAlias = Image | Callable[[], object] | None


class ScriptedSource(Source):
    """A camera that does what the script says, step by step, and then breaks off.

    A step is a picture to be sent, None for a frame that cannot be decoded, or something to be called
    while the frame is being waited for.
    """

    def __init__(self, script: Sequence[Step] = (), *, refuses: str = "") -> None:
        self._script = list(script)
        self._refuses = refuses
        self._current: Image | None = None
        self.closed = threading.Event()

    def open(self) -> None:
        if self._refuses:
            raise SourceError(self._refuses)

    def grab(self) -> bool:
        while self._script:
            step = self._script.pop(0)
            if not callable(step):
                self._current = step
                return True
            step()
        return False

    def retrieve(self, pool: FramePool) -> Image | None:
        if self._current is None:
            return None
        height, width = self._current.shape[:2]
        image = pool.acquire((height, width, 3))
        image[:] = self._current
        return image

    def close(self) -> None:
        self.closed.set()


class ScriptedRecording(Recording):
    """A recording of given pictures; None is one that cannot be decoded.  Counts what is decoded."""

    def __init__(self, pictures: Sequence[Image | None], fps: float = 10.0, missing: int = 0) -> None:
        self.fps = fps
        self.decoded = 0
        self.closed = False
        self._pictures = pictures
        self._index = -1
        self._missing = missing

    def open(self) -> None:
        self._index = -1

    def grab(self) -> bool:
        self._index += 1
        return self._index < len(self._pictures)

    def retrieve(self, pool: FramePool) -> Image | None:
        self.decoded += 1
        source = self._pictures[self._index]
        if source is None:
            return None
        height, width = source.shape[:2]
        image = pool.acquire((height, width, 3))
        image[:] = source
        return image

    def close(self) -> None:
        self.closed = True

    @property
    def position_ns(self) -> int:
        return round(self._index * 1e9 / self.fps)

    @property
    def missing(self) -> int:
        return self._missing
