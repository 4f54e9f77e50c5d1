from __future__ import annotations

import cv2
import numpy as np
import psutil

from services.detector.decode import MemoryDecoder
from services.detector.failure import FrameFailure
from services.detector.pool import PicturePool
from shared.messages import Frame, FrameStamp


def test_a_released_buffer_is_handed_out_again() -> None:
    pool = PicturePool(2, 1 << 20)
    first = pool.acquire((4, 6, 3))
    assert pool.acquire((4, 6, 3)) is not first, "never while it is in use"
    pool.release(first)
    assert pool.acquire((4, 6, 3)) is first
    assert pool.hit_rate == 1 / 3


def test_sizes_are_kept_apart_and_the_one_used_longest_ago_goes_first() -> None:
    pool = PicturePool(2, 1 << 20)
    small, middle, large = (pool.acquire((side, side, 3)) for side in (2, 4, 8))
    for each in (small, middle, large):
        pool.release(each)
    assert pool.acquire((4, 4, 3)) is middle and pool.acquire((8, 8, 3)) is large
    assert pool.acquire((2, 2, 3)) is not small


def jpeg_frames(count: int, width: int, height: int) -> list[Frame]:
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", cv2.resize(noise, (width, height)))[1].tobytes()
    return [Frame(FrameStamp(1, 1, n, n, width, height), jpeg) for n in range(count)]


def test_decoding_thousands_of_frames_keeps_memory_flat_and_takes_no_new_buffers() -> None:
    decoder = MemoryDecoder()
    process = psutil.Process()
    sizes = [jpeg_frames(8, 640, 360), jpeg_frames(8, 320, 180)]

    def batches(count: int) -> int:
        for n in range(count):
            pictures = decoder.decode(sizes[n % 2])
            assert not any(isinstance(each, FrameFailure) for each in pictures)
            decoder.release([each for each in pictures if not isinstance(each, FrameFailure)])
        return int(process.memory_info().rss)

    before = batches(20)
    after = batches(250)
    assert after - before < 4 << 20, "of 2000 frames, 875 MB decoded"
    assert decoder.pool.misses == 16 and decoder.pool.hit_rate > 0.99


def test_a_frame_that_cannot_be_decoded_gives_its_buffer_back() -> None:
    decoder = MemoryDecoder()
    (whole,) = jpeg_frames(1, 320, 180)
    middle = len(whole.jpeg) // 2
    broken = Frame(
        whole.stamp, bytes(whole.jpeg)[:middle] + b"\xff\xc4\x00\x02" + bytes(whole.jpeg)[middle + 4 :]
    )
    for _ in range(5):
        (failure,) = decoder.decode([broken])
        assert isinstance(failure, FrameFailure) and "damaged JPEG" in failure.reason
    assert decoder.pool.misses == 1


def test_frames_decoded_on_several_cores_come_in_their_order() -> None:
    frames = [*jpeg_frames(5, 64, 48), *jpeg_frames(5, 48, 64)]
    shapes = [each.shape for each in MemoryDecoder(workers=3).decode(frames) if isinstance(each, np.ndarray)]
    assert shapes == [(48, 64, 3)] * 5 + [(64, 48, 3)] * 5
