"""Many cameras on one clock: which frames are due at each tick of a recording.

A tick is ready once every camera has shown something later, or has ended; a silent camera is waited for
until `MOST_WAITING` frames of the others have gathered.  Times are capture times, so a recording's speed
is that of the cameras, however fast or slowly the frames were processed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from services.viewer.pairing import Shown

DEFAULT_FPS = 10.0
HIGHEST_FPS = 30.0

MOST_WAITING = 600

LONGEST_STILL_S = 2.0
"""Where no camera has anything new for longer, the recording goes on with the next frame."""

_FRAMES_TO_TELL_A_RATE = 8


class Timeline:
    """Orders the frames of several cameras into ticks of constant length."""

    def __init__(self, cameras: Iterable[int]) -> None:
        self._waiting: dict[int, deque[Shown]] = {camera: deque() for camera in cameras}
        self._newest_ns: dict[int, int] = {}
        self._ended: set[int] = set()
        self._next_ns = 0
        self._still_until_ns = 0
        self.fps = 0.0
        """Ticks a second, from the fastest camera's rate; 0 until it is known."""

    def add(self, shown: Shown) -> None:
        """Take in a camera's next frame; frames of unknown cameras are left out."""
        stamp = shown.frame.stamp
        if stamp.camera in self._waiting:
            self._waiting[stamp.camera].append(shown)
            self._newest_ns[stamp.camera] = shown.t_ns
            self._ended.discard(stamp.camera)

    def end(self, camera: int) -> None:
        """Take in that a camera has nothing more to send."""
        if camera in self._waiting:
            self._ended.add(camera)

    @property
    def waiting(self) -> int:
        """How many frames wait for their tick."""
        return sum(map(len, self._waiting.values()))

    def finished(self, camera: int) -> bool:
        """Whether a camera has ended and all its frames were due."""
        return camera in self._ended and not self._waiting[camera]

    def ticks(self, *, final: bool = False) -> Iterator[tuple[int, list[Shown]]]:
        """The ticks that are ready: time, and the frames due since the tick before, oldest first.

        final: no more frames will come, so that everything taken in is ready.
        """
        if not self.fps and not self._start(final):
            return
        step_ns = round(1e9 / self.fps)
        while self._next_ns <= self._ready_ns(final):
            t_ns = self._next_ns
            due = self._due(t_ns)
            if due:
                self._still_until_ns = t_ns + round(LONGEST_STILL_S * 1e9)
            elif t_ns > self._still_until_ns:
                coming_ns = self._first_ns()
                if coming_ns is None:
                    return
                self._next_ns += -(-(coming_ns - t_ns) // step_ns) * step_ns
                continue
            self._next_ns += step_ns
            yield t_ns, due

    def _start(self, final: bool) -> bool:
        enough = all(
            len(waiting) >= _FRAMES_TO_TELL_A_RATE or camera in self._ended
            for camera, waiting in self._waiting.items()
        )
        first_ns = self._first_ns()
        if first_ns is None:
            return False
        if not (enough or final or self.waiting > MOST_WAITING):
            return False
        self.fps = max((_rate(waiting) for waiting in self._waiting.values()), default=0.0) or DEFAULT_FPS
        self._next_ns = first_ns
        return True

    def _ready_ns(self, final: bool) -> int:
        """Ticks up to this moment are ready."""
        if final or self._ended >= set(self._waiting):
            return max(self._newest_ns.values()) + round(1e9 / self.fps) - 1
        first_ns = self._first_ns()
        if first_ns is not None and self.waiting > MOST_WAITING:
            return max(first_ns, self._next_ns)
        return min(self._newest_ns.get(camera, 0) for camera in self._waiting if camera not in self._ended)

    def _due(self, t_ns: int) -> list[Shown]:
        due = []
        for waiting in self._waiting.values():
            while waiting and waiting[0].t_ns <= t_ns:
                due.append(waiting.popleft())
        return due

    def _first_ns(self) -> int | None:
        firsts = [waiting[0].t_ns for waiting in self._waiting.values() if waiting]
        return min(firsts, default=None)


def _rate(waiting: Iterable[Shown]) -> float:
    """Frames a second by the median distance, a whole number; 0 where it cannot be told."""
    steps_ns = np.diff([shown.t_ns for shown in waiting])
    steps_ns = steps_ns[steps_ns > 0]
    if not len(steps_ns):
        return 0.0
    return float(min(max(round(1e9 / float(np.median(steps_ns))), 1), HIGHEST_FPS))
