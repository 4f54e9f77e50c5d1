from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.detector.extractor import FeatureExtractor
from services.detector.light import STRONGEST, USUAL, parts, power, relit
from services.detector.picture import Image
from shared.config import Config
from shared.messages import People
from tests.detector.fakes import MeanDescriber, MeanEmbedder, ScriptedDetector, frame


def scene(level: float = 0.45) -> Image:
    """Noise around a mean lightness, somebody in black at the left and somebody in white at the right."""
    values = np.random.default_rng(0).normal(255 * level, 20, (240, 320, 3))
    values[100:180, 60:90], values[100:180, 200:230] = 25, 230
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def under(image: Image, gamma: float) -> Image:
    return np.asarray(((image / 255) ** gamma * 255).round(), np.uint8)


@pytest.mark.parametrize("level", [0.42, 0.45, 0.48])
def test_a_picture_in_usual_light_is_left_as_it_is(level: float) -> None:
    image = scene(level)
    assert power(image) == 1.0
    assert relit(image, power(image)) is image


@pytest.mark.parametrize("gamma", [0.45, 0.6, 1.6, 2.2])
def test_a_picture_too_bright_or_too_dark_is_brought_back_to_usual_light(gamma: float) -> None:
    spoilt = under(scene(), gamma)
    found = relit(spoilt, power(spoilt))
    mean = cv2.cvtColor(found, cv2.COLOR_BGR2GRAY).mean() / 255
    assert USUAL[0] - 0.02 < mean < USUAL[1] + 0.02
    assert np.abs(found.astype(int) - scene()).mean() < 0.8 * np.abs(spoilt.astype(int) - scene()).mean()


@pytest.mark.parametrize("value", [0, 3, 252, 255])
def test_night_and_glare_are_brought_back_no_farther_than_the_strongest_power(value: int) -> None:
    exponent = power(np.full((40, 40, 3), value, np.uint8))
    assert exponent in (1 / STRONGEST, STRONGEST)


def test_who_wears_black_and_who_wears_white_stay_apart() -> None:
    image = under(scene(), 0.5)
    black, white = parts(image, np.array([[60, 100, 90, 180], [200, 100, 230, 180]], np.float32))
    assert np.mean(np.asarray(white)) - np.mean(np.asarray(black)) > 150


def test_a_person_is_described_alike_in_pictures_that_differ_in_light_alone() -> None:
    def described(image: Image) -> People:
        detector = ScriptedDetector(lambda _: [(55, 95, 95, 185, 0.9), (195, 95, 235, 185, 0.8)])
        extractor = FeatureExtractor(detector, MeanEmbedder(), Config(), {"clothing": MeanDescriber()})
        (people,) = extractor.extract([(frame(1), image)])
        assert isinstance(people, People)
        return people

    # Each colour of the coat suffers differently where its values are raised to a power.
    coloured = scene(0.54)
    coloured[100:180, 60:90] = (40, 90, 200)
    usual, washed_out = described(coloured), described(under(coloured, 0.5))
    for kind in ("appearance", "clothing"):
        np.testing.assert_allclose(
            usual.features[kind].vectors, washed_out.features[kind].vectors, atol=0.03, err_msg=kind
        )
