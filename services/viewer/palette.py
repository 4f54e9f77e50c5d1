"""Colours of identities: the same one always, in every camera and every viewer, and told apart easily.

Hues follow the golden angle, so that identities that are numbered closely lie far apart on the colour
wheel; lightness alternates, for those whose hues come close again later.  Colours are taken from OKLCH
(B. Ottosson, "A perceptual color space for image processing", 2020), where equal steps look equal.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Blue, green, red, each 0-255, as OpenCV draws."""

WHITE: Colour = (255, 255, 255)
INK: Colour = (20, 18, 16)
BACKGROUND: Colour = (30, 26, 24)
BAR: Colour = (48, 42, 38)
FAINT: Colour = (160, 152, 146)
UNDECIDED: Colour = (170, 170, 170)
ACCENT: Colour = (60, 190, 255)
ALERT: Colour = (80, 90, 240)

_GOLDEN_ANGLE_DEG = 180 * (3 - math.sqrt(5))
# Of the choices tried, these keep the first twelve farthest apart (CIE 1976 distance 28).
_FIRST_HUE_DEG = 280.0
_LIGHTNESS_CHROMA = ((0.76, 0.20), (0.84, 0.16), (0.64, 0.24))


@lru_cache(maxsize=4096)
def identity_colour(identity: int) -> Colour:
    """The colour of an identity; grey for 0, who is undecided."""
    if identity == 0:
        return UNDECIDED
    lightness, chroma = _LIGHTNESS_CHROMA[identity % len(_LIGHTNESS_CHROMA)]
    hue_deg = (_FIRST_HUE_DEG + identity * _GOLDEN_ANGLE_DEG) % 360
    return _oklch_to_bgr(lightness, chroma, hue_deg)


def ink_on(background: Colour) -> Colour:
    """Black or white, whichever has the higher contrast (WCAG 2.1) on this background."""
    blue, green, red = ((value / 255) ** 2.2 for value in background)
    return INK if 0.0722 * blue + 0.7152 * green + 0.2126 * red > 0.18 else WHITE


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """`share` of the first colour, 0-1, over the other."""
    blue, green, red = (round(b + (a - b) * share) for a, b in zip(colour, other, strict=True))
    return blue, green, red


def _oklch_to_bgr(lightness: float, chroma: float, hue_deg: float) -> Colour:
    """The nearest colour a screen has: chroma is lowered until all of it fits."""
    while True:
        linear = _oklch_to_linear_rgb(lightness, chroma, hue_deg)
        if chroma < 0.01 or all(-1e-4 <= value <= 1 + 1e-4 for value in linear):
            red, green, blue = (round(255 * _gamma(min(max(value, 0.0), 1.0))) for value in linear)
            return blue, green, red
        chroma *= 0.95


def _oklch_to_linear_rgb(lightness: float, chroma: float, hue_deg: float) -> tuple[float, float, float]:
    a = chroma * math.cos(math.radians(hue_deg))
    b = chroma * math.sin(math.radians(hue_deg))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma(value: float) -> float:
    """Linear light to sRGB (IEC 61966-2-1)."""
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
