"""Picture buffers that are used again and again: pages of fresh memory cost more than the copy into them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from services.detector.picture import Image

Allocate = Callable[[tuple[int, int, int]], Image]


class PicturePool:
    """Buffers of any sizes, at most `capacity` of them idle; the size used longest ago goes first.

    Thread-safe.  A buffer that is never given back is garbage collected.
    """

    def __init__(self, capacity: int, allocate: Allocate | None = None) -> None:
        """allocate: makes a buffer of a shape where none is idle; numpy's own memory by default."""
        self.hits = 0
        self.misses = 0
        self._capacity = capacity
        self._allocate: Allocate = allocate or (lambda shape: np.empty(shape, np.uint8))
        # By shape, the one used longest ago in front.
        self._idle: dict[tuple[int, ...], list[Image]] = {}
        self._lock = threading.Lock()

    def acquire(self, shape: tuple[int, int, int]) -> Image:
        """A buffer of that shape with arbitrary content."""
        with self._lock:
            idle = self._idle.get(shape)
            if idle:
                self.hits += 1
                return idle.pop()
            self.misses += 1
        return self._allocate(shape)

    def release(self, buffer: Image) -> None:
        """Give a buffer back; its content may change from now on."""
        with self._lock:
            self._idle.setdefault(buffer.shape, []).append(buffer)
            self._idle[buffer.shape] = self._idle.pop(buffer.shape)
            if sum(map(len, self._idle.values())) > self._capacity:
                oldest = next(shape for shape, idle in self._idle.items() if idle)
                self._idle[oldest].pop()
                if not self._idle[oldest]:
                    del self._idle[oldest]

    @property
    def hit_rate(self) -> float:
        """Share of the buffers handed out that were used before, 0-1."""
        with self._lock:
            return self.hits / max(1, self.hits + self.misses)
