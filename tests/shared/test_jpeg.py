"""What is read from the markers of a JPEG, and which ones are refused before they are decoded."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import MessageError
from shared.jpeg import JpegHeader, read_header
from shared.limits import MAX_AREA_PX, MAX_SIDE_PX
from tests.shared.pictures import header_says

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()


def encoded(picture: NDArray[np.uint8], *flags: int) -> bytes:
    return cv2.imencode(".jpg", picture, flags)[1].tobytes()


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("value", [0, 128, None])
def test_every_jpeg_that_the_ingest_makes_is_taken(quality: int, value: int | None) -> None:
    picture = PICTURE if value is None else np.full((1080, 1920, 3), value, np.uint8)
    for flags in ((), (cv2.IMWRITE_JPEG_OPTIMIZE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)):
        header = read_header(encoded(picture, cv2.IMWRITE_JPEG_QUALITY, quality, *flags))
        assert header == JpegHeader(picture.shape[1], picture.shape[0], 3)
    assert read_header(encoded(picture[:, :, 0])).components == 1


def test_a_picture_of_one_colour_holds_its_pixels_in_as_few_bytes_as_are_possible() -> None:
    grey = encoded(np.full((8192, 8192), 128, np.uint8), cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    assert read_header(grey) == JpegHeader(8192, 8192, 1)


def test_segments_and_fill_bytes_in_front_of_the_frame_are_passed_over() -> None:
    thumbnail = b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2, "big") + JPEG
    assert read_header(JPEG[:2] + thumbnail + b"\xff\xff" + JPEG[2:]) == JpegHeader(64, 48, 3)


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (8192, 8193, f"at most {MAX_AREA_PX} in all"),
        (MAX_SIDE_PX + 1, 8, f"1 to {MAX_SIDE_PX} a side"),
        (8192, 8192, "cannot hold"),
        (0, 48, "a side are allowed"),
        (64, 0, "a side are allowed"),
    ],
)
def test_a_size_that_no_frame_has_or_that_its_bytes_cannot_hold_is_refused(
    width: int, height: int, reason: str
) -> None:
    with pytest.raises(MessageError, match=reason):
        read_header(header_says(JPEG, width, height))


def test_a_progressive_jpeg_is_refused() -> None:
    with pytest.raises(MessageError, match="SOF2"):
        read_header(encoded(PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))


def test_a_second_frame_and_a_scan_of_one_component_are_refused() -> None:
    frame = JPEG.index(b"\xff\xc0")
    segment = JPEG[frame : frame + 19]
    with pytest.raises(MessageError, match="only one"):
        read_header(JPEG[:frame] + segment + JPEG[frame:])
    scan = JPEG.index(b"\xff\xda")
    with pytest.raises(MessageError, match="no whole scan"):
        read_header(JPEG[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + JPEG[scan:])


@given(st.binary(max_size=100), st.integers(0, len(JPEG)))
def test_any_bytes_are_a_jpeg_or_refused(noise: bytes, place: int) -> None:
    for data in (noise, JPEG[:place] + noise + JPEG[place + len(noise) :]):
        try:
            header = read_header(io.BytesIO(data).getbuffer())
        except MessageError as error:
            assert len(str(error)) < 200
        else:
            assert 0 < header.width * header.height <= MAX_AREA_PX
