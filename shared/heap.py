"""What the C library does with memory that is free again.

Frames of some tens of kilobytes come and go thousands of times a second.  glibc hands what lies free at the
end of the heap back to the system each time, and the next frame's pages have to be mapped and cleared anew,
which costs more than copying the frame.
"""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of `mallopt`, as <malloc.h> has them."""

KEPT_BYTES = 64 << 20
STEP_BYTES = 1 << 20
LARGEST_BYTES = 1 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Keep up to `KEPT_BYTES` at the end of the heap for what comes next; False where that is not offered."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False  # another C library than glibc: it has its own ways
    settings = {_TRIM_THRESHOLD: KEPT_BYTES, _TOP_PAD: STEP_BYTES, _MMAP_THRESHOLD: LARGEST_BYTES}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
