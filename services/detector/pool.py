"""Picture buffers that are used again and again: pages of fresh memory cost more than the copy into them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from services.detector.picture import Image

Allocate = Callable[[tuple[int, int, int]], Image]


class PicturePool:
    """Buffers of any sizes; the size used longest ago goes first when too many, or too large ones, are idle.

    Thread-safe.  A buffer that is never given back is garbage collected.
    """

    def __init__(self, capacity: int, capacity_bytes: int, allocate: Allocate | None = None) -> None:
        """capacity, capacity_bytes: idle buffers kept at most, and their bytes together.

        allocate: makes a buffer of a shape where none is idle; numpy's own memory by default.
        """
        self.hits = 0
        self.misses = 0
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._allocate: Allocate = allocate or (lambda shape: np.empty(shape, np.uint8))
        # By shape, the one used longest ago in front.
        self._idle: dict[tuple[int, ...], list[Image]] = {}
        self._idle_count = 0
        self._idle_bytes = 0
        self._lock = threading.Lock()

    def acquire(self, shape: tuple[int, int, int]) -> Image:
        """A buffer of that shape with arbitrary content; raises MemoryError where there is no room for it."""
        with self._lock:
            if self._idle.get(shape):
                self.hits += 1
                return self._take(shape)
            self.misses += 1
        return self._allocate(shape)

    def release(self, buffer: Image) -> None:
        """Give a buffer back; its content may change from now on."""
        with self._lock:
            idle = self._idle.pop(buffer.shape, [])
            idle.append(buffer)
            self._idle[buffer.shape] = idle  # at the back: used last
            self._idle_count += 1
            self._idle_bytes += buffer.nbytes
            while self._idle_count > self._capacity or self._idle_bytes > self._capacity_bytes:
                self._take(next(iter(self._idle)))

    def _take(self, shape: tuple[int, ...]) -> Image:
        idle = self._idle[shape]
        buffer = idle.pop()
        if not idle:
            del self._idle[shape]
        self._idle_count -= 1
        self._idle_bytes -= buffer.nbytes
        return buffer

    @property
    def idle_bytes(self) -> int:
        """Bytes of the buffers that wait to be used again."""
        with self._lock:
            return self._idle_bytes

    @property
    def hit_rate(self) -> float:
        """Share of the buffers handed out that were used before, 0-1."""
        with self._lock:
            return self.hits / max(1, self.hits + self.misses)
