from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.ingest import jpeg as jpeg_module
from services.ingest.jpeg import JpegEncoder
from services.ingest.pool import Image
from shared.errors import SourceError


@pytest.fixture
def image() -> Image:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_what_is_encoded_is_a_jpeg_close_to_the_picture(image: Image) -> None:
    jpeg = JpegEncoder(90).encode(image)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).mean() < 4


def test_the_bytes_are_one_flat_buffer_that_can_be_sent_as_it_is(image: Image) -> None:
    jpeg = JpegEncoder(90).encode(image)
    assert jpeg.contiguous and jpeg.format == "B" and jpeg.nbytes == len(jpeg)
    assert bytes(jpeg[:2]) == b"\xff\xd8" and bytes(jpeg[-2:]) == b"\xff\xd9"


def test_the_same_picture_gives_the_same_bytes_and_its_memory_may_be_used_again(image: Image) -> None:
    encoder = JpegEncoder(90)
    first = encoder.encode(image)
    kept = bytes(first)
    again = bytes(encoder.encode(image))
    image[:] = 0
    assert kept == again == bytes(first)


def test_a_higher_quality_takes_more_bytes(image: Image) -> None:
    assert len(JpegEncoder(95).encode(image)) > len(JpegEncoder(70).encode(image))


def test_a_picture_too_large_for_jpeg_is_refused() -> None:
    with pytest.raises(SourceError, match="frame of 70000x1 cannot be encoded"):
        JpegEncoder(90).encode(np.zeros((1, 70_000, 3), np.uint8))


def test_a_jpeg_longer_than_can_be_sent_is_refused(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_module, "MAX_JPEG_BYTES", 1000)
    with pytest.raises(SourceError, match=r"160x120 takes \d+ bytes as JPEG, at most 1000 .*jpeg_quality"):
        JpegEncoder(90).encode(image)
