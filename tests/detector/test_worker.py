from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pytest

from services.detector.budget import LONGEST
from services.detector.decode import MemoryDecoder
from services.detector.extractor import FeatureExtractor
from services.detector.picture import Picture, pixels
from services.detector.worker import Job, Worker
from shared.config import Config
from shared.messages import Frame, FrameStamp, People
from tests.detector.fakes import HEIGHT, WIDTH, MeanEmbedder, ScriptedDetector

STANDING = (100.0, 60.0, 140.0, 160.0, 0.9)


def jpeg_job(number: int, camera: int = 1, live: bool = False) -> Job:
    picture = np.full((HEIGHT, WIDTH, 3), 40 + number, np.uint8)
    stamp = FrameStamp(camera, 1, number, number * 100_000_000, WIDTH, HEIGHT)
    return Job(Frame(stamp, cv2.imencode(".jpg", picture)[1].tobytes()), live)


class Bench:
    """A worker and what it has finished."""

    def __init__(self, extractor: FeatureExtractor, decoder: MemoryDecoder | None = None) -> None:
        self._news = threading.Semaphore(0)
        self.decoder = decoder or MemoryDecoder()
        self.worker = Worker(extractor, self.decoder, self._news.release)
        self.worker.start()

    def wait(self, batches: int) -> list[list[Job]]:
        while self.worker.done.qsize() < batches and self.worker.failure is None:
            assert self._news.acquire(timeout=20)
        return [self.worker.done.get_nowait() for _ in range(self.worker.done.qsize())]


class Meeting(ScriptedDetector):
    """Waits, in its second batch, until the first one is being embedded: possible only side by side."""

    def __init__(self) -> None:
        super().__init__(lambda _: [STANDING])
        self.second = threading.Event()

    def detect(self, images: Sequence[Picture]):  # type: ignore[no-untyped-def]
        if self.batches:
            self.second.set()
        return super().detect(images)


class Waiting(MeanEmbedder):
    def __init__(self, until: threading.Event) -> None:
        super().__init__()
        self._until = until

    def embed(self, crops: Sequence[Picture]):  # type: ignore[no-untyped-def]
        assert self._until.wait(20), "the next batch was not detected in while this one was described"
        return super().embed(crops)


def test_the_next_batch_is_detected_in_while_people_of_this_one_are_described() -> None:
    detector = Meeting()
    bench = Bench(FeatureExtractor(detector, Waiting(detector.second), Config()))
    for number in (1, 2):
        bench.worker.put([jpeg_job(number)])
    first, second = bench.wait(2)
    assert [each.frame.stamp.frame_index for each in (*first, *second)] == [1, 2]
    bench.worker.stop(20)


def test_batches_come_out_in_their_order_with_results_and_their_buffers_are_used_again() -> None:
    bench = Bench(FeatureExtractor(ScriptedDetector(lambda _: [STANDING]), MeanEmbedder(), Config()))
    done = []
    for number in range(0, 24, 2):
        bench.worker.put([jpeg_job(number), jpeg_job(number + 1, camera=2)])
        done += bench.wait(1)
    jobs = [job for batch in done for job in batch]
    assert [job.frame.stamp.frame_index for job in jobs] == list(range(24))
    assert all(isinstance(job.result, People) and len(job.result.boxes) == 1 for job in jobs)
    assert bench.decoder.pool.misses == 2 and bench.worker.readings()["buffer_hit_rate"] > 0.9
    bench.worker.stop(20)


def test_a_frame_that_cannot_be_decoded_is_one_in_which_nobody_was_seen() -> None:
    bench = Bench(FeatureExtractor(ScriptedDetector(lambda _: [STANDING]), MeanEmbedder(), Config()))
    broken = jpeg_job(1)
    broken.frame = Frame(broken.frame.stamp, b"no JPEG")
    bench.worker.put([jpeg_job(0), broken, jpeg_job(2)])
    ((one, two, three),) = bench.wait(1)
    assert [len(job.result.boxes) for job in (one, two, three) if isinstance(job.result, People)] == [1, 0, 1]
    assert bench.worker.readings()["failed_frames"] == 1
    bench.worker.stop(20)


def test_an_error_of_the_programs_own_reaches_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = FeatureExtractor(ScriptedDetector(lambda _: []), MeanEmbedder(), Config())

    def broken(*_: object) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(extractor, "ease", broken)
    bench = Bench(extractor)
    bench.worker.put([jpeg_job(0)])
    assert bench.wait(1) == []
    assert isinstance(bench.worker.failure, TypeError)
    bench.worker.stop(20)


def test_live_cameras_are_eased_and_recordings_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = FeatureExtractor(ScriptedDetector(lambda _: [STANDING]), MeanEmbedder(), Config())
    eased: list[dict[int, float]] = []
    ease = extractor.ease

    def noted(cameras: Mapping[int, float]) -> None:
        eased.append(dict(cameras))
        ease(cameras)

    monkeypatch.setattr(extractor, "ease", noted)
    bench = Bench(extractor)
    bench.worker._budget.stretch = LONGEST
    bench.worker.put([jpeg_job(0, camera=1, live=True), jpeg_job(0, camera=2)])
    bench.wait(1)
    assert eased == [{1: LONGEST}]
    bench.worker.stop(20)


def test_pictures_keep_their_pixels_until_everybody_is_done_with_them() -> None:
    seen: list[int] = []

    class Looking(MeanEmbedder):
        def embed(self, crops: Sequence[Picture]):  # type: ignore[no-untyped-def]
            seen.extend(int(pixels(each)[5, 5, 0]) for each in crops)
            return super().embed(crops)

    bench = Bench(FeatureExtractor(ScriptedDetector(lambda _: [STANDING]), Looking(), Config()))
    for camera in range(1, 13):
        bench.worker.put([jpeg_job(62 + 3 * camera, camera=camera)])  # in usual light
    bench.wait(12)
    assert np.abs(np.array(seen) - [102 + 3 * camera for camera in range(1, 13)]).max() <= 1
    bench.worker.stop(20)
