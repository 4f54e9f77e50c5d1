from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq

from services.viewer import service
from services.viewer.controls import KEYS
from services.viewer.palette import ACCENT, WHITE
from services.viewer.scene import Scene
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import ConfigError, StorageError, TrackingError
from shared.feed import EVERYONE, FeedPublisher
from shared.messages import End, Followed, LastSeen
from shared.request import Fields, Responder, integer, number
from tests.viewer.samples import START_NS, frame, near, shown, stamp, tracks
from tests.viewer.screen import PATIENCE_S, Screen, wait_until

CAMERAS = {
    1: CameraConfig(1, "gate.mp4", "Gate"),
    2: CameraConfig(2, "yard.mp4", "Yard"),
}
BOX = (120.0, 80.0, 160.0, 200.0)
LAG = 20
"""Frames the stand-in tracker is behind the cameras."""


@dataclass
class Pipeline:
    """Stands in for cameras and tracker: publishes frames, tracks a while later, answers clicks."""

    endpoints: Endpoints
    context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)
    clicks: list[tuple[int, float, float]] = field(default_factory=list)
    unfollowed: list[int] = field(default_factory=list)
    refuse: str = ""

    def __post_init__(self) -> None:
        self.view = FeedPublisher(self.context, self.endpoints.view_out, bind=True)
        self.live = FeedPublisher(self.context, self.endpoints.live, bind=True)
        self.control = Responder(
            self.context, self.endpoints.control, {"click": self._click, "unfollow": self._unfollow}
        )

    def _click(self, fields: Fields) -> Fields:
        self.clicks.append((integer(fields, "camera"), number(fields, "x"), number(fields, "y")))
        if self.refuse:
            raise TrackingError(self.refuse)
        self.follow(7)
        return {"identity": 7}

    def _unfollow(self, fields: Fields) -> Fields:
        self.unfollowed.append(integer(fields, "identity"))
        self.live.publish(EVERYONE, Followed())
        return {}

    def follow(self, *identities: int) -> None:
        people = tuple(LastSeen(identity, "", 1, START_NS, 140.0, 200.0) for identity in identities)
        self.live.publish(EVERYONE, Followed(people))

    def watched(self) -> bool:
        return all(feed.watched(topic) for feed in (self.view, self.live) for topic in CAMERAS)

    def send_frame(self, index: int) -> None:
        for camera in CAMERAS:
            self.view.publish(camera, frame(stamp(camera, index)))

    def send_tracks(self, index: int) -> None:
        for camera in CAMERAS:
            self.live.publish(camera, tracks(stamp(camera, index), [BOX], [7]))

    def send_end(self, frames: int) -> None:
        for camera in CAMERAS:
            self.live.publish(camera, End(stamp(camera, frames), "finished", frames=frames))

    def close(self) -> None:
        self.view.close()
        self.live.close()
        self.control.close()
        self.context.term()


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    endpoints = Endpoints.local(tmp_path)
    endpoints.prepare()
    made = Pipeline(endpoints)
    yield made
    made.close()


class Running:
    """The viewer service in a thread of this process, for recordings."""

    def __init__(self, pipeline: Pipeline, record: Path) -> None:
        self.stop = threading.Event()
        self.code: int | None = None
        self.error: TrackingError | None = None

        def run() -> None:
            try:
                self.code = service.run(
                    CAMERAS, Config(), pipeline.endpoints, self.stop, record=record, window=False
                )
            except TrackingError as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)  # a failure must not hold up the end
        self.thread.start()
        wait_until(pipeline.watched, "the viewer subscribed")

    def finish(self) -> None:
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


