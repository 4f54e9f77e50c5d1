from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.store import migrations
from services.store.database import DatabaseManager
from services.store.history import History
from shared.errors import StorageError
from tests.store.scene import stamp, tracks


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
