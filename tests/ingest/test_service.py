"""Recordings through all services on real sockets and a real database: every frame once."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.detector.extractor import FeatureExtractor
from services.detector.service import DetectorService
from services.detector.worker import Worker, _Batch
from services.ingest import service as ingest_service
from services.ingest.recording import recorded_session
from services.ingest.service import OK, SOURCE_FAILED, IngestService
from services.store.service import StoreService
from services.tracker import service as tracker_service
from services.tracker.core import TrackerCore
from services.tracker.service import TrackerService
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.limits import MAX_PEOPLE, MAX_SIDE_PX, MAX_TRACKS
from shared.messages import End, People, Tracks
from tests.detector.fakes import MeanEmbedder, ScriptedDetector
from tests.ingest.test_files import video

PATIENCE_S = 15.0


class System:
    """Detector, tracker and store on threads, each of which can be restarted, and ingests."""

    def __init__(self, folder: Path, *sources: Path) -> None:
        self.data = folder / "data"
        self.cameras = {
            number: CameraConfig(number, str(source), start_ns=10**18)
            for number, source in enumerate(sources, 1)
        }
        self.config = Config(window=8)
        self.endpoints = Endpoints.local(self.data)
        self.endpoints.prepare()
        self._running: dict[str, tuple[threading.Thread, threading.Event]] = {}

    def start(self, *hubs: str) -> None:
        for hub in hubs:
            stop = threading.Event()
            thread = threading.Thread(target=self._made(hub), args=(stop,), name=hub, daemon=True)
            thread.start()
            self._running[hub] = thread, stop

    def _made(self, hub: str) -> Callable[[threading.Event], int]:
        if hub == "store":
            return StoreService(self.cameras, self.data, self.config, self.endpoints).run
        if hub == "tracker":
            return TrackerService(self.cameras, self.config, self.endpoints).run
        sees_nobody = FeatureExtractor(ScriptedDetector(lambda _: []), MeanEmbedder(), self.config)
        return DetectorService(self.cameras, self.config, self.endpoints, sees_nobody).run

    def stop(self, *hubs: str) -> None:
        for hub in hubs:
            thread, stop = self._running.pop(hub)
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def restart(self, *hubs: str) -> None:
        self.stop(*hubs)
        self.start(*hubs)

    def stop_all(self) -> None:
        self.stop(*[each for each in ("detector", "tracker", "store") if each in self._running])

    def ingest(self, camera: int = 1) -> int:
        """Run one camera's ingest to its end; the exit code."""
        codes: list[int] = []
        stop = threading.Event()
        service = IngestService(self.cameras[camera], self.config, self.endpoints)
        thread = threading.Thread(target=lambda: codes.append(service.run(stop)), daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        stop.set()
        thread.join(PATIENCE_S)
        assert codes, "the ingest did not end by itself"
        return codes[0]

    def select(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.data / "tracking.db")) as connection:
            return connection.execute(query).fetchall()

    def frames(self, camera: int = 1) -> list[int]:
        """Indices of all stored frames of a camera."""
        rows = self.select(
            "SELECT frame_index FROM frames JOIN sessions USING (session_key) "
            f"WHERE camera = {camera} ORDER BY frame"
        )
        return [int(str(row[0])) for row in rows]

    def ends(self) -> list[tuple[object, ...]]:
        return self.select("SELECT camera, ended, announced_frames FROM sessions ORDER BY session_key")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[System]]:
    monkeypatch.setattr(tracker_service, "warm", lambda: None)
    systems: list[System] = []
    yield systems
    for each in systems:
        each.stop_all()


def running(made: list[System], folder: Path, *sources: Path) -> System:
    system = System(folder, *sources)
    made.append(system)
    system.start("store", "tracker", "detector")
    return system


def pictures(folder: Path, numbers: range) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        picture = np.full((48, 64, 3), 10 * number, np.uint8)
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), picture)
    return folder


def test_failed_attempts_cost_the_good_file_no_frame(made: list[System], tmp_path: Path) -> None:
    source = tmp_path / "gate.avi"
    source.touch()
    system = running(made, tmp_path, source)
    assert [system.ingest() for _ in range(3)] == [SOURCE_FAILED] * 3
    video(source, frames=6)
    assert system.ingest() == OK
    assert system.frames() == list(range(6))
    assert system.ends()[-1] == (1, "finished", 6)


