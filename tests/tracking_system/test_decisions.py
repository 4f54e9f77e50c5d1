"""What an operator decides and asks on the command line."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

from services.store.database import DatabaseManager, Sequenced
from services.store.history import History
from services.tracker.core import TrackerCore
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.folder_lock import FolderLock
from shared.messages import Checkpoint, End, FrameStamp
from shared.request import Fields, Responder
from tests.tracker.scene import START_NS
from tests.tracker.test_core import walk
from tests.tracking_system.test_command_line import printed, refused


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("follow", 3), "person 3 is followed"),
        (("unfollow", 3), "person 3 is no longer followed"),
        (("name", 3, "Ada"), "person 3 is called Ada"),
        (("merge", 3, 4), "person 4 is person 3 from now on"),
        (("split", 3, 11, 12), "tracks 11, 12 are person 5 from now on"),
        (("forget", 3), "person 3 is forgotten"),
    ],
)
def test_a_decision_is_told_to_the_running_tracker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str | int, ...], told: str
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(fields: Fields) -> Fields:
        asked.append(dict(fields))
        return {"identity": 5 if words[0] == "split" else fields["identity"]}

    done = threading.Event()
    DatabaseManager(tmp_path).close()

    def serve(context: zmq.Context[zmq.Socket[bytes]]) -> None:
        responder = Responder(context, Endpoints.local(tmp_path).control, {str(words[0]): answer})
        while not done.is_set():
            responder.socket.poll(20)
            responder.serve()
        responder.close()

    with zmq.Context() as context:
        server = threading.Thread(target=serve, args=(context,), daemon=True)
        server.start()
        try:
            with FolderLock(tmp_path, "tracking-system run"):
                assert told in printed(capsys, *map(str, words), "--data", tmp_path)
        finally:
            done.set()
            server.join()
    (fields,) = asked
    assert fields["identity"] == 3
    assert [fields[key] for key in ("name", "other", "tracks") if key in fields] == (
        [[11, 12]] if words[0] == "split" else list(words[2:])
    )


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The data folder of a recorded run that is over: people 1 and 2, each seen once by a camera."""
    core = TrackerCore(Config())
    with DatabaseManager(tmp_path) as database:
        database.set_cameras({1: CameraConfig(1, "hall.mp4", "Hall"), 2: CameraConfig(2, "yard.mp4", "Yard")})
        messages = walk(1, 1, range(0, 30)) + walk(2, 2, range(40, 70))
        sent: list[Sequenced] = [
            (each.stamp.camera, 7, each.stamp.frame_index, core.process(each)) for each in messages
        ]
        ends = [End(FrameStamp(camera, 0, 99, START_NS, 640, 480), "finished") for camera in (1, 2)]
        sent += [(end.stamp.camera, 7, 99, core.end(end)) for end in ends]
        database.commit([*sent, (0, 1, 0, Checkpoint({1: (7, 99), 2: (7, 99)}, *core.snapshot()))])
    return tmp_path


def test_after_a_run_people_are_named_followed_and_merged_in_the_database(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "person 2 is called Ada" in printed(capsys, "name", "2", "Ada", "--data", finished)
    assert "person 1 is followed" in printed(capsys, "follow", "1", "--data", finished)
    assert "person 2 is person 1 from now on" in printed(capsys, "merge", "1", "2", "--data", finished)
    with History(finished) as history:
        (one,) = history.identities()
        assert (one.identity, one.name, one.followed) == (1, "Ada", True)
        assert {sighting.camera for sighting in history.sightings(1)} == {1, 2}
        checkpoint = history.checkpoint()
    assert checkpoint is not None
    assert checkpoint.positions == {1: (7, 99), 2: (7, 99)}
    core = TrackerCore.restore(Config(), checkpoint.state, checkpoint.identities)
    assert [(each.identity, each.name) for each in core.followed().people] == [(1, "Ada")]


def test_after_a_run_a_person_is_erased_from_the_database_and_the_trackers_state(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "person 1 is forgotten" in printed(capsys, "forget", "1", "--data", finished)
    with History(finished) as history:
        assert [each.identity for each in history.identities()] == [2]
        assert history.select("SELECT count(*) FROM observations WHERE track = 1") == [(0,)]
        checkpoint = history.checkpoint()
    assert checkpoint is not None and sorted(checkpoint.identities) == [2]
    assert "there is no person 1" in refused(capsys, "name", "1", "Ada", "--data", finished)


def test_a_person_whom_the_tracker_has_dropped_can_be_named_and_keeps_the_name(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DatabaseManager(finished) as database:
        checkpoint = database.checkpoint()
        assert checkpoint is not None
        database.commit([(0, 1, 1, Checkpoint(checkpoint.positions, checkpoint.state, {1: b""}))])
    assert "person 1 is called Ada" in printed(capsys, "name", "1", "Ada", "--data", finished)
    with History(finished) as history:
        assert [each.name for each in history.identities()] == ["Ada", ""]


def test_deciding_where_there_is_no_run_says_so_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds no run" in refused(capsys, "name", "1", "Ada", "--data", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_whose_writer_takes_no_decisions_is_named_with_its_holder(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FolderLock(finished, "a program's tracker"):
        text = refused(capsys, "name", "1", "Ada", "--data", finished)
    assert "in use by a program's tracker" in text and "nobody answered" in text


def test_explaining_tells_each_track_what_it_continues_and_what_else_it_might(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = TrackerCore(Config())
    for message in walk(1, 1, range(0, 30)) + walk(2, 1, range(40, 60)) + walk(1, 2, range(70, 99)):
        core.process(message)
    with DatabaseManager(tmp_path) as database:
        database.set_cameras({2: CameraConfig(2, "yard.mp4", "Yard")})
        database.commit([(0, 1, 0, Checkpoint({}, *core.snapshot()))])
    out = printed(capsys, "explain", tmp_path, "1")
    assert "person 1, 2 tracks" in out
    assert "begins this person" in out
    assert "track 3, Yard" in out
    assert re.search(r"continues track 1 \(person 1, camera 1\): \+\d.* = .*appearance \+\d", out)
    assert re.search(r"second best track 2 \(person 2, camera 1\)", out)
    assert "there is no person 9" in refused(capsys, "explain", tmp_path, "9")
    assert "which person?" in refused(capsys, "explain", tmp_path)


def test_explaining_before_the_tracker_has_written_anything_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DatabaseManager(tmp_path).close()
    assert "has not written anything down yet" in refused(capsys, "explain", tmp_path, "7")
