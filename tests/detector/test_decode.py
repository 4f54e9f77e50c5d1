from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.decode import decode
from services.detector.failure import FrameFailure
from shared.messages import Frame, FrameStamp

STAMP = FrameStamp(camera=1, session=1, frame_index=5, t_ns=0, width=64, height=48)
PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 0)
JPEG = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.mark.parametrize("buffer", [JPEG, bytearray(JPEG), memoryview(JPEG)])
def test_a_jpeg_becomes_its_picture(buffer: bytes | bytearray | memoryview) -> None:
    image = decode(Frame(STAMP, buffer))
    assert isinstance(image, np.ndarray)
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - PICTURE).mean() < 4


@pytest.mark.parametrize(
    ("jpeg", "reason"),
    [
        (b"", "not a whole JPEG"),
        (JPEG[: len(JPEG) // 2], "not a whole JPEG"),
        (b"garbage" + JPEG[-2:], "damaged JPEG"),
        (cv2.imencode(".jpg", PICTURE[:40])[1].tobytes(), "64x40, its header says 64x48"),
    ],
)
def test_data_that_is_no_whole_picture_is_a_failure_with_its_reason(jpeg: bytes, reason: str) -> None:
    failure = decode(Frame(STAMP, jpeg))
    assert isinstance(failure, FrameFailure)
    assert failure.stamp is STAMP
    assert reason in failure.reason


@given(st.binary(max_size=200), st.integers(0, len(JPEG)))
@settings(deadline=None)
def test_no_bytes_whatever_raise(noise: bytes, place: int) -> None:
    for jpeg in (noise, JPEG[:place] + noise + JPEG[place + len(noise) :]):
        result = decode(Frame(STAMP, jpeg))
        assert isinstance(result, FrameFailure) or result.shape == (48, 64, 3)
