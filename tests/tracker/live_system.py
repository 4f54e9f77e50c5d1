"""A tracker and a store on real sockets, a detector that sends what a test says, and an operator."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import zmq

from services.store.database import DatabaseManager
from services.store.service import StoreService
from services.tracker.core import TrackerCore
from services.tracker.service import TrackerService
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.link_sender import LinkSender
from shared.messages import People
from shared.request import Requester

PATIENCE_S = 20.0


class _CrashError(BaseException):
    """Ends a service in the middle of its work, as a SIGKILL does."""


class CrashingTracker(TrackerService):
    """A tracker that can be made to crash."""

    crashing = False

    def _step(self, stop: threading.Event) -> None:
        if self.crashing:
            raise _CrashError
        super()._step(stop)


class LiveSystem:
    """Live cameras 1 to 3 on the data folder `folder`; `close` at the end."""

    def __init__(self, folder: Path, config: Config | None = None) -> None:
        self.folder = folder
        self.config = config or Config()
        self.cameras = {number: CameraConfig(number, f"rtsp://camera/{number}") for number in (1, 2, 3)}
        self.endpoints = Endpoints.local(folder)
        self.endpoints.prepare()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sender = LinkSender(self._context, self.endpoints.people, name="the tracker")
        for camera in self.cameras:
            self._sender.open(camera, 1, live=True, outbox=1000)
        self._store: tuple[threading.Thread, threading.Event] | None = None
        self._tracker: tuple[threading.Thread, threading.Event] | None = None
        self._service: CrashingTracker | None = None

    def start_store(self) -> None:
        stop = threading.Event()
        service = StoreService(self.cameras, self.folder, self.config, self.endpoints)
        self._store = threading.Thread(target=service.run, args=(stop,), daemon=True), stop
        self._store[0].start()

    def start_tracker(self) -> None:
        stop = threading.Event()
        service = CrashingTracker(self.cameras, self.config, self.endpoints)

        def run() -> None:
            with contextlib.suppress(_CrashError):
                service.run(stop)

        self._service = service
        self._tracker = threading.Thread(target=run, daemon=True), stop
        self._tracker[0].start()

    def stop_store(self) -> None:
        assert self._store is not None
        _end(*self._store)
        self._store = None

    def stop_tracker(self) -> None:
        """As SIGTERM does."""
        assert self._tracker is not None
        _end(*self._tracker)
        self._tracker = None

    def crash_tracker(self) -> None:
        """As SIGKILL does."""
        assert self._tracker is not None and self._service is not None
        self._service.crashing = True
        self._tracker[0].join(PATIENCE_S)
        assert not self._tracker[0].is_alive()
        self._tracker = None

    def send(self, messages: Iterable[People]) -> None:
        """Have the detector send what it found, and wait until the tracker has answered for it."""
        self.offer(messages)
        self.wait_until(lambda: not any(map(self._sender.unacknowledged, self.cameras)))

    def offer(self, messages: Iterable[People]) -> None:
        """Have the detector send what it found, as soon as the tracker takes it."""
        for message in messages:
            self._sender.send(message.stamp.camera, message)

    def ask(self, operation: str, timeout_s: float = 10.0, **fields: Any) -> dict[str, Any]:
        """An operator's request to the tracker."""
        requester = Requester(self._context, self.endpoints.control)
        try:
            return requester.ask(operation, fields, timeout_s)
        finally:
            requester.close()

    def select(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "tracking.db")) as connection:
            return connection.execute(query).fetchall()

    def wait_for(self, query: str, wanted: list[tuple[Any, ...]]) -> None:
        """Wait until the database answers a query so."""
        self.wait_until(lambda: self.select(query) == wanted)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline_s, "it has not come to be so"
            self._sender.poll()
            self._sender.socket.poll(20)

    def restored(self) -> TrackerCore:
        """The tracker as its newest checkpoint in the database has it; nothing may be running."""
        with DatabaseManager(self.folder) as database:
            checkpoint = database.checkpoint()
        assert checkpoint is not None
        return TrackerCore.restore(self.config, checkpoint.state, checkpoint.identities)

    def close(self) -> None:
        if self._tracker is not None:
            self.stop_tracker()
        if self._store is not None:
            self.stop_store()
        self._sender.close()
        self._context.term()


def _end(thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
