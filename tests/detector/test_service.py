"""The detector's shell: one camera that the tracker will not hear does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.detector.extractor import FeatureExtractor
from services.detector.picture import Picture
from services.detector.service import DetectorService
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import LinkError
from shared.link_receiver import Delivered, LinkReceiver, Opened
from shared.link_sender import LinkSender
from shared.messages import End, Frame, FrameStamp
from tests.detector.fakes import MeanEmbedder, ScriptedDetector
from tests.detector.test_worker import Meeting
from tests.shared.wire import Context, pump_until

FRAMES = 12
SIZE = (64, 48)
CAMERAS = {camera: CameraConfig(camera, f"cam{camera}.mp4") for camera in (1, 2)}


def sees_nobody() -> FeatureExtractor:
    """An extractor whose networks see empty pictures only."""
    return FeatureExtractor(ScriptedDetector(lambda _: []), MeanEmbedder(), Config())


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    """A running detector, and where to reach it."""
    addresses = Endpoints.local(tmp_path)
    addresses.prepare()
    stop = threading.Event()
    service = DetectorService(CAMERAS, Config(batch_size=4), addresses, sees_nobody())
    thread = threading.Thread(target=service.run, args=(stop,), daemon=True)
    thread.start()
    yield addresses
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def context() -> Iterator[Context]:
    """Closes what a failed test leaves open."""
    made = Context()
    yield made
    made.destroy(linger=0)


class Camera:
    """A recording, or live, of grey frames; `refusal` is what it was told when it was not heard."""

    def __init__(self, context: Context, address: str, camera: int, live: bool = False) -> None:
        self.link = LinkSender(context, address, name="the detector")
        self.link.open(camera, 7, live=live)
        self.refusal = ""
        self._camera = camera
        self._jpeg = cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), 128, np.uint8))[1].tobytes()

    def pump(self) -> None:
        if self.refusal:
            return
        try:
            self.link.poll()
        except LinkError as error:
            self.refusal = str(error)
            return
        while (seq := self.link.position(self._camera)) is not None:
            if seq > FRAMES or not self.link.room(self._camera):
                return
            stamp = FrameStamp(self._camera, 7, seq, seq * 100_000_000, *SIZE)
            last = End(stamp, "finished", frames=FRAMES)
            self.link.send(self._camera, Frame(stamp, self._jpeg) if seq < FRAMES else last, seq)

    @property
    def safe(self) -> bool:
        return self.link.durable(self._camera) > FRAMES


class Tracker:
    """Stands in for the tracker: answers for all it is sent, but will not hear some cameras."""

    def __init__(self, context: Context, address: str, refused: set[int]) -> None:
        self._link = LinkReceiver(context, address)
        self._refused = refused
        self.got: dict[int, list[int]] = {}

    def pump(self) -> None:
        for event in self._link.receive():
            if isinstance(event, Opened) and event.stream in self._refused:
                self._link.refuse(event.stream, f"camera {event.stream} is not configured here")
            elif isinstance(event, Opened):
                self._link.accept(event.stream, event.first, 8)
            elif isinstance(event, Delivered):
                self.got.setdefault(event.stream, []).append(event.seq)
                self._link.acknowledge(event.stream, event.session, event.seq)
        self._link.flush()


def test_every_frame_passes_once_and_is_safe_only_when_the_tracker_answers_for_it(
    endpoints: Endpoints, context: Context
) -> None:
    cameras = [Camera(context, endpoints.frames, camera) for camera in CAMERAS]
    tracker = Tracker(context, endpoints.people, set())
    pump_until(lambda: all(camera.safe for camera in cameras), *(c.pump for c in cameras), tracker.pump)
    assert tracker.got == {camera: list(range(FRAMES + 1)) for camera in CAMERAS}


def test_a_camera_that_the_tracker_refuses_is_told_why_and_the_others_go_on(
    endpoints: Endpoints, context: Context
) -> None:
    heard, unheard = (Camera(context, endpoints.frames, camera) for camera in CAMERAS)
    tracker = Tracker(context, endpoints.people, {2})
    pump_until(lambda: heard.safe and bool(unheard.refusal), heard.pump, unheard.pump, tracker.pump)
    assert tracker.got == {1: list(range(FRAMES + 1))}
    assert "camera 2 is not configured here" in unheard.refusal


def test_a_camera_that_is_not_configured_is_refused_by_name(endpoints: Endpoints, context: Context) -> None:
    stranger = Camera(context, endpoints.frames, 9)
    pump_until(lambda: bool(stranger.refusal), stranger.pump)
    assert "camera 9 is not in the configuration of this detector" in stranger.refusal


class Attentive(MeanEmbedder):
    """Notes at each call whether, before long, people have been looked for in another batch."""

    def __init__(self, detector: Meeting) -> None:
        super().__init__()
        self._detector = detector
        self.met: list[bool] = []

    def embed(self, crops: Sequence[Picture]):  # type: ignore[no-untyped-def]
        self.met.append(self._detector.second.wait(5))
        return super().embed(crops)


def test_people_of_a_live_camera_are_looked_for_while_those_of_its_last_frame_are_described(
    tmp_path: Path, context: Context
) -> None:
    detector = Meeting()
    embedder = Attentive(detector)
    addresses = Endpoints.local(tmp_path)
    addresses.prepare()
    stop = threading.Event()
    extractor = FeatureExtractor(detector, embedder, Config())
    thread = threading.Thread(
        target=DetectorService(CAMERAS, Config(batch_size=1), addresses, extractor).run,
        args=(stop,),
        daemon=True,
    )
    thread.start()
    camera = Camera(context, addresses.frames, 1, live=True)
    tracker = Tracker(context, addresses.people, set())
    pump_until(lambda: len(tracker.got.get(1, [])) > 1, camera.pump, tracker.pump)
    stop.set()
    thread.join(20)
    assert embedder.met[0]
