"""Live cameras: what a tracker that crashed, or was stopped, knows when it runs again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import zmq

from services.store.database import DatabaseManager, Sequenced
from services.store.service import STATES_PAGE_BYTES
from services.tracker import checkpointing, control
from services.tracker import service as tracker_service
from services.tracker.core import TrackerCore
from services.tracker.person import TrackedPerson
from services.tracker.reservation import IDENTITY_BLOCK, TRACK_BLOCK
from services.tracker.state import pack
from shared.config import Config
from shared.errors import StorageError, TrackingError
from shared.link_sender import LinkSender
from shared.messages import Checkpoint
from tests.tracker.live_system import LiveSystem
from tests.tracker.scene import START_NS
from tests.tracker.test_core import walk

MINUTE = 600
TRACKS = "SELECT track, identity FROM tracks ORDER BY track"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveSystem]:
    monkeypatch.setattr(tracker_service, "warm", lambda: None)
    live = LiveSystem(tmp_path)
    live.start_store()
    live.start_tracker()
    yield live
    live.close()


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are taken only where something asks for one."""
    monkeypatch.setattr(tracker_service, "_IDLE_S", 1000.0)
    monkeypatch.setattr(tracker_service, "_CHECKPOINT_S", 1000.0)


def test_after_a_crash_strangers_get_no_number_that_somebody_had(seldom: None, system: LiveSystem) -> None:
    system.send(walk(1, 1, range(30)))
    system.wait_for(TRACKS, [(1, 1)])
    system.crash_tracker()
    system.start_tracker()
    system.send(walk(2, 2, range(MINUTE, MINUTE + 30)))
    system.wait_for("SELECT count(DISTINCT track), count(DISTINCT identity) FROM tracks", [(2, 2)])


