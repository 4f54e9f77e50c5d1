"""Pictures that are too dark or washed out, brought to the exposure that networks know.

A camera's own exposure control aims at middle grey.  Where it could not, because of fog on the lens, a
backlit door or the dusk, people are found less often and look like others.  So a picture whose mean lightness
is not a usual one is raised to a power (gamma) that brings it to the nearest usual mean, before any network
sees it; one whose light is usual stays the same to the bit.  It is the whole picture that tells the light:
a crop's own mean would also take out who wears black and who wears white.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from services.detector.picture import Image, Picture
from services.detector.quality import crop, part
from shared.messages import Float32

USUAL = (0.4, 0.55)
"""Least and largest mean lightness, 0-1, of a picture that is left as it is; middle grey is between them."""

STRONGEST = 2.0
"""Power, and its inverse, beyond which nothing is brought back: night is dark, and snow is bright."""

SAMPLE_STEP_PX = 8

GREY = np.array([0.114, 0.587, 0.299], np.float32)
"""Weights of blue, green and red in lightness, as OpenCV has them."""


def power(image: Image) -> float:
    """The exponent of values 0-1 that brings a whole picture to usual light; 1 where it is that already."""
    sample = image[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX].reshape(-1, 3).mean(axis=0, dtype=np.float32)
    lightness = min(max(float(sample @ GREY) / 255, 0.01), 0.99)
    wanted = min(max(lightness, USUAL[0]), USUAL[1])
    if wanted == lightness:
        return 1.0
    return min(max(math.log(wanted) / math.log(lightness), 1 / STRONGEST), STRONGEST)


def relit(image: Image, exponent: float) -> Image:
    """A picture or a part of one with its values raised to this exponent; itself where that is 1."""
    if exponent == 1.0:
        return image
    return np.asarray(cv2.LUT(image, _table(exponent)), np.uint8)


def parts(picture: Picture, boxes: Float32) -> list[Picture]:
    """The parts of the picture inside the boxes (N, 4), in the light that networks know."""
    if not isinstance(picture, np.ndarray):
        there = picture.relit()
        return [part(there, box) for box in boxes]
    if not len(boxes):
        return []
    exponent = power(picture)
    return [relit(crop(picture, box), exponent) for box in boxes]


@functools.lru_cache(64)
def _table(exponent: float) -> Image:
    return np.asarray(np.rint((np.arange(256) / 255) ** exponent * 255), np.uint8)
