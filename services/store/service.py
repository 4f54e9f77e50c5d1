"""The store process: everything the tracker decides onto the disk, and questions about it answered.

Messages that wait are committed together, and acknowledged only then.  When the disk refuses, nothing of
the batch is acknowledged and it is tried again: upstream waits (recorded) or keeps what it can (live).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import zmq

from services.store.commit_queue import OWN_STREAM, CommitQueue
from services.store.database import DatabaseManager
from services.store.history import History
from services.store.opening import open_database
from services.store.reports import HOSTS_KEPT
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import StorageError, TrackingError
from shared.folder_lock import FolderLock
from shared.health import Health, described
from shared.limits import MAX_PROCESSES
from shared.link_receiver import Delivered, LinkReceiver, Opened, Reported, Resumed
from shared.messages import Checkpoint, End, Report, Tracks
from shared.request import Fields, Reply, Responder, integer

log = logging.getLogger(__name__)

WINDOW = 256
RECORDED_WINDOW = 8192
"""Results that the tracker may send before the checkpoint that contains them: twice what the setting `window`
can let come, for the store commits both together."""

STATES_PAGE_BYTES = 8 << 20
_GATHER_S = 0.1
"""Messages that come within so long share one transaction, and so one wait for the disk."""

_RETRY_S = 1.0
_WAIT_S = 0.05
_BREATH_S = 0.01
"""What comes within so long of the first message is handled, and answered, in one round."""

_ERASE_AT_ONCE = 2000
_ERASE_EVERY_S = 3600.0
"""Seconds between two looks for history that is older than `retention_days`."""

_DAY_NS = 86_400_000_000_000


class StoreService:
    """The link's end, the database's only writer, and the one who answers."""

    def __init__(
        self,
        cameras: Mapping[int, CameraConfig],
        data: Path,
        config: Config,
        endpoints: Endpoints,
        database: DatabaseManager | None = None,
    ) -> None:
        """database: of the folder `data`, closed by `run`; opened here unless it is given."""
        self._config = config
        self._database = database or DatabaseManager(data)
        self._database.set_cameras(cameras)
        self._cameras = frozenset(cameras)
        self._history = History(data)
        self._health = Health("store", every_s=config.report_every_s)
        self._queue = CommitQueue(self._database.position, self._database.checkpoint_ends())
        self._reports: dict[tuple[str, int], dict[str, Report]] = {}  # by host, the latest heard last
        self._unwritten: dict[tuple[str, int, str], Report] = {}
        self._gather_until_s = 0.0
        self._retry_at_s = 0.0
        self._failed = 0
        self._committed = 0
        self._refused = 0
        self._unreadable = False
        self._commit_s = 0.0
        self._erase_at_s = 0.0
        self._oldest_ns: int | None = None  # what was too old when it was looked last
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._tracks = LinkReceiver(self._context, endpoints.tracks)
        self._answers = Responder(
            self._context,
            endpoints.history,
            {
                "resume": self._resume,
                "identity_states": self._identity_states,
                "has_identity": self._has_identity,
                "last_seen": self._last_seen,
                "stats": self._stats,
            },
        )

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; what has arrived by then is committed before leaving."""
        poller = zmq.Poller()
        poller.register(self._tracks.socket, zmq.POLLIN)
        poller.register(self._answers.socket, zmq.POLLIN)
        try:
            while not stop.is_set():
                if poller.poll(self._wait_ms()):
                    time.sleep(_BREATH_S)
                self._step()
            self._gather_until_s = 0.0
            self._commit()
            self._tracks.flush()
            return 0
        finally:
            self._tracks.close()
            self._answers.close()
            self._context.term()
            self._history.close()
            self._database.close()

    def _wait_ms(self) -> int:
        if not self._queue.may_be_ready:
            return int(_WAIT_S * 1000)
        due_s = max(self._gather_until_s, self._retry_at_s)
        return max(1, min(int(_WAIT_S * 1000), int((due_s - time.monotonic()) * 1000) + 1))

    def _step(self) -> None:
        for event in self._tracks.receive():
            if isinstance(event, Delivered):
                self._take(event)
            elif isinstance(event, Opened):
                self._accept(event)
            elif isinstance(event, Resumed):
                self._queue.withdraw_end(event.stream, event.session)
            elif isinstance(event, Reported):
                self._keep_report(event.report)
        self._answers.serve()
        self._commit()
        self._tracks.flush()
        self._report()
        self._erase()

    def _accept(self, opened: Opened) -> None:
        """Let a stream go on behind what is stored of it; where that cannot be read now, it asks again."""
        if opened.stream != OWN_STREAM and opened.stream not in self._cameras:
            self._refused += 1
            self._tracks.refuse(
                opened.stream,
                f"camera {opened.stream} is not in this store's configuration; give all services the same",
            )
            return
        try:
            position = self._database.position(opened.stream, opened.session) + 1
        except StorageError as error:
            if not self._unreadable:
                log.error("%s; stream %d waits", error, opened.stream)
            self._unreadable = True
            return
        self._unreadable = False
        self._queue.open(opened.stream, opened.session, live=opened.live)
        window = WINDOW if opened.live else RECORDED_WINDOW
        self._tracks.accept(opened.stream, max(position, opened.first), window)

    def _take(self, delivered: Delivered) -> None:
        if not _belongs(delivered):
            self._refused += 1
            reason = f"a {type(delivered.message).__name__} is not for a store's stream {delivered.stream}"
            self._tracks.refuse(delivered.stream, reason)
            return
        if not self._queue.may_be_ready:
            self._gather_until_s = time.monotonic() + _GATHER_S
        self._queue.add(delivered)

    def _commit(self) -> None:
        now_s = time.monotonic()
        if now_s < self._gather_until_s or now_s < self._retry_at_s:
            return
        if not self._queue.may_be_ready and not self._unwritten:
            return
        began_s = time.perf_counter()
        try:
            batch = self._queue.batch()
            if batch:
                self._database.commit([(each.stream, each.session, each.seq, each.message) for each in batch])
            if self._unwritten:
                self._database.keep_reports(list(self._unwritten.values()))
        except StorageError as error:
            if not self._retry_at_s:
                log.error("%s; nothing is lost, trying again every %g s", error, _RETRY_S)
            self._failed += 1
            self._retry_at_s = now_s + _RETRY_S
            return
        if self._retry_at_s:
            log.info("the database takes writes again")
            self._retry_at_s = 0.0
        self._commit_s += time.perf_counter() - began_s
        self._committed += len(batch)
        self._queue.committed()
        if batch:
            self._health.made_progress()
        for each in batch:
            self._tracks.acknowledge(each.stream, each.session, each.seq)
            if isinstance(end := each.message, End):
                log.info("camera %d: %s, %d frames are safe", each.stream, end.reason, end.frames)
        self._unwritten.clear()

    def _resume(self, _: Fields) -> Reply:
        """A tracker starts: the checkpoint from which it goes on, and the highest numbers that are stored."""
        for stream in self._queue.fence():
            self._tracks.forget(stream)
        newest = self._database.newest_numbers()
        return Reply(
            {
                "track": newest.track,
                "identity": newest.identity,
                "ended": self._database.ended_cameras(),
            },
            self._database.checkpoint(identities=False),
        )

    def _identity_states(self, fields: Fields) -> Reply:
        """The states of the next people that the tracker remembers, behind an identity."""
        page = self._database.identity_states(integer(fields, "after"), STATES_PAGE_BYTES)
        return Reply({}, Checkpoint({}, b"", page))

    def _has_identity(self, fields: Fields) -> Fields:
        return {"known": self._database.has_identity(integer(fields, "identity"))}

    def _last_seen(self, fields: Fields) -> Fields:
        identity = integer(fields, "identity")
        seen = self._history.last_seen(identity)
        if seen is None:
            raise TrackingError(f"there is no identity {identity}, or it was never seen")
        return {
            "identity": identity,
            "camera": seen.camera,
            "t_ns": seen.t_ns,
            "x": seen.x,
            "y": seen.y,
        }

    def _stats(self, _: Fields) -> Fields:
        return {
            "processes": [
                {
                    "service": report.service,
                    "instance": report.instance,
                    "host": report.host,
                    "pid": report.pid,
                    "t_ns": report.t_ns,
                    "state": report.state,
                    "readings": report.readings,
                }
                for _, hosts in sorted(self._reports.items())
                for _, report in sorted(hosts.items())
            ]
        }

    def _report(self) -> None:
        if self._health.due_in_s() > 0:
            return
        counters = {
            "committed": float(self._committed),
            "commit_s": self._commit_s,
            "failed_commits": float(self._failed),
            "waiting": float(len(self._queue)),
            "rejected": float(self._tracks.rejected + self._answers.rejected + self._refused),
            "repeated": float(self._tracks.repeated),
        }
        report = self._health.report("running", counters)
        log.info("%s", described(report.readings))
        self._keep_report(report)

    def _keep_report(self, report: Report) -> None:
        hosts = self._reports.pop((report.service, report.instance), {})
        hosts.pop(report.host, None)
        hosts[report.host] = report
        if len(hosts) > HOSTS_KEPT:
            del hosts[next(iter(hosts))]
        self._reports[report.service, report.instance] = hosts  # at the back: it came last
        self._unwritten[report.service, report.instance, report.host] = report
        if len(self._reports) > MAX_PROCESSES:
            del self._reports[next(iter(self._reports))]
        if len(self._unwritten) > MAX_PROCESSES:
            del self._unwritten[next(iter(self._unwritten))]

    def _erase(self) -> None:
        """Erase what is too old, a piece in each round so that nothing else waits long.

        After the first time, only what was too old an hour before already: a clock that is set wrong for a
        moment erases nothing.
        """
        if not self._config.retention_days or time.monotonic() < self._erase_at_s:
            return
        oldest_ns = now_ns() - int(self._config.retention_days * _DAY_NS)
        limit_ns = oldest_ns if self._oldest_ns is None else min(oldest_ns, self._oldest_ns)
        try:
            erased = self._database.erase_before(limit_ns, most=_ERASE_AT_ONCE)
        except StorageError as error:
            log.error("old history cannot be erased: %s", error)
            erased = 0
        if not erased:
            self._oldest_ns = oldest_ns
            self._erase_at_s = time.monotonic() + _ERASE_EVERY_S


def _belongs(delivered: Delivered) -> bool:
    """Whether a message is one that the tracker sends on this stream."""
    stream, message = delivered.stream, delivered.message
    if stream == OWN_STREAM:
        return isinstance(message, Checkpoint)
    return isinstance(message, Tracks | End) and all(
        each.stamp.camera == stream for each in (message, *message.settled)
    )


def run(
    cameras: Mapping[int, CameraConfig],
    data: Path,
    config: Config,
    endpoints: Endpoints,
    stop: threading.Event,
    *,
    supervised: bool = False,
) -> int:
    """Run the store until `stop` is set; the process's exit code.

    supervised: whether `tracking-system run` has started it, which holds the data folder then.
    Raises StorageError where another process writes the folder, or its database cannot be used.
    """
    with FolderLock(data, "tracking-system store", "writer" if supervised else "whole"):
        database = open_database(data, stop)
        if database is None:
            return 0
        return StoreService(cameras, data, config, endpoints, database).run(stop)
