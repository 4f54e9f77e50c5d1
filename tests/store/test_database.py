from __future__ import annotations

import os
import resource
import sqlite3
import threading
from pathlib import Path

import pytest

from services.store.database import DatabaseManager, Sequenced
from services.store.history import History
from shared.config import CameraConfig
from shared.errors import StorageError
from shared.messages import Checkpoint, End, Followed, IdentityEvent, Report
from tests.store.scene import stamp, tracks


def frame_count(history: History) -> int:
    ((count,),) = history.select("SELECT count(*) FROM frames")
    return int(count)


def frames(camera: int, numbers: range) -> list[Sequenced]:
    return [(camera, 1, n, tracks(stamp(camera, n), [(1, 7)])) for n in numbers]


def test_a_stream_nobody_sent_is_at_position_minus_one(database: DatabaseManager) -> None:
    assert database.position(1, 1) == -1


def test_a_commit_moves_each_stream_and_session_on_its_own(database: DatabaseManager) -> None:
    database.commit([*frames(1, range(3)), *frames(2, range(5))])
    assert [database.position(1, 1), database.position(2, 1), database.position(1, 2)] == [2, 4, -1]


def test_positions_are_there_after_reopening(tmp_path: Path) -> None:
    with DatabaseManager(tmp_path) as database:
        database.commit(frames(1, range(3)))
    with DatabaseManager(tmp_path) as database:
        assert database.position(1, 1) == 2


def test_what_is_sent_again_is_stored_once(database: DatabaseManager, history: History) -> None:
    database.commit(frames(1, range(3)))
    database.commit(frames(1, range(5)))
    assert frame_count(history) == 5
    assert history.select("SELECT frames FROM tracks") == [(5,)]


def test_a_frame_under_a_new_sequence_number_is_kept_as_it_was(
    database: DatabaseManager, history: History
) -> None:
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, 7)])), (1, 1, 1, tracks(stamp(1, 0), [(2, 8)]))])
    assert frame_count(history) == 1
    assert history.select("SELECT track FROM observations") == [(1,)]
    assert database.position(1, 1) == 1


def test_a_frame_without_people_has_its_row(database: DatabaseManager, history: History) -> None:
    database.commit([(1, 1, 0, tracks(stamp(1, 0)))])
    assert history.select("SELECT frame_index, width, height FROM frames") == [(0, 640, 480)]


def test_a_message_that_is_not_for_the_store_is_passed_over(
    database: DatabaseManager, caplog: pytest.LogCaptureFixture
) -> None:
    database.commit([(1, 1, 0, Followed())])
    assert database.position(1, 1) == 0
    assert "Followed is nothing to store" in caplog.text


def test_the_end_of_a_session_is_kept_until_more_frames_come(
    database: DatabaseManager, history: History
) -> None:
    sql = "SELECT frames, ended, detail, announced_frames FROM sessions"
    end = End(stamp(1, 2), "failed", "the cable", 2)
    database.commit([*frames(1, range(2)), (1, 1, 2, end)])
    assert history.select(sql) == [(2, "failed", "the cable", 2)]
    database.commit([(1, 1, 3, tracks(stamp(1, 3)))])
    assert history.select(sql) == [(3, None, "", None)]


def test_no_checkpoint_before_the_first(database: DatabaseManager) -> None:
    assert database.checkpoint() is None


def test_a_checkpoint_comes_back_with_the_newest_state_of_every_identity(database: DatabaseManager) -> None:
    database.commit([(0, 1, 0, Checkpoint({1: (1, 5), 2: (9, 4)}, b"one", {7: b"seven", 8: b"eight"}))])
    database.commit([(0, 1, 1, Checkpoint({1: (1, 6), 2: (9, 8)}, b"two", {8: b"EIGHT", 9: b"nine"}))])
    checkpoint = database.checkpoint()
    assert checkpoint is not None
    assert checkpoint.positions == {1: (1, 6), 2: (9, 8)}
    assert checkpoint.state == b"two"
    assert checkpoint.identities == {7: b"seven", 8: b"EIGHT", 9: b"nine"}


def test_an_operators_decisions_are_kept(database: DatabaseManager, history: History) -> None:
    events = [
        IdentityEvent(7, "follow", 1),
        IdentityEvent(7, "name", 2, "Ada"),
        IdentityEvent(8, "follow", 3),
    ]
    database.commit([(0, 1, n, event) for n, event in enumerate([*events, IdentityEvent(8, "unfollow", 4)])])
    people = {person.identity: (person.name, person.followed) for person in history.identities()}
    assert people == {7: ("Ada", True)}
    assert history.select("SELECT count(*) FROM events") == [(4,)]


def test_a_decision_that_is_sent_again_is_one_event(database: DatabaseManager, history: History) -> None:
    event: Sequenced = (0, 1, 0, IdentityEvent(7, "follow", 1))
    database.commit([event, event])
    database.commit([event])
    assert history.select("SELECT count(*) FROM events") == [(1,)]


