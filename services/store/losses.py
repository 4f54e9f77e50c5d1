"""Frames of live cameras that were dropped on their way, by where: counted by those who dropped them.

Each process reports what it has dropped since its start.  `carried_over` adds what the process before it in
its place had reported, so that a restart does not make frames look as if they had arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.health import dropped_reading
from shared.messages import Report

_BEFORE = "_before"
"""Ends the name of a reading that counts the earlier processes in a reporting one's place."""

_LIFE = "cpu_seconds"
"""A reading that only grows while a process lives."""


@dataclass(frozen=True, slots=True)
class FrameLosses:
    """How many of one camera's frames were dropped where.

    capture: pushed out by a newer one before the ingest took them.  unsent: taken, but the detector had no
    room or was away.  detector: replaced there by a newer one, or the tracker was away.  tracker: done, but
    the store was away for too long.
    """

    capture: int = 0
    unsent: int = 0
    detector: int = 0
    tracker: int = 0


def frame_losses(reports: Iterable[Report], camera: int) -> FrameLosses:
    """What the newest reports of all processes say of a camera."""
    counts = dict.fromkeys(FrameLosses.__dataclass_fields__, 0)
    for report in reports:
        for field, reading in _readings(report, camera).items():
            counts[field] += round(_total(report.readings, reading))
    return FrameLosses(**counts)


def _readings(report: Report, camera: int) -> dict[str, str]:
    """The readings of this report that count the camera's losses, by the field that they belong to."""
    if report.service == "ingest":
        return {"capture": "dropped", "unsent": "unsent"} if report.instance == camera else {}
    if report.service in ("detector", "tracker"):
        return {report.service: dropped_reading(camera)}
    return {}


def _total(readings: Mapping[str, float], name: str) -> float:
    return readings.get(name, 0.0) + readings.get(name + _BEFORE, 0.0)


def carried_over(
    earlier: Mapping[str, float], readings: Mapping[str, float], *, same_pid: bool
) -> dict[str, float]:
    """A report's readings, with what the processes before it in its place had dropped.

    earlier: the readings that are stored.  same_pid: whether they come from the same process number; in a
    container every process has the same.
    """
    same_life = same_pid and earlier.get(_LIFE, 0.0) <= readings.get(_LIFE, 0.0)
    found = dict(readings)
    for name in earlier:
        counted = name.removesuffix(_BEFORE)
        if not (counted.startswith("dropped") or counted == "unsent"):
            continue
        before = earlier.get(counted + _BEFORE, 0.0) if same_life else _total(earlier, counted)
        if before:
            found[counted + _BEFORE] = before
    return found


def without_carried(readings: Mapping[str, float]) -> dict[str, float]:
    """The readings of the reporting process alone."""
    return {name: value for name, value in readings.items() if not name.endswith(_BEFORE)}
