"""A machine's clock is set while people walk by: who they are must not depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from services.ingest.service import IngestService
from services.ingest.stream import VideoStream
from services.tracker.core import TrackerCore
from services.tracker.watermark import Watermark
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.messages import Frame, Tracks
from tests.ingest.chain import Detector, FedSource, Running
from tests.ingest.fakes import FakeClock, picture
from tests.shared.wire import Context
from tests.tracker.scene import HEIGHT, WIDTH, look, people

FPS = 10
PEOPLE = 6
EVERY_S = 5
CAMERA = 3


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    yield made
    made.destroy(linger=0)


def back_once(second: int) -> float:
    return -3600 if second == 10 else 0


def forward_and_corrected(second: int) -> float:
    return {10: 3600, 20: -3600}.get(second, 0)


def often_a_little(second: int) -> float:
    return -0.04 if second else 0


def unset(second: int) -> float:
    del second
    return 0


@pytest.mark.parametrize("step_s", [unset, back_once, forward_and_corrected, often_a_little])
def test_six_people_are_six_whatever_happens_to_the_clock(
    step_s: Callable[[int], float], context: Context, tmp_path: Path
) -> None:
    """One person every five seconds, in view for three of them."""
    endpoints = Endpoints.local(tmp_path)
    endpoints.prepare()
    camera, config, clock, source = CameraConfig(CAMERA, "0"), Config(), FakeClock(), FedSource()
    stream = VideoStream(camera, config, clock=clock, source=lambda _: source)
    detector = Detector(context, endpoints.frames)
    tracker = Tracker(config)
    service = IngestService(camera, config, endpoints, stream=stream)

    def handled(frames: int) -> bool:
        # What comes before the receiver has answered for a new session is not sent, as with any live camera.
        return service._sent + service._unsent == frames and len(detector.messages) == service._sent

    with Running(service) as running:
        detector.until(lambda: bool(detector.sessions))
        for number in range(PEOPLE * EVERY_S * FPS):
            clock.advance(1 / FPS)
            if number % FPS == 0:
                clock.utc_offset_ns += round(step_s(number // FPS) * 1e9)
            before = len(detector.messages)
            source.pictures.put(picture(number % 256))
            detector.until(partial(handled, number + 1))
            for _, message in detector.messages[before:]:
                assert isinstance(message, Frame)
                tracker.take(message, number)
        running.stop.set()
        detector.until(lambda: running.over)
    assert len(set(tracker.seen)) == PEOPLE
    assert tracker.latest_wait_ns <= config.live_wait_ms * 1e6
    assert len(detector.sessions) == 1 + sum(abs(step_s(second)) > 0.5 for second in range(PEOPLE * EVERY_S))


class Tracker:
    """What the tracker service does with frames, with the boxes and looks that the test knows."""

    def __init__(self, config: Config) -> None:
        self.seen: list[int] = []
        self.latest_wait_ns = 0
        self._core = TrackerCore(config)
        self._watermark: Watermark[tuple[int, object]] = Watermark((), int(config.live_wait_ms * 1e6))

    def take(self, frame: Frame, number: int) -> None:
        now_ns = number * 10**9 // FPS
        person, moment = divmod(number, EVERY_S * FPS)
        boxes = [[100 + 8 * moment, 100, 160 + 8 * moment, 260]] if moment < 3 * FPS else []
        vectors = np.stack([look(person, 0.1, number)]) if boxes else None
        stamp = replace(frame.stamp, width=WIDTH, height=HEIGHT)
        message = replace(people(boxes, camera=CAMERA, vectors=vectors), stamp=stamp)
        self._watermark.add(CAMERA, frame.stamp.t_ns, (now_ns, message), live=True, now_ns=now_ns)
        for came_ns, due in self._watermark.ready(now_ns):
            self.latest_wait_ns = max(self.latest_wait_ns, now_ns - came_ns)
            tracks = self._core.process(due)  # type: ignore[arg-type]
            assert isinstance(tracks, Tracks)
            self.seen += [each for each in tracks.identity_ids.tolist() if each]
