from __future__ import annotations

from services.store.database import DatabaseManager
from services.store.history import History
from services.store.statistics import statistics
from shared.config import CameraConfig
from shared.messages import End, Report
from tests.store.scene import SECOND_NS, START_NS, stamp, tracks


def test_an_empty_database_has_empty_statistics(database: DatabaseManager, history: History) -> None:
    database.set_cameras({1: CameraConfig(1, "a.mp4")})
    found = statistics(history)
    assert (found.cameras, found.frames, found.observations, found.people) == ((), 0, 0, 0)
    assert found.database_bytes > 0


def test_each_camera_is_counted(database: DatabaseManager, history: History) -> None:
    database.set_cameras({1: CameraConfig(1, "a.mp4", "hall")})
    rows = [tracks(stamp(1, n), [(1, 7), (2, 8)], observed=[True, n < 5]) for n in range(11)]
    database.commit([(1, 1, n, row) for n, row in enumerate(rows)])
    database.commit([(1, 1, 11, End(stamp(1, 11), "failed", "the cable", 13))])
    database.commit([(2, 1, 0, tracks(stamp(2, 0), [(3, 7)]))])
    found = statistics(history)
    assert (found.frames, found.observations, found.people) == (12, 17, 2)
    one, two = found.cameras
    assert (one.camera, one.name, one.sessions, one.frames, one.missing) == (1, "hall", 1, 11, 2)
    assert (one.tracks, one.observations, one.people) == (2, 16, 2)
    assert (one.first_ns, one.last_ns, one.rate_hz) == (START_NS, START_NS + SECOND_NS, 10.0)
    assert (one.ended, one.detail) == ("failed", "the cable")
    assert (two.frames, two.rate_hz, two.ended, two.missing) == (1, 0.0, "", 0)


def test_the_newest_report_of_every_process_is_there(database: DatabaseManager, history: History) -> None:
    old = Report("ingest", 1, "edge", 10, 5, "running", {"rss_bytes": 1.0})
    new = Report("ingest", 1, "edge", 11, 6, "waiting for the camera", {"rss_bytes": 2.0})
    other = Report("detector", 0, "gpu", 12, 1, "running")
    database.keep_reports([new, old, other])
    assert statistics(history).reports == (other, new)
