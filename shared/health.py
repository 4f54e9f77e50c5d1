"""How this process is doing: processor, memory, threads, and the GPU where it uses one."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from shared.messages import Report
from shared.progress_signal import ProgressSignal


class Health:
    """Readings of this process, and when the next report of them is due.

    service, instance: as in `messages.Report`.  every_s: seconds between reports.  clock_s: a monotonic
    clock in seconds.

    The first report is due at once, so that a service is known from its start.
    """

    def __init__(
        self,
        service: str,
        instance: int = 0,
        *,
        every_s: float = 10.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._instance = instance
        self._every_s = every_s
        self._clock_s = clock_s
        self._next_s = clock_s()
        self._progress = ProgressSignal()
        self._process = psutil.Process()
        self._host = socket.gethostname()
        self._process.cpu_percent()  # the first call only starts the measurement

    def due_in_s(self) -> float:
        """Seconds until the next report, 0 where it is due."""
        return max(0.0, self._next_s - self._clock_s())

    def report(
        self, state: str, counters: Mapping[str, float] | None = None, *, t_ns: int | None = None
    ) -> Report:
        """The report, with the service's own counters beside the readings; the next is due `every_s` later.

        t_ns: UTC nanoseconds, by default now.
        """
        self._next_s = self._clock_s() + self._every_s
        return Report(
            service=self._service,
            instance=self._instance,
            host=self._host,
            pid=os.getpid(),
            t_ns=time.time_ns() if t_ns is None else t_ns,
            state=state,
            readings={**self.readings(), **(counters or {})},
        )

    def made_progress(self) -> None:
        """Tell the supervisor, where there is one, that work is done which will not have to be done again."""
        self._progress.give()

    def readings(self) -> dict[str, float]:
        """cpu_percent since the last call (100 is one core), rss_bytes, threads, open_files, gpu_*."""
        with self._process.oneshot():
            readings = {
                "cpu_percent": self._process.cpu_percent(),
                "cpu_seconds": sum(self._process.cpu_times()[:2]),
                "rss_bytes": float(self._process.memory_info().rss),
                "threads": float(self._process.num_threads()),
            }
        # The number of descriptors, sockets among them; listing the files themselves is slow.
        readings["open_files"] = float(self._process.num_fds())
        return readings | gpu_readings()


def gpu_readings() -> dict[str, float]:
    """gpu_memory_bytes (this process's), gpu_memory_used_bytes and gpu_percent (the whole GPU's).

    Empty in a process that does not use a GPU through torch; torch is never imported for this.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    readings: dict[str, float] = {}
    # A GPU that has failed answers nothing; the process goes on without it, and so do its readings.
    with contextlib.suppress(Exception):
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        readings["gpu_memory_bytes"] = float(torch.cuda.memory_reserved())
        readings["gpu_memory_used_bytes"] = float(total_bytes - free_bytes)
        # torch needs nvidia-ml-py and a driver that answers for this one; the others do without.
        readings["gpu_percent"] = float(torch.cuda.utilization())
    return readings


def dropped_reading(camera: int) -> str:
    """The name of the reading in which a hub counts the frames of a camera that it dropped."""
    return f"dropped_{camera}"


def described(readings: Mapping[str, float]) -> str:
    """Readings as one line for the log."""
    parts = []
    for name, value in readings.items():
        if name.endswith("_bytes"):
            parts.append(f"{name.removesuffix('_bytes')} {value / 2**20:.0f} MiB")
        elif name.endswith("_percent"):
            parts.append(f"{name.removesuffix('_percent')} {value:.0f} %")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(parts)
