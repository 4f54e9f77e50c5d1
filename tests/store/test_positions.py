"""What is remembered of streams and processes does not grow with every restart."""

from __future__ import annotations

import pytest

from services.store import track_rows
from services.store.database import DatabaseManager
from services.store.history import History
from services.store.statistics import statistics
from shared.config import CameraConfig
from shared.messages import IdentityEvent, Report
from tests.store.scene import stamp, tracks

LIVE, RECORDED = 2, 1


@pytest.fixture(autouse=True)
def cameras(database: DatabaseManager) -> None:
    database.set_cameras(
        {RECORDED: CameraConfig(RECORDED, "gate.mp4"), LIVE: CameraConfig(LIVE, "rtsp://camera.example/2")}
    )


@pytest.mark.parametrize("stream", [0, LIVE])
def test_of_a_stream_that_begins_anew_with_every_start_the_newest_sessions_are_remembered(
    database: DatabaseManager, history: History, stream: int
) -> None:
    for start in range(100):
        session = 1000 - start  # their numbers are clock readings, and a clock may be set back
        message = tracks(stamp(LIVE, 0, session=session)) if stream else IdentityEvent(7, "follow", 1)
        database.commit([(stream, session, 3, message)])
        assert database.position(stream, session) == 3
    ((count,),) = history.select("SELECT count(*) FROM positions WHERE stream = ?", stream)
    assert count == 16
    assert [database.position(stream, 1000 - start) for start in (84, 90, 99)] == [3, 3, 3]


def test_every_recording_that_was_ever_stored_is_remembered(database: DatabaseManager) -> None:
    for session in range(1, 50):
        database.commit([(RECORDED, session, 7, tracks(stamp(RECORDED, 0, session=session)))])
    assert all(database.position(RECORDED, session) == 7 for session in range(1, 50))


def test_of_a_service_that_moves_from_host_to_host_the_last_two_hosts_are_remembered(
    database: DatabaseManager, history: History
) -> None:
    for number in range(50):
        database.keep_reports([Report("ingest", 1, f"container-{number}", 1, number, "running")])
        database.keep_reports([Report("ingest", 2, "edge", 1, number, "running")])
    hosts = [(each.instance, each.host) for each in statistics(history).reports]
    assert hosts == [(1, "container-48"), (1, "container-49"), (2, "edge")]


def test_frames_that_were_dropped_on_hosts_that_are_gone_go_on_counting(
    database: DatabaseManager, history: History
) -> None:
    database.commit([(LIVE, 1, 0, tracks(stamp(LIVE, 0)))])
    for number in range(10):
        report = Report("ingest", LIVE, f"container-{number}", 1, number, "running", {"unsent": 2.0})
        database.keep_reports([report, report])
    (camera,) = statistics(history).cameras
    assert camera.losses.unsent == 20


def test_a_report_after_a_clock_was_set_back_counts_and_one_that_was_overtaken_does_not(
    database: DatabaseManager, history: History
) -> None:
    hour_ns, second_ns = 3_600_000_000_000, 1_000_000_000
    for t_ns, state in ((hour_ns, "newest"), (hour_ns - second_ns, "overtaken")):
        database.keep_reports([Report("ingest", 1, "edge", 1, t_ns, state)])
    assert [each.state for each in statistics(history).reports] == ["newest"]
    database.keep_reports([Report("ingest", 1, "edge", 1, second_ns, "set back")])
    assert [each.state for each in statistics(history).reports] == ["set back"]


def test_an_assignment_of_a_track_that_never_comes_is_dropped_after_many_later_tracks(
    database: DatabaseManager, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track_rows, "_TRACKS_ON_THEIR_WAY", 10)
    database.commit([(LIVE, 1, 0, tracks(stamp(LIVE, 0), [(20, 7)], assign=[(12, 7)]))])
    assert history.select("SELECT track FROM early_assignments") == [(12,)]
    database.commit([(LIVE, 1, 1, tracks(stamp(LIVE, 1), [(25, 7)], assign=[(24, 7)]))])
    database.commit([(LIVE, 1, 2, tracks(stamp(LIVE, 2), assign=[(23, 7)]))])
    assert history.select("SELECT track FROM early_assignments") == [(23,), (24,)]


def test_a_commit_reads_only_the_replacements_of_identities_it_names(
    database: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    database._connection.set_trace_callback(asked.append)
    database.commit([(LIVE, 1, 0, tracks(stamp(LIVE, 0), [(1, 7), (2, 8)]))])
    assert sorted(sql for sql in asked if "replaced_identities" in sql) == [
        f"SELECT replacement FROM replaced_identities WHERE identity = {identity}" for identity in (7, 8)
    ]
