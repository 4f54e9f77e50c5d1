"""Frames that ask for more memory than there is, or on which a stage fails, cost nothing else."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import psutil
import pytest

from services.detector import extractor as extractor_module
from services.detector.decode import LARGEST_POOL_BYTES, MemoryDecoder
from services.detector.extractor import FeatureExtractor
from services.detector.failure import FrameFailure
from services.detector.picture import Image, Picture
from services.detector.pool import PicturePool
from shared.config import Config
from shared.messages import Frame, FrameStamp, People
from tests.detector.fakes import HEIGHT, WIDTH, MeanEmbedder, ScriptedDetector
from tests.detector.test_worker import STANDING, Bench, jpeg_job
from tests.shared.pictures import header_says

SMALL = cv2.imencode(".jpg", np.full((48, 64), 128, np.uint8))[1].tobytes()
NEAR = 64 << 20


def hostile(side: int, padding: int = 0) -> Frame:
    """A few bytes that claim to be a large picture; `padding` more make the claim possible."""
    data = header_says(SMALL, side, side)
    body = random.Random(side).randbytes(padding).replace(b"\xff", b"\x00")
    return Frame(FrameStamp(1, 1, side, side, side, side), data[:-2] + body + data[-2:])


def rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("side", [8190, 8192, 8195, 32000])
def test_a_header_of_a_few_bytes_allocates_nothing(side: int) -> None:
    decoder = MemoryDecoder(PicturePool(8, 1 << 30, allocate=must_not_be_called))
    (failure,) = decoder.decode([hostile(side)])
    assert isinstance(failure, FrameFailure)


def must_not_be_called(shape: tuple[int, int, int]) -> Image:
    raise AssertionError(f"a buffer of {shape} was asked for")


def test_memory_is_back_after_damaged_frames_of_the_largest_size() -> None:
    decoder = MemoryDecoder()
    before = rss_bytes()
    for side in (8189, 8190, 8191, 8192):
        for frame in (hostile(side), hostile(side, padding=200_000)):
            (failure,) = decoder.decode([frame])
            assert isinstance(failure, FrameFailure)
    assert decoder.pool.misses == 4, "those with padding were worth a try"
    assert rss_bytes() - before < NEAR


def test_idle_buffers_are_bounded_by_their_bytes_and_the_size_used_longest_ago_goes_first() -> None:
    pool = PicturePool(100, 1000)
    buffers = {side: pool.acquire((side, 10, 1)) for side in (40, 30, 20)}
    for buffer in buffers.values():
        pool.release(buffer)
    assert pool.idle_bytes == 900
    pool.release(pool.acquire((15, 10, 1)))
    assert pool.idle_bytes == 650
    assert pool.acquire((30, 10, 1)) is buffers[30]
    assert pool.acquire((40, 10, 1)) is not buffers[40]


def test_a_buffer_larger_than_the_pool_is_not_kept() -> None:
    pool = PicturePool(100, 1000)
    pool.release(pool.acquire((1001, 1, 1)))
    assert pool.idle_bytes == 0
    assert LARGEST_POOL_BYTES < 1 << 30


def no_memory(*_: object, **__: object) -> None:
    raise MemoryError


class FailingDetector(ScriptedDetector):
    def detect(self, images: Sequence[Picture]):  # type: ignore[no-untyped-def]
        if any(int(np.asarray(each)[0, 0, 0]) == FAILING_GREY for each in images):
            no_memory()
        return super().detect(images)


FAILING_GREY = 41


def failing_decode() -> tuple[FeatureExtractor, MemoryDecoder]:
    decoder = MemoryDecoder()
    decode = decoder._decoded

    def maybe(frame: Frame) -> Image | FrameFailure:
        if frame.stamp.frame_index == 1:
            no_memory()
        return decode(frame)

    decoder._decoded = maybe  # type: ignore[method-assign]
    return sound_extractor(), decoder


def failing_allocation() -> tuple[FeatureExtractor, MemoryDecoder]:
    made = iter(range(100))

    def allocate(shape: tuple[int, int, int]) -> Image:
        if next(made) == 1:
            no_memory()
        return np.empty(shape, np.uint8)

    return sound_extractor(), MemoryDecoder(PicturePool(8, 1 << 30, allocate))


def failing_detect() -> tuple[FeatureExtractor, MemoryDecoder]:
    return FeatureExtractor(FailingDetector(lambda _: [STANDING]), MeanEmbedder(), Config()), MemoryDecoder()


def failing_describe() -> tuple[FeatureExtractor, MemoryDecoder]:
    extractor = sound_extractor()
    prepare = extractor._prepare

    @functools.wraps(prepare)
    def maybe(frame: Frame, *rest: object) -> object:
        if frame.stamp.frame_index == 1:
            no_memory()
        return prepare(frame, *rest)  # type: ignore[arg-type]

    extractor._prepare = maybe  # type: ignore[method-assign, assignment]
    return extractor, MemoryDecoder()


def failing_report() -> tuple[FeatureExtractor, MemoryDecoder]:
    extractor = sound_extractor()
    describe = extractor.describe

    def maybe(items: Sequence[tuple[Frame, Picture]], found: object) -> object:
        if any(frame.stamp.frame_index == 1 for frame, _ in items):
            no_memory()
        return describe(items, found)  # type: ignore[arg-type]

    extractor.describe = maybe  # type: ignore[method-assign, assignment]
    return extractor, MemoryDecoder()


def sound_extractor() -> FeatureExtractor:
    return FeatureExtractor(ScriptedDetector(lambda _: [STANDING]), MeanEmbedder(), Config())


@pytest.mark.parametrize(
    "failing", [failing_decode, failing_allocation, failing_detect, failing_describe, failing_report]
)
def test_a_memory_error_in_any_stage_fails_one_frame_only(
    failing: Callable[[], tuple[FeatureExtractor, MemoryDecoder]],
) -> None:
    extractor, decoder = failing()
    bench = Bench(extractor, decoder)
    bench.worker.put([jpeg_job(0, camera=1), jpeg_job(1, camera=2), jpeg_job(2, camera=3)])
    (jobs,) = bench.wait(1)
    assert [len(job.result.boxes) for job in jobs if isinstance(job.result, People)] == [1, 0, 1]
    bench.worker.put([jpeg_job(3, camera=2)])
    ((after,),) = bench.wait(1)
    assert isinstance(after.result, People)
    assert len(after.result.boxes) == 1
    assert bench.worker.failure is None
    assert bench.worker.readings()["failed_frames"] == 1
    bench.worker.stop(20)


def test_a_memory_error_while_people_are_embedded_costs_their_vectors_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extractor = sound_extractor()
    monkeypatch.setattr(extractor_module, "crop_qualities", no_memory)
    picture = np.full((HEIGHT, WIDTH, 3), 99, np.uint8)
    (people,) = extractor.extract([(Frame(FrameStamp(1, 1, 1, 1, WIDTH, HEIGHT), b""), picture)])
    assert isinstance(people, People)
    assert len(people.boxes) == 1
    assert not people.features