def _read(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    pictures: list[np.ndarray] = []
    while (read := capture.read())[0]:
        pictures.append(read[1])
    return pictures


def _box_of(camera: int) -> tuple[slice, slice]:
    scene = Scene({camera: each.title for camera, each in CAMERAS.items()})
    for each in CAMERAS:
        scene.show(shown(each, 0), 0)
    scene.picture(1280, 720, 0)
    first, last = scene.point_of(camera, *BOX[:2]), scene.point_of(camera, *BOX[2:])
    assert first is not None
    assert last is not None
    return slice(round(first[1]) - 15, round(last[1]) + 15), slice(round(first[0]) - 15, round(last[0]) + 15)


def _is_marked(picture: np.ndarray, camera: int) -> bool:
    return bool(near(picture[_box_of(camera)], WHITE, 40).sum() > 500)


def test_a_recorded_run_is_recorded_to_its_end_with_every_frame_s_tracks(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    path = tmp_path / "run.mp4"
    running = Running(pipeline, path)
    pipeline.follow(7)
    for index in range(60 + LAG):
        if index < 60:
            pipeline.send_frame(index)
        if index >= LAG:
            pipeline.send_tracks(index - LAG)
    pipeline.send_end(60)
    running.finish()
    assert running.code == 0
    pictures = _read(path)
    assert len(pictures) == 60
    assert pictures[0].shape == (720, 1280, 3)
    for picture in pictures:
        assert _is_marked(picture, 1)
        assert _is_marked(picture, 2)


def test_a_recording_is_finished_when_the_viewer_is_stopped(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    running = Running(pipeline, path)
    for index in range(30):
        pipeline.send_frame(index)
        pipeline.send_tracks(index)
    wait_until(path.exists, "the recording began")
    running.stop.set()
    running.finish()
    assert running.code == 0
    assert len(_read(path)) >= 8


def test_frames_whose_tracks_never_came_are_recorded_without(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    running = Running(pipeline, path)
    for index in range(20):
        pipeline.send_frame(index)
    pipeline.send_end(20)
    running.finish()
    assert len(_read(path)) == 20


def test_the_end_may_overtake_the_last_frames(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    running = Running(pipeline, path)
    for index in range(10):
        pipeline.send_frame(index)
    pipeline.send_end(20)
    for index in range(10, 20):
        pipeline.send_frame(index)
    running.finish()
    assert len(_read(path)) == 20


def test_garbage_on_both_feeds_is_passed_over(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    running = Running(pipeline, path)
    random = np.random.default_rng(1)
    for index in range(20):
        pipeline.send_frame(index)
        pipeline.send_tracks(index)
        for feed in (pipeline.view, pipeline.live):
            for camera in CAMERAS:
                topic = b"TSF1" + camera.to_bytes(4, "big")
                feed.socket.send_multipart([topic, random.bytes(40), random.bytes(200)])
    pipeline.send_end(20)
    running.finish()
    assert running.code == 0
    assert len(_read(path)) == 20


def test_a_recording_that_cannot_be_written_is_one_error(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no folder"):
        service.run(
            CAMERAS,
            Config(),
            pipeline.endpoints,
            threading.Event(),
            record=tmp_path / "no" / "a.mp4",
            window=False,
        )


def test_neither_window_nor_recording_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigError, match="--record FILE"):
        service.run(CAMERAS, Config(), pipeline.endpoints, threading.Event(), record=None, window=False)


WINDOW_PROGRAM = """
import sys, threading
from pathlib import Path
from services.viewer import service
from shared.config import Config
from shared.endpoints import Endpoints
from tests.viewer.test_service import CAMERAS
sys.exit(service.run(CAMERAS, Config(), Endpoints.local(Path(sys.argv[1])), threading.Event()))
"""


@pytest.fixture
def viewer(screen: Screen, pipeline: Pipeline, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-c", WINDOW_PROGRAM, str(tmp_path)], env=screen.environment)
    wait_until(pipeline.watched, "the viewer subscribed")
    yield started
    started.kill()
    started.wait()


def _play_until(pipeline: Pipeline, condition: Callable[[], bool], what: str, first: int = 0) -> int:
    index = first

    def step() -> bool:
        nonlocal index
        pipeline.send_frame(index)
        pipeline.send_tracks(index)
        pipeline.control.serve()
        index += 1
        return condition()

    wait_until(step, what)
    return index


def test_a_click_in_the_window_follows_a_person_who_is_then_highlighted_in_every_camera(
    screen: Screen, pipeline: Pipeline, viewer: subprocess.Popen[bytes]
) -> None:
    window = screen.find(service.TITLE)

    def boxes_seen() -> bool:
        seen = screen.seen()[:720, :1280]
        return all(bool((seen[_box_of(camera)].std(axis=(0, 1)) > 5).all()) for camera in CAMERAS)

    index = _play_until(pipeline, boxes_seen, "people in both cameras")
    assert not _is_marked(screen.seen()[:720, :1280], 1)

    rows, columns = _box_of(2)
    index = _select(screen, pipeline, window, index)
    screen.click(window, (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2)
    index = _play_until(pipeline, lambda: bool(pipeline.clicks), "the click reached the tracker", index)
    camera, x, y = pipeline.clicks[0]
    assert camera == 2
    assert BOX[0] < x < BOX[2]
    assert BOX[1] < y < BOX[3]
    index = _play_until(
        pipeline,
        lambda: all(_is_marked(screen.seen()[:720, :1280], camera) for camera in CAMERAS),
        "the highlight in every camera",
        index,
    )

    _click_the_cross(screen, window)
    index = _play_until(pipeline, lambda: pipeline.unfollowed == [7], "the end of following", index)
    _play_until(
        pipeline, lambda: not _is_marked(screen.seen()[:720, :1280], 1), "the highlight has gone", index
    )
    screen.press(window, "q")
    assert viewer.wait(PATIENCE_S) == 0


def _select(screen: Screen, pipeline: Pipeline, window: str, first: int) -> int:
    screen.press(window, "s")

    def selecting() -> bool:
        return bool(near(screen.seen()[:720, :1280], ACCENT, 5).sum() > 2000)

    return _play_until(pipeline, selecting, "selecting mode", first)


def _click_the_cross(screen: Screen, window: str) -> None:
    scene = Scene({camera: each.title for camera, each in CAMERAS.items()})
    scene.follow(Followed((LastSeen(7, "", 1, START_NS, 0, 0),)))
    scene.picture(1280, 720, 0, keys=KEYS)
    spots = [(x, y) for x in range(1040, 1280, 4) for y in range(0, 200, 4) if scene.cross_at(x, y) == 7]
    screen.click(window, *spots[len(spots) // 2])


def test_a_refused_click_is_told_and_the_viewer_goes_on(
    screen: Screen, pipeline: Pipeline, viewer: subprocess.Popen[bytes]
) -> None:
    pipeline.refuse = "nobody is there"
    window = screen.find(service.TITLE)
    index = _select(screen, pipeline, window, 0)
    rows, columns = _box_of(1)
    screen.click(window, (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2)
    index = _play_until(pipeline, lambda: bool(pipeline.clicks), "the click reached the tracker", index)
    screen.press(window, "q")
    assert viewer.wait(PATIENCE_S) == 0


def test_without_a_display_the_service_says_what_to_do(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TrackingError, match="--record FILE"):
        service.run(CAMERAS, Config(), pipeline.endpoints, threading.Event())
