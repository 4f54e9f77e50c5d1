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


COLLECTIONS = """
import gc, sys
from shared.heap import collect_rarely
if sys.argv[1] == "rarely":
    collect_rarely()
print(gc.isenabled())
begun = []
gc.callbacks.append(lambda phase, _: begun.append(phase) if phase == "start" else None)
many = [(number, []) for number in range(100_000)]
print(len(begun))
"""


def collections(how: str) -> int:
    command = [sys.executable, "-c", COLLECTIONS, how]
    enabled, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert enabled == "True"
    return int(count)


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_frames_that_come_and_go_use_the_same_memory_again() -> None:
    assert page_faults("kept") < 2_000
    assert page_faults("as usual") > 20_000  # which is what there is to gain


def test_many_objects_are_seldom_looked_through_for_dead_ones_but_now_and_then_they_are() -> None:
    assert 0 < collections("rarely") < 20
    assert collections("as usual") > 100
