"""What passes by itself ends no service: each waits and goes on."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq

import services.tracker.service
import shared.link_receiver
from services.ingest.service import IngestService
from services.store.database import DatabaseManager
from services.store.service import StoreService
from services.tracker.service import TrackerService
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.envelope import Envelope, Kind
from shared.errors import StorageError
from shared.link_receiver import Delivered, LinkReceiver, Opened
from shared.link_sender import LinkSender
from shared.messages import End
from shared.request import Fields, Requester, Responder
from tests.shared.samples import tracks
from tests.shared.wire import Context, pump_until

CAMERAS = {1: CameraConfig(1, "gate.mp4")}
AN_HOUR_NS = 3_600_000_000_000
PATIENCE_S = 60.0


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def endpoints(tmp_path: Path) -> Endpoints:
    addresses = Endpoints.local(tmp_path)
    addresses.prepare()
    return addresses


@contextmanager
def served(run: Callable[[threading.Event], object]) -> Iterator[threading.Thread]:
    """Run a service in a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


@contextmanager
def store_process(data: Path) -> Iterator[subprocess.Popen[str]]:
    """A store in a process of its own, which ends with the block at the latest."""
    config = data / "cameras.yaml"
    config.write_text("cameras:\n  1: {source: gate.mp4}\n")
    command = [sys.executable, "-m", "tracking_system", "store", "--config", str(config), "--data", str(data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_store_started_while_another_process_holds_the_database_goes_on_when_it_is_free(
    tmp_path: Path, endpoints: Endpoints, context: Context
) -> None:
    DatabaseManager(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "tracking.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with store_process(tmp_path) as store:
            assert store.stderr is not None
            told = next(line for line in store.stderr if "trying again" in line)  # after SQLite's own 5 s
            assert "another process holds the database" in told
            shell.execute("ROLLBACK")
            assert any("the database is open now" in line for line in store.stderr)
            answer = Requester(context, endpoints.history).ask("stats", timeout_s=PATIENCE_S)
            assert [each["service"] for each in answer["processes"]] == ["store"]
            store.terminate()
            store.communicate()
            assert store.returncode == 0


def test_a_store_that_waits_for_a_locked_database_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    DatabaseManager(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "tracking.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with store_process(tmp_path) as store:
            assert store.stderr is not None
            assert any("trying again" in line for line in store.stderr)
            store.terminate()
            store.communicate(timeout=PATIENCE_S)
            assert store.returncode == 0


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE TABLE theirs (x)"], "a SQLite database of another program"),
        (["PRAGMA application_id = 0x54524B31", "PRAGMA user_version = 99"], "written by a newer release"),
    ],
)
def test_a_database_that_is_not_this_programs_ends_the_store_for_good(
    tmp_path: Path, statements: list[str], said: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "tracking.db")) as database:
        for statement in statements:
            database.execute(statement)
    with store_process(tmp_path) as store:
        _, told = store.communicate(timeout=PATIENCE_S)
    assert store.returncode == 2
    assert said in told


def test_a_store_that_cannot_read_where_a_stream_stands_lets_it_ask_again(
    tmp_path: Path, endpoints: Endpoints, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StorageError("the disk refused to read or write")]
    position = DatabaseManager.position

    def failing(self: DatabaseManager, stream: int, session: int) -> int:
        if failures:
            raise failures.pop()
        return position(self, stream, session)

    monkeypatch.setattr(DatabaseManager, "position", failing)
    with served(StoreService(CAMERAS, tmp_path, Config(), endpoints).run):
        sender = LinkSender(context, endpoints.tracks, name="the store")
        sender.open(1, 2, live=True)
        pump_until(lambda: sender.position(1) == 0, sender.poll)
        sender.send(1, tracks(), 0)
        pump_until(lambda: sender.durable(1) == 1, sender.poll)
    assert failures == []


def test_a_tracker_whose_store_cannot_read_its_database_yet_goes_on_when_it_can(
    endpoints: Endpoints, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.tracker.service, "_ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(services.tracker.service, "warm", lambda: None)  # no frame will come
    failures = [StorageError("another process holds the database"), StorageError("the disk refused")]

    def resume(_: Fields) -> Fields:
        if failures:
            raise failures.pop()
        return {"track": 0, "identity": 0, "ended": []}

    store = Responder(context, endpoints.history, {"resume": resume})
    tracks_in = LinkReceiver(context, endpoints.tracks)
    opened: list[int] = []

    def receive() -> None:
        opened.extend(event.stream for event in tracks_in.receive() if isinstance(event, Opened))

    with served(TrackerService(CAMERAS, Config(), endpoints).run):
        pump_until(lambda: 0 in opened, store.serve, receive, deadline_s=PATIENCE_S)
    assert failures == []


class Time:
    """A monotonic clock that tests set forward."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_ingest_that_a_stale_hub_turns_away_goes_on_when_its_predecessor_is_silent(
    tmp_path: Path, endpoints: Endpoints, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    clock = Time()
    hub = LinkReceiver(context, endpoints.frames, monotonic_s=clock)
    predecessor = context.socket(zmq.DEALER)
    predecessor.connect(endpoints.frames)
    later_ns = now_ns() + AN_HOUR_NS  # before the machine's clock was set back
    predecessor.send(Envelope(Kind.OPEN, 1, 5, b=later_ns).pack())
    delivered: list[Delivered] = []

    def pump() -> None:
        for event in hub.receive():
            if isinstance(event, Opened):
                hub.accept(event.stream, event.first, 8)
            elif isinstance(event, Delivered):
                delivered.append(event)
                hub.acknowledge(event.stream, event.session, event.seq)
        hub.flush()

    pump_until(lambda: bool(predecessor.poll(1)), pump)
    ingest = IngestService(CameraConfig(1, str(tmp_path)), Config(), endpoints)
    codes: list[int] = []
    with served(lambda stop: codes.append(ingest.run(stop))) as thread:
        pump_until(lambda: "Asking again" in caplog.text, pump, deadline_s=PATIENCE_S)
        assert thread.is_alive()
        clock.now_s += shared.link_receiver.SILENCE_S + 1
        pump_until(lambda: not thread.is_alive(), pump, deadline_s=PATIENCE_S)
    assert codes == [0]
    assert [event.seq for event in delivered] == [0, 1, 2, 3]
    assert isinstance(delivered[-1].message, End)
