from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.ingest.jpeg import JpegEncoder
from services.ingest.motion import MotionEstimator
from services.ingest.pool import Image
from services.ingest.stream import VideoStream
from shared.config import CameraConfig, Config
from shared.messages import Motion

IDENTITY = np.eye(2, 3, dtype=np.float32)
MARGIN_PX = 60


def texture(width: int, height: int, seed: int = 0) -> Image:
    """A picture with detail of all sizes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for cells in (4, 12, 40):
        noise = rng.random((cells * height // width + 2, cells, 3), dtype=np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image * 85, 0, 255), np.uint8)


def warp(
    image: Image, shift: tuple[float, float], zoom: float = 1.0, turn_deg: float = 0.0
) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn_deg, zoom)
    matrix[:, 2] += np.array(shift)
    return np.asarray(matrix, np.float64)


def moved(image: Image, matrix: NDArray[np.float64]) -> tuple[Image, Image, NDArray[np.float64]]:
    """The picture before and after, both cut so that the border is real, and the matrix in their pixels."""
    height, width = image.shape[:2]
    after = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    inner = np.s_[MARGIN_PX : height - MARGIN_PX, MARGIN_PX : width - MARGIN_PX]
    cut = matrix.copy()
    cut[:, 2] += (matrix[:, :2] - np.eye(2)) @ (MARGIN_PX, MARGIN_PX)
    return np.ascontiguousarray(image[inner]), np.ascontiguousarray(after[inner], np.uint8), cut


def measured(before: Image, after: Image) -> Motion:
    estimator = MotionEstimator()
    assert estimator.measure(before) is None
    motion = estimator.measure(after)
    assert motion is not None
    return motion


def corner_error_px(image: Image, found: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    height, width = image.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    return float(np.abs(corners @ found.T - corners @ true.T).max())


@pytest.fixture(scope="module")
def plaza(shared_data: Path) -> list[Image]:
    stream = VideoStream(CameraConfig(1, str(shared_data / "data" / "video" / "vtest.avi")), Config())
    with stream:
        return [frame.image for frame, _ in zip(stream, range(60), strict=False)]


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-25, 25),
    st.floats(-25, 25),
    st.floats(0.97, 1.03),
    st.floats(-1.5, 1.5),
    st.sampled_from([(768, 576), (1280, 720), (432, 768)]),
)
def test_the_cameras_motion_is_found_to_about_a_pixel(
    dx: float, dy: float, zoom: float, turn_deg: float, size: tuple[int, int]
) -> None:
    image = texture(*size)
    before, after, true = moved(image, warp(image, (dx, dy), zoom, turn_deg))
    found = measured(before, after).camera
    assert corner_error_px(before, found, true) < 2.5 * max(size) / 768


@settings(max_examples=15, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_the_grid_says_how_far_each_cell_moved_in_pixels_of_the_frame(dx: float, dy: float) -> None:
    image = texture(768, 576)
    before, after, _ = moved(image, warp(image, (dx, dy)))
    grid = measured(before, after).grid
    error = np.abs(grid[2:-2, 2:-2] - (dx, dy))
    assert np.median(error) < 0.5


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((768, 576), (12, 16, 2)),
        ((1280, 720), (9, 16, 2)),
        ((1088, 1920), (16, 9, 2)),
        ((640, 640), (16, 16, 2)),
        ((2000, 100), (4, 16, 2)),  # never fewer than four
        ((20, 15), (12, 16, 2)),  # smaller than the grid's own resolution
    ],
)
def test_the_grid_follows_the_shape_of_the_frame(size: tuple[int, int], shape: tuple[int, int, int]) -> None:
    image = texture(*size)
    motion = measured(image, image)
    assert motion.grid.shape == shape
    assert motion.grid.dtype == motion.camera.dtype == np.float32
    assert not motion.grid.any()
    assert np.array_equal(motion.camera, IDENTITY)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 8), st.floats(0.9, 1.1), st.floats(-10, 10), st.integers(0, 100))
def test_noise_and_light_do_not_move_a_camera_that_stands_still(
    noise: float, contrast: float, light: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = texture(640, 480, seed)

    def seen(gain: float, offset: float) -> Image:
        return np.asarray(
            np.clip(image * gain + offset + rng.normal(0, noise, image.shape), 0, 255), np.uint8
        )

    assert np.array_equal(measured(seen(1, 0), seen(contrast, light)).camera, IDENTITY)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_without_texture_has_no_motion(value: int) -> None:
    image = np.full((480, 640, 3), value, np.uint8)
    motion = measured(image, image)
    assert not motion.grid.any()
    assert np.array_equal(motion.camera, IDENTITY)


def test_pictures_that_have_nothing_in_common_are_taken_for_a_camera_that_stands_still() -> None:
    assert np.array_equal(measured(texture(640, 480, 1), texture(640, 480, 2)).camera, IDENTITY)


def test_somebody_who_crosses_half_the_picture_does_not_move_the_camera() -> None:
    background, person = texture(768, 576, 1), texture(500, 500, 2)
    before, after = background.copy(), background.copy()
    before[40:540, 100:500] = person[:, :400]
    after[40:540, 112:512] = person[:, :400]
    motion = measured(before, after)
    assert np.array_equal(motion.camera, IDENTITY)
    assert np.median(motion.grid[4:9, 5:8, 0]) == pytest.approx(12, abs=1)


def test_people_who_walk_against_a_pan_do_not_spoil_it() -> None:
    background, person = texture(888, 696, 1), texture(300, 400, 2)
    before, after, true = moved(background, warp(background, (9, 0)))
    before[100:500, 200:350] = person[:400, :150]
    after[100:500, 190:340] = person[:400, :150]
    assert corner_error_px(before, measured(before, after).camera, true) < 2


def test_the_first_frame_and_the_first_of_another_size_have_no_motion() -> None:
    estimator = MotionEstimator()
    small, large = texture(320, 240), texture(640, 480)
    assert estimator.measure(small) is None
    assert estimator.measure(small) is not None
    assert estimator.measure(large) is None
    assert estimator.measure(large) is not None
    estimator.reset()
    assert estimator.measure(large) is None


def test_the_picture_may_be_overwritten_after_it_was_measured() -> None:
    image = texture(768, 576)
    before, after, _ = moved(image, warp(image, (10, 0)))
    estimator, buffer = MotionEstimator(), before.copy()
    estimator.measure(buffer)
    buffer[:] = after
    motion, expected = estimator.measure(buffer), measured(before, after)
    assert motion is not None
    assert np.array_equal(motion.grid, expected.grid)


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    image = texture(768, 576)
    before, after, _ = moved(image, warp(image, (6, 2), 1.01, 0.5))
    threads = cv2.getNumThreads()
    try:
        results = []
        for number in (1, 2, 4):
            cv2.setNumThreads(number)
            motion = measured(before, after)
            results.append(motion.grid.tobytes() + motion.camera.tobytes())
    finally:
        cv2.setNumThreads(threads)
    assert len(set(results)) == 1


@pytest.mark.data
def test_a_real_camera_that_stands_still_has_exactly_the_identity(plaza: list[Image]) -> None:
    estimator = MotionEstimator()
    motions = [motion for image in plaza if (motion := estimator.measure(image))]
    assert len(motions) == len(plaza) - 1
    assert all(np.array_equal(motion.camera, IDENTITY) for motion in motions)
    assert max(np.abs(motion.grid).max() for motion in motions) > 2, "people walk"


@pytest.mark.data
@pytest.mark.parametrize(
    ("shift", "zoom", "turn_deg"),
    [
        ((1, 0), 1, 0),
        ((8, -5), 1, 0),
        ((30, 10), 1, 0),
        ((0, 0), 1.02, 0),
        ((0, 0), 1, 1),
        ((5, 3), 0.99, 0.5),
    ],
)
def test_a_real_picture_that_is_shifted_zoomed_or_turned_shows_it(
    plaza: list[Image], shift: tuple[float, float], zoom: float, turn_deg: float
) -> None:
    before, after, true = moved(plaza[0], warp(plaza[0], shift, zoom, turn_deg))
    assert corner_error_px(before, measured(before, after).camera, true) < 1.5


@pytest.mark.data
def test_two_runs_over_a_recording_give_the_same_frames_motion_and_jpeg(shared_data: Path) -> None:
    camera = CameraConfig(1, str(shared_data / "data" / "video" / "vtest.avi"), start_ns=10**18)
    digests = []
    for _ in range(2):
        digest, estimator, encoder = hashlib.sha256(), MotionEstimator(), JpegEncoder(90)
        with VideoStream(camera, Config()) as stream:
            for frame in stream:
                motion = estimator.measure(frame.image)
                digest.update(f"{frame.index} {frame.t_ns} {motion is None}".encode())
                digest.update(encoder.encode(frame.image))
                if motion is not None:
                    digest.update(motion.grid.tobytes() + motion.camera.tobytes())
                frame.release()
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]
