"""Memory pooling: pictures are decoded into arrays that are used again and again."""

from __future__ import annotations

import threading
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""A picture, (height, width, 3) uint8, BGR."""


class FramePool:
    """Reusable picture buffers of one size at a time.

    A buffer that is never given back is simply garbage collected, and one of another size than the
    source has now is let go, so the pool holds `capacity` pictures at most.  Thread-safe.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free: list[Image] = []
        self._shape: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0

    def acquire(self, shape: tuple[int, int, int]) -> Image:
        """A buffer of that shape with arbitrary content; the most recently used one, if there is one."""
        with self._lock:
            if shape != self._shape:
                self._free.clear()
                self._shape = shape
            if self._free:
                self._hits += 1
                return self._free.pop()
            self._misses += 1
        return np.empty(shape, np.uint8)

    def release(self, image: Image) -> None:
        """Give a buffer back; its content may change from now on."""
        with self._lock:
            if image.shape == self._shape and len(self._free) < self._capacity:
                self._free.append(image)

    @property
    def hit_rate(self) -> float:
        """Share of the buffers handed out that were used before, 0-1."""
        with self._lock:
            return self._hits / max(1, self._hits + self._misses)
