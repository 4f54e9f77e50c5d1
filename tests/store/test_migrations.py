from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from services.store import migrations
from services.store.database import DatabaseManager
from services.store.history import History
from services.store.replay import replay
from shared.errors import StorageError
from shared.messages import FrameStamp, IdentityEvent, Settled
from tests.store.scene import SECOND_NS, START_NS, stamp, tracks


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "tracking.db")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def extend(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, statements))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", len(migrations.MIGRATIONS))


def filled(folder: Path) -> None:
    with DatabaseManager(folder) as database:
        database.commit([(1, 1, 0, tracks(stamp(1, 0), [(3, 7)]))])


def test_an_older_database_is_brought_up_to_date_with_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    before = version(tmp_path)
    extend(monkeypatch, "ALTER TABLE tracks ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")
    with DatabaseManager(tmp_path) as database:
        assert database.position(1, 1) == 0
    assert version(tmp_path) == before + 1
    with closing(sqlite3.connect(tmp_path / "tracking.db")) as connection:
        assert connection.execute("SELECT track, colour FROM tracks").fetchall() == [(3, "grey")]


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    before = version(tmp_path)
    extend(monkeypatch, "CREATE TABLE colours (colour TEXT)", "DROP TABLE nothing_of_that_name")
    with pytest.raises(StorageError, match="nothing_of_that_name"):
        DatabaseManager(tmp_path)
    assert version(tmp_path) == before
    with closing(sqlite3.connect(tmp_path / "tracking.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'colours'").fetchall() == []


@pytest.mark.parametrize("opened", [DatabaseManager, History])
def test_a_newer_schema_is_refused_with_advice(
    tmp_path: Path, opened: type[DatabaseManager] | type[History]
) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "tracking.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match=r"newer release \(schema 99"):
        opened(tmp_path)


@pytest.mark.parametrize("opened", [DatabaseManager, History])
def test_another_programs_database_is_refused_and_left_alone(
    tmp_path: Path, opened: type[DatabaseManager] | type[History]
) -> None:
    path = tmp_path / "tracking.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE parcels (number INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        opened(tmp_path)
    assert path.read_bytes() == before


def test_a_reader_does_not_update_an_older_schema_but_says_who_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    monkeypatch.setattr("services.store.connection.SCHEMA_VERSION", migrations.SCHEMA_VERSION + 1)
    with pytest.raises(StorageError, match="start the store on this folder once"):
        History(tmp_path)


OLD_ROWS = (
    "INSERT INTO cameras (camera, source) VALUES (1, 'old.mp4')",
    "INSERT INTO cameras (camera, source) VALUES (2, 'rtsp://camera.example/2')",
    f"INSERT INTO sessions (session_key, camera, session, first_ns, last_ns, frames) VALUES "
    f"(1, 1, 5, {START_NS}, {START_NS + 1}, 2), (2, 2, 6, {START_NS}, {START_NS}, 0)",
    f"INSERT INTO frames (frame, session_key, frame_index, t_ns, width, height) VALUES "
    f"(1, 1, 0, {START_NS}, 640, 480), (2, 1, 1, {START_NS + 1}, 640, 480)",
    "INSERT INTO identities (identity, name, state) VALUES (7, 'Ada', x'01')",
    f"INSERT INTO tracks (track, session_key, identity, first_ns, last_ns, frames) VALUES "
    f"(3, 1, 7, {START_NS}, {START_NS + 1}, 2)",
    "INSERT INTO observations (frame, track, shown, x0, y0, x1, y1, vx, vy, score, observed) VALUES "
    "(1, 3, 7, 100, 200, 300, 400, 1, 2, 9000, 1), (2, 3, 8, 150, 200, 350, 400, 1, 2, 9000, 1)",
    f"INSERT INTO sightings VALUES (3, {START_NS}, {START_NS + 1}, 7, 1, 150, 200, 350, 400, 9000)",
    "INSERT INTO positions (stream, session, seq) VALUES (1, 5, 1)",
    "INSERT INTO reports (service, instance, host, pid, t_ns, state, readings) VALUES "
    "('store', 0, 'host', 1, 1, 'running', '{}')",
)


def of_version(folder: Path, number: int, *more: str) -> None:
    """A database as the release with this schema wrote it."""
    with closing(sqlite3.connect(folder / "tracking.db", isolation_level=None)) as connection:
        for step in migrations.MIGRATIONS[:number]:
            for statement in step:
                connection.execute(statement)
        for statement in (*OLD_ROWS, *more):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_run_of_every_earlier_schema_goes_on_with_all_that_was_stored(tmp_path: Path, number: int) -> None:
    of_version(tmp_path, number)
    with DatabaseManager(tmp_path) as database, History(tmp_path) as history:
        assert database.position(1, 5) == 1
        (person,) = history.identities()
        assert (person.identity, person.name) == (7, "Ada")
        assert [frame.boxes[0].tolist() for frame in replay(history)] == [[1, 2, 3, 4], [1.5, 2, 3.5, 4]]
        settled = Settled(
            FrameStamp(1, 5, 1, START_NS + 1, 640, 480),
            np.array([3]),
            np.array([[5, 2, 7, 4]], np.float32),
            np.array([0.9], np.float32),
            np.array([True]),
            np.zeros((1, 2), np.float32),
        )
        newest = tracks(stamp(1, 2, session=5), [(3, 7)])
        database.commit([(1, 5, 2, dataclasses.replace(newest, settled=(settled,)))])
        assert history.select("SELECT shown, x0 FROM shown_observations WHERE frame = 2") == [(8, 150)]
        assert history.select("SELECT shown, x0 FROM settled_observations WHERE frame = 2") == [(8, 500)]
        ((lag_1, lag_2),) = history.select(
            "SELECT max(iif(camera = 1, lag_ns, 0)), max(iif(camera = 2, lag_ns, 0)) FROM sessions"
        )
        assert lag_1 > 365 * 86_400 * SECOND_NS  # as if stored today
        assert lag_2 == 0
        database.commit([(0, 1, 0, IdentityEvent(8, "forget", 1))])
        assert history.select("SELECT shown FROM shown_observations WHERE frame = 2") == [(0,)]


def test_who_turned_out_to_be_nobody_in_an_earlier_release_stays_out_of_history(tmp_path: Path) -> None:
    of_version(
        tmp_path,
        4,
        "UPDATE frames SET settled = 1 WHERE frame = 1",
        "INSERT INTO tracks VALUES (4, 1, 7, 1, 2, 1, 0)",
        "INSERT INTO observations VALUES (1, 4, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2)",
    )
    with DatabaseManager(tmp_path), History(tmp_path) as history:
        assert history.select("SELECT frame, track FROM settled_observations ORDER BY 1") == [(1, 4), (2, 3)]
        assert history.select("SELECT frame, track FROM shown_observations ORDER BY 1") == [(1, 3), (2, 3)]
