"""`tracking-system stats`: cameras, people and processes of a run."""

from __future__ import annotations

import argparse
import time

from services.store.history import History
from services.store.statistics import CameraStatistics, statistics
from shared.health import described
from shared.messages import Report
from tracking_system.commands.arguments import add_folder
from tracking_system.missing_frames import missing_text
from tracking_system.table import aligned, utc_text

_COMMON = ("cpu_percent", "rss_bytes", "threads")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `stats`."""
    parser.epilog = (
        "Works while a run is going on, and afterwards. Processor: 100 % is one core.\n\n"
        "example:\n  tracking-system stats out"
    )
    add_folder(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the numbers."""
    with History(arguments.folder) as history:
        numbers = statistics(history)
    print(
        f"{numbers.people} people, {numbers.observations} observations in {numbers.frames} frames of "
        f"{len(numbers.cameras)} cameras; the database has {numbers.database_bytes / 1e6:.1f} MB"
    )
    if numbers.cameras:
        states = {r.instance: r.state for r in numbers.reports if r.service == "ingest"}
        print()
        print(aligned([_CAMERA_HEADINGS, *(_camera_row(each, states) for each in numbers.cameras)]))
        for camera in numbers.cameras:
            if missing := missing_text(camera):
                print(f"{camera.name}: {missing}")
    if numbers.reports:
        now_ns = time.time_ns()
        print()
        print(aligned([_PROCESS_HEADINGS, *(_process_row(each, now_ns) for each in numbers.reports)]))
    return 0


_CAMERA_HEADINGS = ("camera", "state", "frames", "a second", "missing", "tracks", "people", "from", "to")
_PROCESS_HEADINGS = ("process", "host", "pid", "state", "said", "cpu", "memory", "threads", "counters")


def _camera_row(camera: CameraStatistics, states: dict[int, str]) -> tuple[str, ...]:
    state = camera.ended or states.get(camera.camera, "")
    return (
        camera.name,
        f"{state}: {camera.detail}" if camera.detail else state,
        str(camera.frames),
        f"{camera.rate_hz:.1f}",
        str(camera.missing),
        str(camera.tracks),
        str(camera.people),
        utc_text(camera.first_ns) if camera.frames else "-",
        utc_text(camera.last_ns) if camera.frames else "-",
    )


def _process_row(report: Report, now_ns: int) -> tuple[str, ...]:
    readings = dict(report.readings)
    cpu, memory, threads = (readings.pop(name, 0.0) for name in _COMMON)
    return (
        f"{report.service} {report.instance}" if report.instance else report.service,
        report.host,
        str(report.pid),
        report.state,
        f"{max(0, now_ns - report.t_ns) / 1e9:.0f} s ago",
        f"{cpu:.0f} %",
        f"{memory / 2**20:.0f} MiB",
        f"{threads:.0f}",
        described(readings),
    )
