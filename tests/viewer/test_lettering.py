from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.viewer.lettering import MAX_LETTERS, printable, shortened, text_width, write
from services.viewer.palette import WHITE

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)


@given(ANY_TEXT, st.integers(-400, 800), st.integers(-60, 200))
def test_any_text_at_any_place_is_drawn(text: str, x: int, y: int) -> None:
    canvas = np.zeros((60, 300, 3), np.uint8)
    write(canvas, text, (x, y), 14, WHITE)
    assert text_width(text, 14) >= 0


def test_what_has_no_glyph_becomes_a_question_mark() -> None:
    assert printable("a\nb\x00c\ud800") == "a?b?c?"


def test_text_without_end_is_cut() -> None:
    assert len(printable("x" * 10_000)) == MAX_LETTERS


def test_letters_are_smooth() -> None:
    canvas = np.zeros((40, 200, 3), np.uint8)
    write(canvas, "Person 12", (5, 30), 24, WHITE)
    assert len(np.unique(canvas)) > 20


@given(st.text(max_size=60), st.integers(0, 300))
def test_a_shortened_text_fits(text: str, width_px: int) -> None:
    short = shortened(text, width_px, 13)
    assert short == text or text_width(short, 13) <= width_px


def test_a_text_that_fits_is_left_whole() -> None:
    assert shortened("Gate", 200, 13) == "Gate"
    assert shortened("The gate on the north side", 80, 13).endswith("…")
