"""Frames of many cameras in the order of their time.

Recorded cameras wait for one another exactly: a frame is due when no camera can still bring an earlier
one, so results do not depend on how fast each was read.  Live cameras wait for one another for a bounded
time, so a silent one never holds up the others.  The two kinds do not wait for each other: their times
have nothing to do with one another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

CLOCK_SET_NS = 250_000_000
"""What a live camera's time goes back by at most while no clock was set: estimated offsets of clocks vary."""


@dataclass(slots=True)
class _Queue(Generic[T]):
    waiting: deque[tuple[int, int, T]] = field(default_factory=deque)  # t_ns, arrived_ns, item
    reached_ns: int = -1  # nothing before this time will come any more, but perhaps more of this time
    left: bool = False

    def settled(self, t_ns: int) -> bool:
        """Whether nothing of before this time is to be waited for."""
        return self.left or bool(self.waiting) or self.reached_ns >= t_ns


class Watermark(Generic[T]):
    """Holds items back until their turn.

    recorded: cameras that will bring frames and then end; until one has ended, the others wait for it.
    live_wait_ns: the longest an item of a live camera waits for the other live ones.
    """

    def __init__(self, recorded: Iterable[int], live_wait_ns: int) -> None:
        self._recorded: dict[int, _Queue[T]] = {camera: _Queue() for camera in recorded}
        self._live: dict[int, _Queue[T]] = {}
        self._live_wait_ns = live_wait_ns

    def add(self, camera: int, t_ns: int, item: T, *, live: bool, now_ns: int) -> None:
        """Take in the next item of a camera; a time before its camera's last one counts as that one.

        A camera that had left is waited for again.  Where a live camera's time goes back by more than
        `CLOCK_SET_NS` a clock was set, and its order goes on from there.
        """
        queue = (self._live if live else self._recorded).setdefault(camera, _Queue())
        queue.left = False
        if live and t_ns < queue.reached_ns - CLOCK_SET_NS:
            queue.reached_ns = t_ns
        queue.reached_ns = max(queue.reached_ns, t_ns)
        queue.waiting.append((queue.reached_ns, now_ns, item))

    def leave(self, camera: int) -> None:
        """Wait for this camera no longer; what it has brought is still handed out."""
        for group in (self._recorded, self._live):
            queue = group.get(camera)
            if queue is not None:
                queue.left = True

    def resume(self, camera: int, is_end: Callable[[T], bool]) -> None:
        """Wait for a recorded camera again, and drop its end if that waits: more of its session will come."""
        queue = self._recorded.setdefault(camera, _Queue())
        queue.left = False
        if queue.waiting and is_end(queue.waiting[-1][2]):
            queue.waiting.pop()

    def rejoin(self, camera: int, *, live: bool) -> None:
        """Wait for this camera again: a new session of it has begun.

        What the old one brought and still waits is dropped: nobody answers for the old session any more.
        """
        self._recorded.pop(camera, None)
        self._live.pop(camera, None)
        (self._live if live else self._recorded)[camera] = _Queue()

    def ready(self, now_ns: int) -> Iterator[T]:
        """Items whose turn has come, by time and then by camera."""
        yield from self._ready(self._recorded, None)
        yield from self._ready(self._live, now_ns - self._live_wait_ns)

    def _ready(self, group: dict[int, _Queue[T]], patience_ends_ns: int | None) -> Iterator[T]:
        while True:
            heads = [(queue.waiting[0][0], camera) for camera, queue in group.items() if queue.waiting]
            if not heads:
                return
            t_ns, camera = min(heads)
            # At the same time a smaller camera goes first, and so does all it has of this time.
            exact = all(queue.settled(t_ns + (other < camera)) for other, queue in group.items())
            # Whose patience has ended may not be the earliest: then those before it go before it.
            overdue = patience_ends_ns is not None and any(
                queue.waiting and queue.waiting[0][1] <= patience_ends_ns for queue in group.values()
            )
            if not exact and not overdue:
                return
            yield group[camera].waiting.popleft()[2]

    def wait_ns(self, now_ns: int) -> int | None:
        """Nanoseconds until a live item's patience ends; None while none waits."""
        arrivals = [queue.waiting[0][1] for queue in self._live.values() if queue.waiting]
        return max(0, min(arrivals) + self._live_wait_ns - now_ns) if arrivals else None
