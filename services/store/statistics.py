"""How much was seen where, and how the processes were doing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.store.history import History, title
from services.store.losses import FrameLosses, frame_losses, without_carried
from shared.messages import Report


@dataclass(frozen=True, slots=True)
class CameraStatistics:
    """One camera over all its sessions.

    frames: ever committed.  rate_hz: of them, over the time its sessions lasted.
    missing: frames that were captured, or are in the recording, and are not in the history: those that the
        ends of its sessions announced and that never came, and those dropped before.
    losses: of them, those whose place is known; what only the processes know is up to `report_every_s` old.
    tracks, observations, people: what is stored now; people are settled identities.
    ended, detail: how its newest session ended; "" while it runs.
    """

    camera: int
    name: str
    sessions: int
    frames: int
    missing: int
    losses: FrameLosses
    tracks: int
    observations: int
    people: int
    first_ns: int
    last_ns: int
    rate_hz: float
    ended: str
    detail: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """A whole run.

    people: identities that were seen.  observations: people in frames, predictions not counted.
    reports: the newest of every process.  database_bytes: the database with its write-ahead log.
    """

    cameras: tuple[CameraStatistics, ...]
    frames: int
    observations: int
    people: int
    reports: tuple[Report, ...]
    database_bytes: int


def statistics(history: History) -> Statistics:
    """What the database holds; costs reading its sessions and tracks, not its frames."""
    stored = _stored_reports(history)
    cameras = tuple(_cameras(history, stored))
    ((people,),) = history.select("SELECT count(DISTINCT identity) FROM sightings WHERE identity IS NOT NULL")
    files = (history.path, history.path.with_name(history.path.name + "-wal"))
    return Statistics(
        cameras=cameras,
        frames=sum(camera.frames for camera in cameras),
        observations=sum(camera.observations for camera in cameras),
        people=people,
        reports=tuple(replace(each, readings=without_carried(each.readings)) for each in stored),
        database_bytes=sum(file.stat().st_size for file in files if file.exists()),
    )


def reports(history: History) -> list[Report]:
    """The newest report of every process, by service, instance and host."""
    return [replace(each, readings=without_carried(each.readings)) for each in _stored_reports(history)]


def _stored_reports(history: History) -> list[Report]:
    rows = history.select(
        "SELECT service, instance, host, pid, t_ns, state, readings FROM reports "
        "ORDER BY service, instance, host"
    )
    return [
        Report(service, instance, host, pid, t_ns, state, json.loads(readings))
        for service, instance, host, pid, t_ns, state, readings in rows
    ]


def _missing(announced: int, losses: FrameLosses) -> int:
    """Frames of a camera that are not in the history.

    announced: those that were sent, as the ends of its sessions told, and never came.  What was dropped at
    the detector and the tracker is among them as soon as a session has ended.
    """
    return losses.capture + losses.unsent + max(announced, losses.detector + losses.tracker)


def _cameras(history: History, stored: Sequence[Report]) -> list[CameraStatistics]:
    rows = history.select(
        """
        WITH seen AS (
            SELECT camera, count(*) AS tracks, sum(t.frames) AS observations,
                count(DISTINCT identity) AS people
            FROM tracks t JOIN sessions USING (session_key) GROUP BY camera
        ), ran AS (
            SELECT camera, count(*) AS sessions, sum(frames) AS frames,
                sum(max(announced_frames - frames, 0)) AS missing,
                min(first_ns) AS first_ns, max(last_ns) AS last_ns,
                sum(last_ns - first_ns) AS duration_ns
            FROM sessions GROUP BY camera
        )
        SELECT c.camera, c.name, sessions, frames, coalesce(missing, 0), coalesce(tracks, 0),
            coalesce(observations, 0), coalesce(people, 0), first_ns, last_ns, duration_ns,
            (SELECT coalesce(s.ended, '') FROM sessions s WHERE s.camera = c.camera
                ORDER BY s.last_ns DESC, s.session DESC LIMIT 1),
            (SELECT s.detail FROM sessions s WHERE s.camera = c.camera
                ORDER BY s.last_ns DESC, s.session DESC LIMIT 1)
        FROM cameras c JOIN ran USING (camera) LEFT JOIN seen USING (camera) ORDER BY c.camera
        """
    )
    losses = {camera: frame_losses(stored, camera) for camera, *_ in rows}
    return [
        CameraStatistics(
            camera,
            title(camera, name),
            sessions,
            frames,
            _missing(announced, losses[camera]),
            losses[camera],
            tracks,
            observations,
            people,
            first_ns,
            last_ns,
            # Between n frames there are n - 1 intervals.
            (frames - sessions) * 1e9 / duration_ns if duration_ns else 0.0,
            ended,
            detail,
        )
        for (
            camera,
            name,
            sessions,
            frames,
            announced,
            tracks,
            observations,
            people,
            first_ns,
            last_ns,
            duration_ns,
            ended,
            detail,
        ) in rows
    ]
