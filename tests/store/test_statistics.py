from __future__ import annotations

from services.store.database import DatabaseManager
from services.store.history import History
from services.store.losses import FrameLosses
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


def lost(service: str, instance: int = 0, pid: int = 10, t_ns: int = 5, **readings: float) -> Report:
    return Report(service, instance, "edge", pid, t_ns, "running", readings)


def test_frames_that_were_dropped_before_they_were_sent_are_missing_and_it_is_known_where(
    database: DatabaseManager, history: History
) -> None:
    database.set_cameras({1: CameraConfig(1, "rtsp://gate/1")})
    database.commit([(1, 1, n, tracks(stamp(1, n), [(1, 7)])) for n in range(10)])
    database.commit([(1, 1, 10, End(stamp(1, 10), "stopped", frames=13))])
    database.keep_reports(
        [
            lost("ingest", 1, dropped=2, unsent=14),
            lost("ingest", 2, unsent=99),
            lost("detector", dropped_1=2, dropped_2=99),
            lost("tracker", dropped_2=99),
        ]
    )
    (camera,) = statistics(history).cameras
    assert camera.losses == FrameLosses(capture=2, unsent=14, detector=2, tracker=0)
    assert camera.missing == 2 + 14 + 3, "of the three that were sent and never came two are explained"


def test_what_earlier_processes_dropped_is_not_forgotten_when_they_are_restarted(
    database: DatabaseManager, history: History
) -> None:
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, 7)]))])
    lives = [(10, 50.0, 3.0), (10, 60.0, 5.0), (11, 1.0, 2.0), (11, 0.5, 4.0)]  # the last has the same number
    for t_ns, (pid, cpu_seconds, unsent) in enumerate(lives):
        database.keep_reports([lost("ingest", 1, pid, t_ns, cpu_seconds=cpu_seconds, unsent=unsent)])
    found = statistics(history)
    assert found.cameras[0].losses.unsent == 5 + 2 + 4
    assert found.reports[0].readings == {"cpu_seconds": 0.5, "unsent": 4.0}
