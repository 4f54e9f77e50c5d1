from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector import colour
from services.detector.picture import Image

NEUTRAL = np.ones(3, np.float32)


def plain(blue: int, green: int, red: int) -> Image:
    return np.full((6, 6, 3), (blue, green, red), np.uint8)


def named(*bgr: int) -> str:
    return colour.name(colour.shares(colour.lab(plain(*bgr), NEUTRAL)))


@pytest.mark.parametrize(
    ("bgr", "name"),
    [
        ((255, 255, 255), "white"),
        ((0, 0, 0), "black"),
        ((128, 128, 128), "grey"),
        ((0, 0, 255), "red"),
        ((0, 255, 0), "green"),
        ((255, 0, 0), "blue"),
        ((0, 255, 255), "yellow"),
        ((0, 165, 255), "orange"),
        ((255, 255, 0), "turquoise"),
        ((128, 0, 128), "purple"),
        ((128, 0, 0), "dark blue"),
        ((60, 30, 20), "dark blue"),
        ((180, 105, 255), "pink"),
        ((30, 60, 110), "brown"),
        ((170, 200, 220), "beige"),
        ((40, 60, 20), "dark green"),
    ],
)
def test_plain_colours_have_their_everyday_names(bgr: tuple[int, int, int], name: str) -> None:
    assert named(*bgr) == name


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_every_colour_has_shares_that_sum_to_one(bgr: tuple[int, int, int]) -> None:
    shares = colour.shares(colour.lab(plain(*bgr), NEUTRAL))
    assert shares.shape == (len(colour.NAMES),) and shares.dtype == np.float32
    assert (shares >= 0).all() and shares.sum() == pytest.approx(1, abs=1e-4)


def test_two_colours_share_in_proportion_to_their_pixels() -> None:
    image = plain(0, 0, 0)
    image[:2] = 255
    shares = colour.shares(colour.lab(image, NEUTRAL))
    white, black = (colour.shares(colour.lab(plain(v, v, v), NEUTRAL)) for v in (255, 0))
    np.testing.assert_allclose(shares, white / 3 + black * 2 / 3, atol=1e-5)


def test_tinted_light_is_taken_out_within_bounds() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 200, (12, 16, 3), np.uint8)
    scene = np.asarray(cv2.resize(noise, (320, 240)), np.uint8)
    tint = np.array([0.85, 1.0, 1.15])
    tinted = np.clip(scene * tint, 0, 255).astype(np.uint8)
    ratio = colour.light(scene) / colour.light(tinted)
    np.testing.assert_allclose(ratio / ratio.mean(), tint / tint.mean(), atol=0.05)
    wall = np.full((50, 50, 3), (20, 20, 200), np.uint8)
    gains = colour.light(wall)
    assert gains.max() / gains.min() <= colour.STRONGEST_TINT**2 + 1e-6


def test_a_black_picture_has_finite_gains() -> None:
    assert np.isfinite(colour.light(np.zeros((40, 40, 3), np.uint8))).all()
