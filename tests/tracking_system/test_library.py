"""The library face: the services' cores behind four calls."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import tracking_system
from services.detector.extractor import FeatureExtractor
from services.detector.families import Networks, build
from services.ingest.clock import SystemClock
from services.store.history import History
from services.store.statistics import statistics
from shared.config import Config
from shared.errors import ConfigError, SourceError, StorageError, TrackingError
from shared.messages import LastSeen
from tracking_system import MultiCameraTracker

START_NS = 1_700_000_000 * 10**9
STEP_NS = 10**8

Image = NDArray[np.uint8]


@pytest.fixture(scope="session")
def plaza(shared_data: Path) -> list[Image]:
    """Four seconds of the plaza."""
    capture = cv2.VideoCapture(str(shared_data / "data/video/vtest.avi"))
    frames = []
    for _ in range(40):
        decoded, frame = capture.read()
        assert decoded
        frames.append(np.asarray(frame, np.uint8))
    capture.release()
    return frames


@pytest.fixture(scope="session")
def config(shared_data: Path) -> Config:
    return Config(
        models=str(shared_data / "models"), family="openvino", detector="person-detection-0200", threads=1
    )


@pytest.fixture(scope="session")
def networks(config: Config) -> Networks:
    return build(config)


Make = Callable[..., MultiCameraTracker]


@pytest.fixture
def make(config: Config, networks: Networks) -> Make:
    """Trackers that share the networks, which take long to load, and nothing else."""
    return lambda **more: MultiCameraTracker(config, extractor=FeatureExtractor(*networks, config), **more)


@pytest.fixture
def tracker(make: Make) -> Iterator[MultiCameraTracker]:
    with make() as tracker:
        yield tracker


def shown(
    tracker: MultiCameraTracker, frames: list[Image], camera: int = 1, start_ns: int = START_NS
) -> Image:
    """The last picture of some frames."""
    for number, frame in enumerate(frames):
        picture = tracker.process_frame(frame, camera, start_ns + number * STEP_NS)
    return picture


def somebody(tracker: MultiCameraTracker, frames: list[Image]) -> tuple[int, LastSeen]:
    """A person in the newest frame, found by clicking on a grid."""
    height, width = frames[0].shape[:2]
    tracker.toggle_selecting_mode()
    for y in range(0, height, 12):
        for x in range(0, width, 12):
            identity = tracker.click(1, x, y)
            if identity is not None:
                place = tracker.last_seen(identity)
                assert place is not None
                return identity, place
    pytest.fail("nobody was found")


@pytest.mark.data
def test_frames_come_back_as_annotated_copies(tracker: MultiCameraTracker, plaza: list[Image]) -> None:
    tracker.register_camera(1)
    before = plaza[-1].copy()
    picture = shown(tracker, plaza)
    assert picture.shape == before.shape
    assert picture.dtype == np.uint8
    assert (plaza[-1] == before).all()
    assert (picture != before).any()


@pytest.mark.data
def test_a_click_in_selecting_mode_follows_a_person(tracker: MultiCameraTracker, plaza: list[Image]) -> None:
    tracker.register_camera(1)
    plain = shown(tracker, plaza[:30])
    identity, place = somebody(tracker, plaza)
    assert [person.identity for person in tracker.followed().people] == [identity]
    assert (place.identity, place.camera) == (identity, 1)
    assert not tracker.selecting
    highlighted = tracker.process_frame(plaza[29], 1, START_NS + 30 * STEP_NS)
    assert (highlighted != plain).any()
    tracker.unfollow(identity)
    assert tracker.followed().people == ()


@pytest.mark.data
def test_a_window_can_hand_its_clicks_over(tracker: MultiCameraTracker, plaza: list[Image]) -> None:
    tracker.register_camera(1)
    shown(tracker, plaza[:30])
    identity, place = somebody(tracker, plaza)
    tracker.unfollow(identity)
    tracker.toggle_selecting_mode()
    handler = tracker.mouse_handler(1)
    handler(cv2.EVENT_MOUSEMOVE, round(place.x), round(place.y) - 5, 0, None)
    assert tracker.selecting
    handler(cv2.EVENT_LBUTTONDOWN, round(place.x), round(place.y) - 5, 0, None)
    assert len(tracker.followed().people) == 1


@pytest.mark.data
def test_a_click_outside_selecting_mode_or_on_nobody_does_nothing(
    tracker: MultiCameraTracker, plaza: list[Image]
) -> None:
    tracker.register_camera(1)
    shown(tracker, plaza[:5])
    assert tracker.click(1, 300, 300) is None
    assert tracker.toggle_selecting_mode()
    assert tracker.click(1, -5, -5) is None
    assert tracker.selecting
    assert not tracker.toggle_selecting_mode()


@pytest.mark.data
def test_the_same_frames_give_the_same_pictures(config: Config, make: Make, plaza: list[Image]) -> None:
    pictures = []
    for made in (MultiCameraTracker(config), make()):
        with made as tracker:
            tracker.register_camera(1)
            pictures.append(shown(tracker, plaza[:15]))
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.data
def test_a_database_holds_every_frame_and_knows_people_the_next_time(
    make: Make, plaza: list[Image], tmp_path: Path
) -> None:
    with make(data=tmp_path) as tracker:
        tracker.register_camera(1, "Plaza")
        shown(tracker, plaza[:30])
        identity, _ = somebody(tracker, plaza)
        tracker.name(identity, "Ada")
    with History(tmp_path) as history:
        camera = statistics(history).cameras[0]
        assert (camera.name, camera.frames, camera.missing, camera.ended) == ("Plaza", 30, 0, "stopped")
        place = history.last_seen(identity)
    assert place is not None
    assert (place.name, place.camera) == ("Ada", 1)
    with make(data=tmp_path) as tracker:
        assert [(person.identity, person.name) for person in tracker.followed().people] == [(identity, "Ada")]
        tracker.register_camera(1, "Plaza")
        shown(tracker, plaza[:3], start_ns=START_NS + 10**10)
    with History(tmp_path) as history:
        assert statistics(history).cameras[0].frames == 33


@pytest.mark.data
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "the frame is None"),
        ([[0]], "not list"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
    ],
)
def test_what_is_no_frame_is_a_clear_error(tracker: MultiCameraTracker, frame: Any, message: str) -> None:
    tracker.register_camera(1)
    with pytest.raises(SourceError, match=message):
        tracker.process_frame(frame, 1)


@pytest.mark.data
def test_tiny_and_changing_frames_are_taken(tracker: MultiCameraTracker) -> None:
    tracker.register_camera(1)
    for number, size in enumerate(((1, 1), (2, 300), (480, 640))):
        frame = np.zeros((*size, 3), np.uint8)
        assert tracker.process_frame(frame, 1, START_NS + number).shape == frame.shape


@pytest.mark.data
def test_time_that_does_not_advance_is_a_clear_error(tracker: MultiCameraTracker, plaza: list[Image]) -> None:
    tracker.register_camera(1)
    tracker.process_frame(plaza[0], 1, START_NS)
    with pytest.raises(SourceError, match="later than"):
        tracker.process_frame(plaza[1], 1, START_NS)


@pytest.mark.data
def test_a_system_clock_that_is_set_back_does_not_stop_a_camera(
    tracker: MultiCameraTracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker.register_camera(1)
    picture = np.zeros((48, 64, 3), np.uint8)
    utc_ns = SystemClock.utc_ns
    tracker.process_frame(picture, 1)
    monkeypatch.setattr(SystemClock, "utc_ns", lambda clock: utc_ns(clock) - 3600 * 10**9)
    tracker.process_frame(picture, 1)
    tracker.process_frame(picture, 1)
    assert [each.message for each in caplog.records if "clock was set back by 3600.0 s" in each.message]


def test_a_program_that_does_not_close_its_tracker_loses_nothing_when_it_ends(tmp_path: Path) -> None:
    code = f"""