def test_attempts_that_fail_on_the_same_content_cost_no_frame(
    made: list[System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk or share that is not ready: later the same file can be read."""
    source = video(tmp_path / "gate.avi", frames=6)
    system = running(made, tmp_path, source)
    with monkeypatch.context() as patch:
        closed = cv2.VideoCapture()
        patch.setattr(cv2, "VideoCapture", lambda *_: closed)
        assert [system.ingest() for _ in range(2)] == [SOURCE_FAILED] * 2
    assert system.ingest() == OK
    assert system.frames() == list(range(6))
    assert system.ends() == [(1, "finished", 6)]


def test_a_folder_that_has_grown_goes_on_at_its_first_new_picture(made: list[System], tmp_path: Path) -> None:
    source = pictures(tmp_path / "pictures", range(3))
    system = running(made, tmp_path, source)
    for grown_to in (3, 7, 7, 8):
        pictures(source, range(grown_to))
        assert system.ingest() == OK
        assert system.frames() == list(range(grown_to))
        assert system.ends() == [(1, "finished", grown_to)]


@pytest.mark.parametrize("hubs", [("store",), ("tracker",), ("detector",), ("tracker", "detector", "store")])
def test_a_folder_goes_on_where_it_ended_although_services_were_restarted(
    made: list[System], tmp_path: Path, hubs: tuple[str, ...]
) -> None:
    source = pictures(tmp_path / "pictures", range(3))
    system = running(made, tmp_path, source)
    assert system.ingest() == OK
    system.restart(*hubs)
    pictures(source, range(7))
    assert system.ingest() == OK
    assert system.frames() == list(range(7))
    assert system.ends() == [(1, "finished", 7)]


def test_an_ingest_killed_before_its_end_costs_no_frame(
    made: list[System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "pictures", range(5))
    system = running(made, tmp_path, source)
    with monkeypatch.context() as patch:
        patch.setattr(IngestService, "_finish", lambda *_: None)
        system.ingest()
    pictures(source, range(6))
    assert system.ingest() == OK
    assert system.frames() == list(range(6))
    assert system.ends() == [(1, "finished", 6)]


def test_an_end_that_is_sent_while_the_hubs_restart_arrives(made: list[System], tmp_path: Path) -> None:
    source = pictures(tmp_path / "pictures", range(4))
    system = running(made, tmp_path, source)
    system.stop("tracker", "store")
    ending = threading.Thread(target=system.ingest, daemon=True)
    ending.start()
    system.start("store", "tracker")
    ending.join(PATIENCE_S)
    assert system.frames() == list(range(4))
    assert system.ends() == [(1, "finished", 4)]


@pytest.mark.parametrize("hubs", [("tracker",), ("tracker", "detector"), ("tracker", "detector", "store")])
def test_a_camera_that_has_ended_does_not_hold_up_others_after_services_restart(
    made: list[System], tmp_path: Path, hubs: tuple[str, ...]
) -> None:
    first, second = pictures(tmp_path / "one", range(4)), pictures(tmp_path / "two", range(9))
    system = running(made, tmp_path, first, second)
    both = [threading.Thread(target=system.ingest, args=(camera,), daemon=True) for camera in (1, 2)]
    for each in both:
        each.start()
    for each in both:
        each.join(PATIENCE_S)
    system.restart(*hubs)
    pictures(second, range(20))
    assert system.ingest(2) == OK
    assert system.frames(2) == list(range(20))


def test_a_replaced_file_is_processed_as_another_recording(made: list[System], tmp_path: Path) -> None:
    source = video(tmp_path / "gate.avi", frames=6)
    system = running(made, tmp_path, source)
    assert system.ingest() == OK
    video(source, frames=4)
    assert system.ingest() == OK
    assert system.ends() == [(1, "finished", 6), (1, "finished", 4)]


def test_a_stop_leaves_a_recording_to_go_on_exactly(
    made: list[System], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, ingest_service.__name__)
    source = video(tmp_path / "gate.avi", frames=60)
    system = running(made, tmp_path, source)
    stop = threading.Event()
    service = IngestService(system.cameras[1], system.config, system.endpoints)
    thread = threading.Thread(target=service.run, args=(stop,), daemon=True)
    thread.start()
    deadline_s = time.monotonic() + PATIENCE_S
    while service._sent < 20:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    stop.set()
    thread.join(PATIENCE_S)
    assert system.ingest() == OK
    assert system.frames() == list(range(60))
    assert system.select("SELECT session FROM sessions") == [(recorded_session(system.cameras[1]),)]


def test_a_recording_whose_frames_and_end_the_tracker_fails_on_is_stored_whole(
    made: list[System],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A frame that raises, one whose result is too large for a message, and an end that raises."""
    process = TrackerCore.process

    def failing(core: TrackerCore, people: People) -> Tracks:
        result = process(core, people)
        if people.stamp.frame_index == 1:
            raise KeyError(5)
        if people.stamp.frame_index == 3:
            return replace(result, track_ids=np.ones(MAX_TRACKS + 1, np.int64))
        return result

    def failing_end(*_: object) -> End:
        raise ValueError("no end")

    monkeypatch.setattr(TrackerCore, "process", failing)
    monkeypatch.setattr(TrackerCore, "end", failing_end)
    system = running(made, tmp_path, pictures(tmp_path / "pictures", range(6)))
    assert system.ingest() == OK
    assert system.frames() == list(range(6))
    assert system.ends() == [(1, "finished", 6)]
    told = [record.getMessage() for record in caplog.records if "the tracker failed" in record.getMessage()]
    assert [each.split(":")[0] for each in told] == [f"camera 1, frame {n}" for n in (1, 3, 5)]


def test_a_recording_with_a_frame_of_which_the_detector_finds_too_many_people_is_stored_whole(
    made: list[System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = Worker._describe

    def crowded(worker: Worker, batch: _Batch) -> None:
        describe(worker, batch)
        for job in batch.jobs:
            if isinstance(job.result, People) and job.frame.stamp.frame_index == 2:
                job.result = replace(job.result, scores=np.ones(MAX_PEOPLE + 1, np.float32))

    monkeypatch.setattr(Worker, "_describe", crowded)
    system = running(made, tmp_path, pictures(tmp_path / "pictures", range(4)))
    assert system.ingest() == OK
    assert system.frames() == list(range(4))


def test_a_picture_that_no_receiver_would_take_ends_its_camera_with_one_clear_error(
    made: list[System], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = pictures(tmp_path / "pictures", range(2))
    wide = np.zeros((1, MAX_SIDE_PX + 1, 3), np.uint8)
    assert cv2.imwrite(str(source / "900.png"), wide)
    system = running(made, tmp_path, source)
    assert system.ingest() == SOURCE_FAILED
    assert system.frames() == [0, 1]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    (error,) = [each for each in errors if "cannot be sent" in each]
    assert f"frame 2 cannot be sent: a frame of {MAX_SIDE_PX + 1}x1 pixels" in error
    assert "Scale the pictures down" in error
