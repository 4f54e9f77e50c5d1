"""Limits on what the store keeps."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from services.store import reports, track_rows
from services.store.database import DatabaseManager
from services.store.history import History
from services.store.identity_changes import MAX_ERASED_TRACKS
from services.store.positions import _SESSIONS_KEPT
from services.store.reports import HOSTS_KEPT
from services.store.service import STATES_PAGE_BYTES, StoreService
from shared.config import Config
from shared.endpoints import Endpoints
from shared.limits import MAX_PROCESSES
from shared.logs import BACKUPS, MAX_BYTES, SharedFileHandler
from shared.messages import Checkpoint, IdentityEvent, Report
from tests.limits.table import covers
from tests.store.conftest import database, history  # noqa: F401
from tests.store.scene import stamp, tracks
from tracking_system.__main__ import main
from tracking_system.commands.last_seen import _PEOPLE_SHOWN

CAMERA = 1


def report(instance: int, host: str = "edge") -> Report:
    return Report("ingest", instance, host, 1, instance + 1, "running")


def count(history: History, table: str) -> int:  # noqa: F811
    return int(history.select(f"SELECT count(*) FROM {table}")[0][0])


@covers("shared.limits.MAX_PROCESSES")
def test_the_store_tells_of_so_many_processes_and_drops_the_one_heard_longest_ago(tmp_path: Path) -> None:
    endpoints = Endpoints.local(tmp_path)
    endpoints.prepare()
    store = StoreService({}, tmp_path, Config(), endpoints)
    for instance in range(MAX_PROCESSES):
        store._keep_report(report(instance))
    assert len(store._reports) == MAX_PROCESSES
    store._keep_report(report(MAX_PROCESSES))
    assert len(store._reports) == MAX_PROCESSES and ("ingest", 0) not in store._reports
    stop = threading.Event()
    stop.set()
    assert store.run(stop) == 0


@covers("services.store.reports._PROCESSES_KEPT")
def test_the_database_keeps_so_many_reports_and_drops_the_one_heard_longest_ago(
    database: DatabaseManager,  # noqa: F811
    history: History,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "_PROCESSES_KEPT", 20)
    for kept, instance in ((20, 20), (20, 21)):
        database.keep_reports([report(number) for number in range(instance)])
        assert count(history, "reports") == kept


@covers("services.store.reports.HOSTS_KEPT")
def test_so_many_hosts_of_one_service_are_remembered(
    database: DatabaseManager,  # noqa: F811
    history: History,  # noqa: F811
) -> None:
    for number in range(HOSTS_KEPT + 1):
        database.keep_reports([report(1, f"host{number}")])
        assert count(history, "reports") == min(number + 1, HOSTS_KEPT)


@covers("services.store.positions._SESSIONS_KEPT")
def test_the_positions_of_so_many_sessions_are_kept(
    database: DatabaseManager,  # noqa: F811
    history: History,  # noqa: F811
) -> None:
    for number in range(1, _SESSIONS_KEPT + 2):
        database.commit([(0, number, 0, IdentityEvent(1, "follow", 1))])
        assert count(history, "positions") == min(number, _SESSIONS_KEPT)
    assert database.position(0, 1) == -1 and database.position(0, 2) == 0


@covers("services.store.identity_changes.MAX_ERASED_TRACKS")
def test_so_many_erased_tracks_are_remembered_and_the_oldest_is_dropped(
    database: DatabaseManager,  # noqa: F811
    history: History,  # noqa: F811
) -> None:
    for seq, last in enumerate((MAX_ERASED_TRACKS, MAX_ERASED_TRACKS + 1)):
        event = IdentityEvent(1 + seq, "forget", 1, tracks=tuple(range(1, last + 1)))
        database.commit([(0, 1, seq, event)])
        assert count(history, "erased_tracks") == MAX_ERASED_TRACKS
    assert history.select("SELECT min(track) FROM erased_tracks") == [(2,)]


@covers("services.store.track_rows._TRACKS_ON_THEIR_WAY")
def test_an_identity_for_a_track_to_come_is_dropped_when_so_many_later_tracks_are_known(
    database: DatabaseManager,  # noqa: F811
    history: History,  # noqa: F811
) -> None:
    most = track_rows._TRACKS_ON_THEIR_WAY
    database.commit([(CAMERA, 1, 0, tracks(stamp(CAMERA, 0), assign=[(5, 1)]))])
    for seq, newest, kept in ((1, 5 + most, True), (2, 6 + most, False)):
        newcomer = tracks(stamp(CAMERA, seq), [(newest, 2)])
        later = tracks(stamp(CAMERA, 10 + seq), assign=[(7 + most, 3)])
        database.commit([(CAMERA, 1, 2 * seq, newcomer)])
        database.commit([(CAMERA, 1, 2 * seq + 1, later)])
        rows = history.select("SELECT 1 FROM early_assignments WHERE track = 5")
        assert bool(rows) is kept


@covers("services.store.service.STATES_PAGE_BYTES")
def test_people_are_read_in_pages_and_a_larger_one_is_a_page_of_its_own(
    database: DatabaseManager,  # noqa: F811
) -> None:
    half = bytes(STATES_PAGE_BYTES // 2)
    states = {1: half, 2: half, 3: half + b"x", 4: half, 5: bytes(STATES_PAGE_BYTES + 1)}
    database.commit([(0, 1, 0, Checkpoint({}, b"", states))])
    pages, after = [], 0
    while page := database.identity_states(after, STATES_PAGE_BYTES):
        pages.append(sorted(page))
        after = max(page)
    assert pages == [[1, 2], [3], [4], [5]]


@covers("shared.logs.MAX_BYTES", "shared.logs.BACKUPS")
def test_the_log_is_rotated_at_its_limit_and_so_many_earlier_ones_are_kept(tmp_path: Path) -> None:
    handler = SharedFileHandler(tmp_path / "tracker.log")
    handler.setFormatter(logging.Formatter("%(message)s"))
    half = "x" * (MAX_BYTES // 2 - 1)

    def logged() -> list[str]:
        handler.emit(logging.LogRecord("test", logging.INFO, __file__, 1, half, None, None))
        return sorted(each.name for each in tmp_path.glob("tracker.log*") if each.suffix != ".lock")

    assert [len(logged()) for _ in range(3)] == [1, 1, 2]
    assert (tmp_path / "tracker.log.1").stat().st_size == MAX_BYTES
    files = [logged() for _ in range(2 * BACKUPS + 2)][-1]
    assert files == ["tracker.log", *(f"tracker.log.{number}" for number in range(1, BACKUPS + 1))]
    handler.close()


@covers("tracking_system.commands.last_seen._PEOPLE_SHOWN")
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_table_of_people_is_whole_up_to_the_limit_and_says_what_is_missing_beyond(
    beyond: int,
    database: DatabaseManager,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    everybody = [(number, number) for number in range(1, _PEOPLE_SHOWN + beyond + 1)]
    assign = tracks(stamp(CAMERA, 0), everybody, assign=everybody)
    database.commit([(CAMERA, 1, 0, assign)])
    assert main(["last-seen", str(database.path.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = f"only the {_PEOPLE_SHOWN} of {len(everybody)} people"
    assert any(said in line for line in lines) is bool(beyond)
    assert sum(line.split(" ")[0].isdigit() for line in lines) >= _PEOPLE_SHOWN
