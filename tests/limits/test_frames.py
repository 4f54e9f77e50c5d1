"""Limits on frames: one clear error where a picture enters, and no memory for what a stranger sends."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from services.detector.batcher import Batcher
from services.detector.decode import LARGEST_POOL, LARGEST_POOL_BYTES
from services.detector.pool import PicturePool
from services.detector.service import MAX_BATCH_PX
from services.ingest.jpeg import JpegEncoder
from services.ingest.service import SOURCE_FAILED
from shared.errors import MessageError, SourceError
from shared.jpeg import MOST_PX_PER_BYTE, read_header
from shared.limits import MAX_AREA_PX, MAX_JPEG_BYTES, MAX_SIDE_PX
from tests.ingest.test_service import System, made, pictures, running  # noqa: F401
from tests.limits.table import covers
from tests.shared.pictures import header_says

SMALL = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def jpeg(width: int, height: int, size: int) -> bytes:
    """A JPEG of this many bytes whose header says another size in pixels."""
    return header_says(SMALL[:-2] + bytes(size - len(SMALL)) + SMALL[-2:], width, height)


@covers("shared.limits.MAX_SIDE_PX", "shared.limits.MAX_AREA_PX", "shared.jpeg.MOST_PX_PER_BYTE")
def test_the_largest_header_of_a_jpeg_is_read_and_a_larger_one_is_refused() -> None:
    enough = MAX_AREA_PX // MOST_PX_PER_BYTE
    assert read_header(jpeg(MAX_SIDE_PX, 8, enough)).width == MAX_SIDE_PX
    assert read_header(jpeg(8192, 8192, enough)).height == 8192
    for width, height, size, limit in (
        (MAX_SIDE_PX + 1, 8, enough, f"1 to {MAX_SIDE_PX} a side"),
        (8192, 8193, 2 * enough, f"at most {MAX_AREA_PX} in all"),
        (8192, 8192, enough - 1, f"{enough - 1} bytes cannot hold 8192x8192 pixels"),
    ):
        with pytest.raises(MessageError, match=limit):
            read_header(jpeg(width, height, size))


@covers("shared.limits.MAX_JPEG_BYTES")
def test_a_picture_whose_jpeg_is_too_long_to_be_sent_is_refused_with_what_to_do() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (6000, 6000, 3), np.uint8)
    with pytest.raises(SourceError, match=f"at most {MAX_JPEG_BYTES} can be sent: lower `jpeg_quality`"):
        JpegEncoder(100).encode(noise)
    assert len(JpegEncoder(50).encode(noise)) < MAX_JPEG_BYTES


@covers("shared.limits.MAX_SIDE_PX")
def test_a_recording_with_a_picture_at_the_limit_is_stored_and_ends_at_one_beyond(
    made: list[System],  # noqa: F811
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = pictures(tmp_path / "pictures", range(1))
    for number, width in ((900, MAX_SIDE_PX), (901, MAX_SIDE_PX + 1)):
        assert cv2.imwrite(str(source / f"{number}.png"), np.zeros((16, width, 3), np.uint8))
    system = running(made, tmp_path, source)
    assert system.ingest() == SOURCE_FAILED
    assert system.frames() == [0, 1]
    said = f"a frame of {MAX_SIDE_PX + 1}x16 pixels, at most {MAX_SIDE_PX}"
    assert [each for each in caplog.records if each.levelname == "ERROR" and said in each.getMessage()]


@covers("services.detector.service.MAX_BATCH_PX")
def test_frames_that_are_too_large_together_are_divided_into_batches() -> None:
    batcher: Batcher[int] = Batcher(8, 0, weight=lambda area_px: area_px, heaviest=MAX_BATCH_PX)
    for camera, area_px in enumerate((MAX_AREA_PX, MAX_BATCH_PX - MAX_AREA_PX, 1)):
        batcher.add(camera, area_px, live=False, now_ns=0)
    assert [batcher.next_batch(0), batcher.next_batch(0)] == [[MAX_AREA_PX, MAX_BATCH_PX - MAX_AREA_PX], [1]]


@covers("services.detector.decode.LARGEST_POOL_BYTES")
def test_idle_pictures_are_kept_up_to_the_limit() -> None:
    pool = PicturePool(LARGEST_POOL, LARGEST_POOL_BYTES)
    side = 8192
    buffers = [pool.acquire((side, side + extra, 3)) for extra in range(4)]
    for each in buffers:
        pool.release(each)
    assert LARGEST_POOL_BYTES - 3 * side * (side + 4) < pool.idle_bytes <= LARGEST_POOL_BYTES