import numpy as np
from services.detector.extractor import FeatureExtractor
from shared.config import Config
from tests.detector.fakes import MeanEmbedder, ScriptedDetector
from tracking_system import MultiCameraTracker

config = Config()
extractor = FeatureExtractor(ScriptedDetector(lambda _: []), MeanEmbedder(), config)
tracker = MultiCameraTracker(config, data={str(tmp_path)!r}, extractor=extractor)
tracker.register_camera(1)
for number in range(20):
    tracker.process_frame(np.zeros((48, 64, 3), np.uint8), 1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(tmp_path / "tracking.db")) as database:
        assert database.execute("SELECT count(*) FROM frames").fetchone() == (20,)


def test_cameras_must_be_registered_once_by_a_number(tracker: MultiCameraTracker, plaza: list[Image]) -> None:
    tracker.register_camera(1)
    with pytest.raises(ConfigError, match="registered already"):
        tracker.register_camera(1)
    with pytest.raises(ConfigError, match="whole number from 1"):
        tracker.register_camera("gate")  # type: ignore[arg-type] # that is the point
    for use in (lambda: tracker.process_frame(plaza[0], 2), lambda: tracker.click(2, 0, 0)):
        with pytest.raises(ConfigError, match="call register_camera first"):
            use()


@pytest.mark.data
def test_an_unknown_person_is_a_clear_error(tracker: MultiCameraTracker) -> None:
    with pytest.raises(TrackingError, match="no person 99"):
        tracker.follow(99)
    assert tracker.last_seen(99) is None


@pytest.mark.data
def test_a_closed_tracker_says_so(make: Make, plaza: list[Image]) -> None:
    tracker = make()
    tracker.register_camera(1)
    tracker.close()
    tracker.close()
    with pytest.raises(TrackingError, match="closed"):
        tracker.process_frame(plaza[0], 1)


@pytest.mark.data
def test_a_folder_that_cannot_be_made_is_a_clear_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        make(data=tmp_path / "file" / "data")


def test_the_package_offers_its_names_and_no_others() -> None:
    assert tracking_system.Config is Config
    assert tracking_system.TrackingError is TrackingError
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        tracking_system.Nothing  # noqa: B018 - looking it up is the test


@pytest.mark.data
def test_signals_are_handled_after_trackers_have_come_and_gone(config: Config) -> None:
    code = f"""
import os, signal
from tracking_system import Config, MultiCameraTracker
config = Config(models={config.models!r}, family="openvino", detector="person-detection-0200", threads=1)
first, second = MultiCameraTracker(config), MultiCameraTracker(config)
del first
del second
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
