"""Which frames go into the detector's next batch."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    live: bool
    since_ns: int


def _weightless(_: object) -> int:
    return 0


class Batcher(Generic[Item]):
    """Queues by camera, and fair batches out of them.

    A batch is ready when `size` items wait or the oldest has waited `wait_ns`.  Cameras take turns, one
    item each, beginning behind the camera that was served last, so that none can crowd out another.
    Items of one camera leave in the order they came.  A live camera has at most one item waiting: a
    newer one takes its place.

    dropped: how many items a newer one replaced, by camera.
    """

    def __init__(
        self,
        size: int,
        wait_ns: int,
        *,
        weight: Callable[[Item], int] = _weightless,
        heaviest: int = 0,
    ) -> None:
        """weight, heaviest: a batch of more than one item weighs at most so much."""
        if size < 1 or wait_ns < 0:
            raise ValueError(f"a batch of {size} items after {wait_ns} ns cannot be")
        self.dropped: Counter[int] = Counter()
        self._size = size
        self._wait_ns = wait_ns
        self._weight = weight
        self._heaviest = heaviest
        # In the order of turns: the front is served next.
        self._queues: dict[int, deque[_Waiting[Item]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._count

    def add(self, camera: int, item: Item, live: bool, now_ns: int) -> Item | None:
        """Let an item wait; returns the older item that it replaced, if it did.

        Items that are not live (recorded frames, the end of a stream) replace nothing and stay.
        """
        queue = self._queues.setdefault(camera, deque())
        if live and queue and queue[-1].live:
            # The newcomer inherits the older one's age: replacing must not put off the batch.
            older = queue.pop()
            queue.append(_Waiting(item, live, older.since_ns))
            self.dropped[camera] += 1
            return older.item
        queue.append(_Waiting(item, live, now_ns))
        self._count += 1
        return None

    def deadline_ns(self) -> int | None:
        """When the next batch is due at the latest; None while nothing waits."""
        if not self._queues:
            return None
        return min(queue[0].since_ns for queue in self._queues.values()) + self._wait_ns

    def next_batch(self, now_ns: int) -> list[Item] | None:
        """The next batch, 1 to `size` items, or None while it is worth waiting for more."""
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or (self._count < self._size and now_ns < deadline_ns):
            return None
        batch: list[Item] = []
        weight = 0
        while self._queues and len(batch) < self._size:
            camera = next(iter(self._queues))
            weight += self._weight(self._queues[camera][0].item)
            if batch and weight > self._heaviest:
                break  # that camera's turn comes first in the next batch
            queue = self._queues.pop(camera)
            batch.append(queue.popleft().item)
            if queue:
                self._queues[camera] = queue  # at the back: its next turn comes after the others'
        self._count -= len(batch)
        return batch