def test_of_a_processes_reports_the_newest_is_kept(database: DatabaseManager, history: History) -> None:
    reports = [Report("ingest", 1, "edge", 10, t, f"at {t}", {"cpu_percent": 1.0 * t}) for t in (5, 9, 7)]
    database.commit([(0, 1, n, report) for n, report in enumerate(reports)])
    assert history.select("SELECT t_ns, state, readings FROM reports") == [
        (9, "at 9", '{"cpu_percent": 9.0}')
    ]


def test_cameras_are_updated_and_their_passwords_are_not_kept(
    database: DatabaseManager, history: History
) -> None:
    database.set_cameras(
        {1: CameraConfig(1, "a.mp4"), 2: CameraConfig(2, "rtsp://ada:secret@door/1", "door")}
    )
    database.set_cameras({1: CameraConfig(1, "b.mp4", "hall", "recorded", 5, 12.5)})
    assert history.cameras() == {
        1: CameraConfig(1, "b.mp4", "hall", "recorded", 5, 12.5),
        2: CameraConfig(2, "rtsp://ada:***@door/1", "door"),
    }


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    path.write_bytes(b"a shopping list, long enough to be looked at " * 50)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"tracking\.db: not a database"):
        DatabaseManager(tmp_path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="tracking"):
        DatabaseManager(tmp_path / "file" / "data")


def test_a_commit_on_a_closed_database_is_a_storage_error(tmp_path: Path) -> None:
    database = DatabaseManager(tmp_path)
    database.close()
    database.close()
    with pytest.raises(StorageError, match="already closed"):
        database.commit(frames(1, range(1)))


def test_a_locked_database_refuses_the_whole_batch_which_then_commits(tmp_path: Path) -> None:
    with DatabaseManager(tmp_path, busy_timeout_s=0.01) as database, History(tmp_path) as history:
        other = sqlite3.connect(database.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process holds the database"):
            database.commit(frames(1, range(3)))
        other.execute("ROLLBACK")
        other.close()
        assert (database.position(1, 1), frame_count(history)) == (-1, 0)
        database.commit(frames(1, range(3)))
        assert (database.position(1, 1), frame_count(history)) == (2, 3)


def test_a_message_that_fails_in_the_middle_takes_the_whole_batch_back(
    database: DatabaseManager, history: History
) -> None:
    unstorable = Checkpoint({}, b"", {1 << 70: b""})
    with pytest.raises(OverflowError):
        database.commit([*frames(1, range(3)), (1, 1, 3, unstorable)])
    assert (database.position(1, 1), frame_count(history)) == (-1, 0)
    database.commit(frames(1, range(3)))
    assert frame_count(history) == 3


def test_a_write_the_system_refuses_leaves_nothing_behind_and_the_batch_commits_later(
    database: DatabaseManager, history: History
) -> None:
    database.commit(frames(1, range(3)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = database.path.with_name("tracking.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, limits[1]))
    try:
        with pytest.raises(StorageError, match="the disk"):
            database.commit(frames(1, range(3, 900)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (database.position(1, 1), frame_count(history)) == (2, 3)
    database.commit(frames(1, range(3, 900)))
    assert (database.position(1, 1), frame_count(history)) == (899, 900)


def test_a_full_disk_refuses_the_whole_batch_which_commits_once_there_is_space(small_disk: Path) -> None:
    with DatabaseManager(small_disk) as database, History(small_disk) as history:
        database.commit(frames(1, range(3)))
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(free.f_bavail * free.f_frsize))
        batch = frames(1, range(3, 500))
        for _ in range(2):
            with pytest.raises(StorageError, match="the disk is full"):
                database.commit(batch)
            assert (database.position(1, 1), frame_count(history)) == (2, 3)
        ballast.unlink()
        database.commit(batch)
        assert (database.position(1, 1), frame_count(history)) == (499, 500)
        assert history.select("PRAGMA integrity_check") == [("ok",)]


def test_threads_commit_ask_and_read_at_the_same_time(database: DatabaseManager, history: History) -> None:
    failures: list[BaseException] = []

    def guarded(work: threading.Thread) -> None:
        try:
            work.run()
        except BaseException as failure:  # noqa: BLE001 - shown by the assertion below
            failures.append(failure)

    def write(camera: int) -> None:
        for first in range(0, 100, 5):
            database.commit(frames(camera, range(first, first + 5)))
            assert database.position(camera, 1) == first + 4

    def read() -> None:
        seen = 0
        while seen < 300 and not failures:
            rows = history.select("SELECT count(*), (SELECT sum(seq + 1) FROM positions) FROM frames")
            ((count, committed),) = rows
            assert count == (committed or 0)  # never half a transaction
            assert count >= seen
            seen = count
            history.last_seen(7)

    work = [threading.Thread(target=write, args=(camera,)) for camera in (1, 2, 3)]
    work += [threading.Thread(target=read) for _ in range(2)]
    threads = [threading.Thread(target=guarded, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert frame_count(history) == 300


def test_a_commit_flushes_its_pages_to_the_disk_before_it_returns(tmp_path: Path) -> None:
    full = 2  # of https://www.sqlite.org/pragma.html#pragma_synchronous
    with DatabaseManager(tmp_path) as database:
        assert database._connection.execute("PRAGMA synchronous").fetchone() == (full,)
        assert database._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
