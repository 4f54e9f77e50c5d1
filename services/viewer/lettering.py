"""Text on pictures, antialiased.

OpenCV 5 brings a font with most of the world's scripts; OpenCV 4 has only strokes for ASCII, and other
letters become `?` there.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.palette import Colour

REGULAR = 450
BOLD = 650

MAX_LETTERS = 120

_FONT = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
_STROKES = cv2.FONT_HERSHEY_SIMPLEX
_IN_ASCII = str.maketrans({"…": "..", "★": "*", "·": "-", "\N{MULTIPLICATION SIGN}": "x"})


def printable(text: str) -> str:
    """The text with what has no glyph (control characters, halves of surrogate pairs) as `?`."""
    # OpenCV's own renderer crashes on those rather than refusing them.
    return "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_LETTERS])


@lru_cache(maxsize=4096)
def text_width(text: str, size_px: int, weight: int = REGULAR) -> int:
    """How wide the text is drawn, pixels."""
    if _FONT is None:
        (width, _), _ = cv2.getTextSize(_ascii(text), _STROKES, *_stroke(size_px, weight))
        return width if text else 0
    left, _, width, _ = cv2.getTextSize((0, 0), printable(text), (0, 0), _FONT, size_px, weight)
    return left + width


def write(
    canvas: NDArray[np.uint8],
    text: str,
    origin: tuple[int, int],
    size_px: int,
    colour: Colour,
    *,
    weight: int = REGULAR,
) -> None:
    """Draw text in place, the left end of its baseline at `origin`."""
    if _FONT is None:
        scale, thickness = _stroke(size_px, weight)
        cv2.putText(canvas, _ascii(text), origin, _STROKES, scale, colour, thickness, cv2.LINE_AA)
    else:
        cv2.putText(canvas, printable(text), origin, colour, _FONT, size_px, weight)


def _ascii(text: str) -> str:
    return printable(text).translate(_IN_ASCII).encode("ascii", "replace").decode()


def _stroke(size_px: int, weight: int) -> tuple[float, int]:
    """Scale and thickness at which OpenCV's strokes are about as large as letters of this size."""
    return size_px / 30, max(1, round(size_px * weight / 9000))


def shortened(text: str, width_px: int, size_px: int, weight: int = REGULAR) -> str:
    """The text, cut and ended with an ellipsis where it would be wider than this."""
    if text_width(text, size_px, weight) <= width_px:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle] + "…", size_px, weight) <= width_px:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…" if low else ""
