"""What the C library does with memory that is free again, and how often Python looks for some.

Frames of some tens of kilobytes come and go thousands of times a second.  glibc hands what lies free at the
end of the heap back to the system each time, and the next frame's pages have to be mapped and cleared anew,
which costs more than copying the frame.

Python looks through its objects for circles that nothing refers to, whenever some hundreds are new.  A
program that holds hundreds of thousands, and makes no circles, pays for that and gets nothing.
"""

from __future__ import annotations

import ctypes
import functools
import gc

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of `mallopt`, as <malloc.h> has them."""

KEPT_BYTES = 64 << 20
STEP_BYTES = 1 << 20
LARGEST_BYTES = 1 << 20

COLLECT_AFTER = 20_000, 20, 20
"""New objects, and collections of each younger generation, after which Python looks; else 700, 10, 10."""


@functools.cache
def keep_freed_memory() -> bool:
    """Keep up to `KEPT_BYTES` at the end of the heap for what comes next; False where that is not offered."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False  # another C library than glibc: it has its own ways
    settings = {_TRIM_THRESHOLD: KEPT_BYTES, _TOP_PAD: STEP_BYTES, _MMAP_THRESHOLD: LARGEST_BYTES}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def collect_rarely() -> None:
    """Look for circles of dead objects seldom; what is in none is freed at once all the same."""
    gc.set_threshold(*COLLECT_AFTER)
