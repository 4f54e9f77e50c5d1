from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.detector.quality import crop, crop_quality, visibility


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_somebody_alone_is_wholly_visible() -> None:
    np.testing.assert_array_equal(visibility(boxes((10, 10, 50, 110)), 400, 300), [1])


def test_the_one_in_front_hides_the_one_behind_more_than_the_other_way_round() -> None:
    behind, front = visibility(boxes((100, 100, 140, 200), (120, 110, 160, 210)), 400, 300)
    assert behind == pytest.approx(1 - 0.45)
    assert front == pytest.approx(1 - 0.3 * 0.45)


def test_a_narrow_box_at_the_side_and_a_low_one_at_the_bottom_are_cut() -> None:
    narrow, low, whole = visibility(
        boxes((0, 0, 18, 100), (200, 250, 250, 300), (300, 100, 318, 200)), 400, 300
    )
    assert narrow == pytest.approx(2.8 * 18 / 100)
    assert low == pytest.approx(0.5)
    assert whole == 1


def test_a_sharp_large_crop_is_worth_more_than_a_blurred_or_a_small_one() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 8), np.uint8)
    assert 0 < crop_quality(blurred, 1.0) < crop_quality(sharp, 1.0) <= 1
    assert crop_quality(sharp[:40], 1.0) < crop_quality(sharp, 1.0)
    assert crop_quality(sharp, 0.5) == pytest.approx(crop_quality(sharp, 1.0) / 2)


@pytest.mark.parametrize("box", [(-9, -9, -5, -5), (99, 99, 200, 200), (3, 3, 3, 3), (0, 0, 100, 80)])
def test_a_crop_is_never_empty_nor_outside(box: tuple[float, ...]) -> None:
    part = crop(np.zeros((80, 100, 3), np.uint8), np.array(box, np.float32))
    assert 1 <= part.shape[0] <= 80 and 1 <= part.shape[1] <= 100
