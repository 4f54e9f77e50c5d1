"""What a program's own tracker keeps, however the program ends."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from services.store.connection import DATABASE_NAME
from services.store.history import History
from shared.config import Config
from shared.errors import FolderInUseError, StorageError
from tests.tracker.test_core import walk
from tracking_system.journal import Journal

HOUR_FRAMES = 36_000

KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from shared.config import Config
from tests.tracker.test_core import walk
from tracking_system.journal import Journal

person, begin = int(sys.argv[2]), int(sys.argv[3])
journal = Journal(Path(sys.argv[1]), Config(), "a test")
for message in walk(person, 1, range(begin, begin + 30)):
    message = replace(message, stamp=replace(message.stamp, session=person))
    journal._next_commit_s = 0.0
    journal.write(journal.core.process(message))
if len(sys.argv) > 4:
    journal.event(journal.core.name(int(sys.argv[4]), "Ada", 0))
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, person: int, begin: int, *named: int) -> None:
    """Run a program that tracks somebody, gives a name, and is killed before it can close anything."""
    words = [sys.executable, "-c", KILLED, str(folder), str(person), str(begin), *map(str, named)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_after_a_killed_program_the_next_one_gives_out_new_numbers_and_names_stay(tmp_path: Path) -> None:
    killed(tmp_path, 1, 0, 1)
    killed(tmp_path, 2, HOUR_FRAMES)
    with History(tmp_path) as history:
        people = history.identities()
        spans = [round((each.last_ns or 0) - (each.first_ns or 0), -9) * 1e-9 for each in people]
        tracks = history.select("SELECT count(*) FROM tracks")
    assert [each.name for each in people] == ["Ada", ""]
    assert all(span < 10 for span in spans)
    assert tracks == [(2,)]


def test_every_frame_up_to_the_last_commit_is_stored_with_the_state_behind_it(tmp_path: Path) -> None:
    killed(tmp_path, 1, 0)
    with History(tmp_path) as history:
        assert history.select("SELECT count(*) FROM frames") == [(30,)]
        assert history.checkpoint() is not None


def test_a_second_writer_of_a_folder_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Config(), "the first program")
    with pytest.raises(FolderInUseError, match="in use by the first program"):
        Journal(tmp_path, Config(), "the second program")
    journal.close()
    Journal(tmp_path, Config(), "the second program").close()


def test_more_frames_between_two_commits_than_the_outbox_holds_are_all_stored(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Config(outbox=16), "a test")
    journal._next_commit_s = float("inf")
    for message in walk(1, 1, range(200)):
        journal.write(journal.core.process(message))
    journal.close()
    with History(tmp_path) as history:
        assert history.select("SELECT count(*) FROM frames") == [(200,)]


def test_while_the_disk_refuses_the_newest_results_are_kept_and_the_others_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    journal = Journal(tmp_path, Config(outbox=16), "a test")
    journal._database._connection.execute("PRAGMA busy_timeout = 1")
    with sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for message in walk(1, 1, range(40)):
            journal._next_commit_s = 0.0
            journal.write(journal.core.process(message))
        with pytest.raises(StorageError, match="in effect but not on the disk yet"):
            journal.event(journal.core.follow(1, 0))
        other.execute("ROLLBACK")
    other.close()
    journal.close()
    assert "24 results were given up" in caplog.text
    with History(tmp_path) as history:
        assert [each.followed for each in history.identities()] == [True]
        frames = [index for (index,) in history.select("SELECT frame_index FROM frames ORDER BY frame_index")]
    assert frames == list(range(24, 40))


def test_a_decision_in_the_database_keeps_the_positions_from_which_a_recorded_run_goes_on(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, Config(), "a test")
    for message in walk(1, 1, range(30)):
        journal.write(journal.core.process(message))
    journal._positions = {1: (5, 29)}
    journal.event(journal.core.name(1, "Ada", 0))
    journal.close()
    again = Journal(tmp_path, Config(), "a test")
    again.event(again.core.follow(1, 0))
    again.close()
    with History(tmp_path) as history:
        checkpoint = history.checkpoint()
    assert checkpoint is not None and checkpoint.positions == {1: (5, 29)}
