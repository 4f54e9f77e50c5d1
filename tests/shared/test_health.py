"""Readings of a process are real, finite and cheap, and reports come on time."""

from __future__ import annotations

import math
import mmap
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from shared.codec import decode, encode
from shared.health import Health, described, gpu_readings
from shared.messages import Report


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_report_is_due_at_once_and_then_every_so_often() -> None:
    clock = Clock()
    health = Health("store", every_s=10, clock_s=clock)
    assert health.due_in_s() == 0
    health.report("running")
    assert health.due_in_s() == 10
    clock.now_s += 7
    assert health.due_in_s() == 3
    clock.now_s += 20
    assert health.due_in_s() == 0


def test_a_report_names_the_process_and_survives_the_wire() -> None:
    report = Health("ingest", 3).report("running", {"frames": 7}, t_ns=5)
    assert (report.service, report.instance, report.pid, report.t_ns) == ("ingest", 3, os.getpid(), 5)
    assert report.readings["frames"] == 7
    again = decode([bytes(each) for each in encode(report)])
    assert isinstance(again, Report)
    assert again == report


def test_readings_are_of_this_process() -> None:
    readings = Health("store").readings()
    assert all(math.isfinite(value) for value in readings.values())
    assert readings["threads"] >= 1
    assert readings["open_files"] >= 3
    assert readings["cpu_seconds"] > 0


def test_memory_that_is_used_shows() -> None:
    health = Health("store")
    before = health.readings()["rss_bytes"]
    # Straight from the system: a large array may be given memory that the process has already.
    with mmap.mmap(-1, 64 << 20) as block:
        block.write(b"x" * len(block))
        assert health.readings()["rss_bytes"] - before > 0.8 * len(block)


def test_a_process_without_torch_has_no_gpu_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert gpu_readings() == {}
    assert "torch" not in sys.modules


def test_gpu_readings_come_from_a_torch_that_uses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def utilization() -> int:
        raise ModuleNotFoundError("pynvml")

    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined] # a stand-in for a machine without a GPU
        is_available=lambda: True,
        is_initialized=lambda: True,
        mem_get_info=lambda: (30, 100),
        memory_reserved=lambda: 50,
        utilization=utilization,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert gpu_readings() == {"gpu_memory_bytes": 50.0, "gpu_memory_used_bytes": 70.0}


def test_readings_read_as_one_line() -> None:
    line = described({"cpu_percent": 12.4, "rss_bytes": 3 * 2**20, "open_files": 7})
    assert line == "cpu 12 %, rss 3 MiB, open files 7"
