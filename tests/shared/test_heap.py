from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from shared.heap import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()

def frames():
    return [b"x" * 60_000 for _ in range(64)]

frames()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    frames()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_frames_that_come_and_go_use_the_same_memory_again() -> None:
    assert page_faults("kept") < 2_000
    assert page_faults("as usual") > 20_000  # which is what there is to gain