def test_no_live_camera_begins_before_numbers_are_reserved_on_the_disk(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.stop_tracker()
    commit = DatabaseManager.commit
    refusals = [StorageError("the disk is full")]
    batches: list[list[str]] = []

    def failing_once(self: DatabaseManager, batch: Sequence[Sequenced]) -> None:
        if refusals:
            raise refusals.pop()
        commit(self, batch)
        batches.append([type(message).__name__ for _, _, _, message in batch])

    monkeypatch.setattr(DatabaseManager, "commit", failing_once)
    system.offer(walk(1, 1, range(30)))
    system.start_tracker()
    system.wait_for(TRACKS, [(1, 1)])
    assert batches[0] == ["Checkpoint"]


def test_live_cameras_are_not_kept_waiting_for_a_store_that_cannot_write_for_long(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    system.stop_tracker()
    monkeypatch.setattr(tracker_service, "_RESERVE_WAIT_S", 0.1)

    def refused(self: DatabaseManager, batch: Sequence[Sequenced]) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(DatabaseManager, "commit", refused)
        system.start_tracker()
        system.send(walk(1, 1, range(30)))
        assert "the store has written nothing for 0.1 s" in caplog.text
    system.wait_for(TRACKS, [(1, 1)])


def test_after_a_crash_behind_a_checkpoint_the_reserved_numbers_are_left_out(
    seldom: None, system: LiveSystem
) -> None:
    system.send(walk(1, 1, range(30)))
    system.ask("name", identity=1, name="Ada")
    system.send(walk(2, 2, range(MINUTE, MINUTE + 30)))
    system.wait_for("SELECT count(*) FROM tracks", [(2,)])
    system.crash_tracker()
    system.start_tracker()
    system.send(walk(3, 3, range(2 * MINUTE, 2 * MINUTE + 30)))
    system.wait_for("SELECT count(DISTINCT track), count(DISTINCT identity) FROM tracks", [(3, 3)])
    newest = system.select("SELECT max(track), max(identity) FROM tracks")[0]
    assert newest[0] > TRACK_BLOCK and newest[1] > IDENTITY_BLOCK
    assert system.select("SELECT identity FROM identities WHERE name = 'Ada'") == [(1,)]


def test_a_stopped_tracker_leaves_out_no_number_and_gives_none_out_twice(
    seldom: None, system: LiveSystem
) -> None:
    system.send(walk(1, 1, range(30)))
    system.stop_tracker()
    system.start_tracker()
    system.send(walk(2, 2, range(MINUTE, MINUTE + 30)))
    system.wait_for(TRACKS, [(1, 1), (2, 2)])


def test_a_decision_that_was_confirmed_is_known_after_a_crash_at_once(
    seldom: None, system: LiveSystem
) -> None:
    system.send(walk(1, 1, range(30)))
    assert system.ask("follow", identity=1) == {"identity": 1}
    assert system.ask("name", identity=1, name="Ada") == {"identity": 1}
    system.crash_tracker()
    system.stop_store()
    core = system.restored()
    assert [(each.identity, each.name) for each in core.followed().people] == [(1, "Ada")]


@pytest.mark.parametrize("kind", ["forget", "merge"])
def test_a_tracker_starts_again_after_somebody_was_forgotten_or_merged(
    kind: str, seldom: None, system: LiveSystem
) -> None:
    system.send(walk(1, 1, range(30)) + walk(2, 2, range(40, 70)))
    fields = {"identity": 1} if kind == "forget" else {"identity": 1, "other": 2}
    system.ask(kind, **fields)
    system.crash_tracker()
    system.start_tracker()
    system.send(walk(3, 3, range(MINUTE, MINUTE + 30)))
    left = "SELECT count(*) FROM identities"
    system.wait_for(left, [(2,)])
    with pytest.raises(TrackingError, match="there is no person"):
        system.ask("follow", identity=1 if kind == "forget" else 2)


def test_a_decision_is_not_confirmed_while_the_store_is_away(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONFIRM_S", 0.3)
    monkeypatch.setattr(checkpointing, "MAX_REST_S", 0.1)
    system.send(walk(1, 1, range(30)))
    system.wait_for("SELECT count(*) FROM tracks WHERE identity = 1", [(1,)])
    system.stop_store()
    with pytest.raises(TrackingError, match="in effect but not on the disk yet"):
        system.ask("name", identity=1, name="Ada")
    system.start_store()
    system.wait_for("SELECT name FROM identities", [("Ada",)])


def test_a_person_whom_only_the_store_remembers_can_be_named(system: LiveSystem, tmp_path: Path) -> None:
    system.send(walk(1, 1, range(30)))
    system.stop_tracker()
    system.stop_store()
    with DatabaseManager(tmp_path) as database:
        checkpoint = database.checkpoint()
        assert checkpoint is not None
        database.commit([(0, 1, 0, Checkpoint(checkpoint.positions, checkpoint.state, {1: b""}))])
    system.start_store()
    system.start_tracker()
    assert system.ask("name", identity=1, name="Ada") == {"identity": 1}
    assert system.select("SELECT name FROM identities") == [("Ada",)]


def test_a_tracker_starts_on_more_people_than_fit_one_answer(tmp_path: Path, system: LiveSystem) -> None:
    system.send(walk(1, 1, range(3)))
    system.stop_tracker()
    system.stop_store()
    rng = np.random.default_rng(1)
    count = 3 * STATES_PAGE_BYTES // (2 * 4096)
    states = {}
    for identity in range(1, count + 1):
        person = TrackedPerson(identity)
        person.prototypes["appearance"] = {1: [(rng.normal(size=2048).astype(np.float16), 1.0)]}
        person.seen = (1, START_NS, 0.0, 0.0)
        states[identity] = pack(person.state())
    assert sum(map(len, states.values())) > STATES_PAGE_BYTES
    core = TrackerCore(Config())
    core.begin_after(count, count)
    with DatabaseManager(tmp_path) as database:
        database.commit([(0, 99, 0, Checkpoint({}, core.snapshot()[0], states))])
    system.start_store()
    system.start_tracker()
    assert system.ask("follow", timeout_s=20.0, identity=count) == {"identity": count}
    system.send(walk(1, 2, range(MINUTE, MINUTE + 30)))
    system.wait_for("SELECT max(track), max(identity) FROM tracks", [(count + 1, count + 1)])


def test_hundreds_of_thousands_of_identities_ever_seen_do_not_hold_up_a_start(
    tmp_path: Path, system: LiveSystem
) -> None:
    system.send(walk(1, 1, range(30)))
    system.stop_tracker()
    system.stop_store()
    with sqlite3.connect(tmp_path / "tracking.db") as connection:
        numbers = ((identity,) for identity in range(2, 400_001))
        connection.executemany("INSERT INTO identities (identity) VALUES (?)", numbers)
    connection.close()
    system.start_store()
    system.start_tracker()
    system.send(walk(2, 2, range(MINUTE, MINUTE + 30)))
    system.wait_for(TRACKS, [(1, 1), (2, 400_001)])


def test_a_checkpoint_larger_than_one_part_of_a_message_is_kept(tmp_path: Path, system: LiveSystem) -> None:
    system.send(walk(1, 1, range(3)))  # the tracker has begun
    system.stop_tracker()
    state = bytes(80 << 20)
    with zmq.Context() as context:
        sender = LinkSender(context, system.endpoints.tracks, name="the store")
        sender.open(0, 77, live=False)
        sender.send(0, Checkpoint({}, state), 0)

        def is_durable() -> bool:
            sender.poll()
            return sender.durable(0) == 1

        system.wait_until(is_durable)
        sender.close()
    assert system.select("SELECT length(state) FROM checkpoint") == [(len(state),)]
