"""The colour of a piece of clothing, in words a person would use.

Light differs between cameras and over the day.  So the picture's own light is taken out first
(Finlayson and Trezzi, "Shades of Gray and Colour Constancy", 2004), within bounds, for a wall may really
be yellow; then colours are compared in CIE Lab, where lightness, which light changes most, weighs least.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.picture import Image
from shared.messages import Float32

PALETTE: dict[str, list[tuple[float, float, float]]] = {
    "black": [(6, 0, 0)],
    "dark grey": [(32, 0, 0)],
    "grey": [(55, 0, 0)],
    "light grey": [(75, 0, 0)],
    "white": [(95, 0, 0)],
    "dark red": [(25, 35, 18)],
    "red": [(45, 60, 38), (53, 80, 67)],
    "pink": [(55, 55, 0), (60, 90, -45)],
    "light pink": [(78, 24, 6)],
    "orange": [(65, 42, 60), (73, 25, 76)],
    "dark brown": [(20, 8, 11)],
    "brown": [(42, 16, 28)],
    "beige": [(77, 5, 20)],
    "yellow": [(82, 2, 70), (97, -21, 94)],
    "olive": [(48, -3, 26)],
    "light green": [(80, -26, 42)],
    "green": [(50, -42, 32), (88, -86, 83)],
    "dark green": [(24, -18, 10)],
    "turquoise": [(60, -26, -16), (91, -48, -14)],
    "light blue": [(70, -4, -22)],
    "blue": [(45, 4, -42), (38, 45, -80), (32, 79, -108)],
    "dark blue": [(10, 4, -14), (14, 24, -40), (13, 47, -65)],
    "purple": [(38, 38, -36), (30, 59, -36)],
}
"""Names with their places in CIE Lab (D65): lightness 0-100, a towards red, b towards yellow.  Vivid
colours have places of their own: Lab bends vivid blue towards purple."""

NAMES = tuple(PALETTE)

LIGHTNESS_WEIGHT = 0.7
"""How much a difference in lightness counts beside one in colour."""

SOFTNESS = 8.0
"""Colours this much farther than the nearest name still count as a little of that name too."""

NORM = 6
"""Of the Minkowski mean that tells the colour of the light: between the mean and the brightest."""

STRONGEST_TINT = 1.25
USUAL_LEVEL = 0.75
"""Of that mean in a well exposed picture."""

STRONGEST_EXPOSURE = 1.3
SAMPLE_STEP_PX = 8

_WEIGHTS = np.array([LIGHTNESS_WEIGHT, 1, 1], np.float32)
_PLACES = np.array([place for places in PALETTE.values() for place in places], np.float32) * _WEIGHTS
_FIRST = np.cumsum([0, *map(len, PALETTE.values())])[:-1]
"""Row of `_PLACES` at which each name's places begin."""


def light(image: Image) -> Float32:
    """(3,) gains for blue, green and red that turn the picture's light white and its exposure usual.

    image: the whole frame, uint8 BGR: one person's clothes do not tell what the light is.
    """
    sample = image[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX].reshape(-1, 3).astype(np.float32) / 255
    level = (sample**NORM).mean(axis=0) ** (1 / NORM)
    tint = np.clip(level.mean() / np.maximum(level, 1e-3), 1 / STRONGEST_TINT, STRONGEST_TINT)
    exposure = np.clip(USUAL_LEVEL / max(level.mean(), 1e-3), 1 / STRONGEST_EXPOSURE, STRONGEST_EXPOSURE)
    gains: Float32 = (tint * exposure).astype(np.float32)
    return gains


def lab(pixels: Image, gains: Float32) -> Float32:
    """The same pixels (H, W, 3) in CIE Lab under white light; lightness 0-100."""
    balanced = np.minimum(pixels.astype(np.float32) * (gains / 255), 1)
    return np.asarray(cv2.cvtColor(balanced, cv2.COLOR_BGR2LAB), np.float32)


def shares(colours: Float32) -> Float32:
    """(len(NAMES),) how much of the colours (..., 3), as `lab` gives them, each name describes; sums to 1."""
    flat = colours.reshape(-1, 3) * _WEIGHTS
    distance = np.minimum.reduceat(np.linalg.norm(flat[:, None] - _PLACES[None], axis=2), _FIRST, axis=1)
    nearest = distance.min(axis=1, keepdims=True)
    weight = np.exp(-0.5 * ((distance - nearest) / SOFTNESS) ** 2)
    mean: Float32 = (weight / weight.sum(axis=1, keepdims=True)).mean(axis=0).astype(np.float32)
    return mean


def name(of: NDArray[np.float32]) -> str:
    """The name that describes most of what these shares stand for."""
    return NAMES[int(np.argmax(of))]
