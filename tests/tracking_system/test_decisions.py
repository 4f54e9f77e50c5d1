"""What an operator decides and asks on the command line."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

from services.store.database import DatabaseManager
from services.tracker.core import TrackerCore
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.messages import Checkpoint
from shared.request import Fields, Responder
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

    def serve(context: zmq.Context[zmq.Socket[bytes]]) -> None:
        responder = Responder(context, Endpoints.local(tmp_path).control, {str(words[0]): answer})
        while not done.is_set():
            responder.socket.poll(20)
            responder.serve()
        responder.close()

    with zmq.Context() as context:
        server = threading.Thread(target=serve, args=(context,))
        server.start()
        try:
            assert told in printed(capsys, *map(str, words), "--data", tmp_path)
        finally:
            done.set()
            server.join()
    (fields,) = asked
    assert fields["identity"] == 3
    assert [fields[key] for key in ("name", "other", "tracks") if key in fields] == (
        [[11, 12]] if words[0] == "split" else list(words[2:])
    )


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
