from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.viewer.mosaic import Rectangle
from services.viewer.palette import ACCENT, BACKGROUND, identity_colour
from services.viewer.panel import Entry, ago_text, clock_text, draw_panel, panel_width
from tests.viewer.samples import START_NS, near

PLACE = Rectangle(100, 0, 240, 600)
HOUR_NS = 3600 * 10**9
KEYS = (("s", "select"), ("q", "quit"))


def _canvas() -> np.ndarray:
    return np.zeros((600, 340, 3), np.uint8)


def _entry(identity: int, name: str = "") -> Entry:
    return Entry(identity, name, ("Gate",), START_NS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (0.4, "now"),
        (2, "2 s ago"),
        (59.9, "59 s ago"),
        (61, "1 min ago"),
        (7300, "2 h ago"),
        (90000, "1 d ago"),
    ],
)
def test_how_long_ago_is_told_in_the_largest_unit(seconds: float, text: str) -> None:
    assert ago_text(seconds) == text


def test_the_date_is_told_only_of_other_days() -> None:
    assert clock_text(START_NS) == "16:00:00"
    assert clock_text(START_NS, START_NS + HOUR_NS) == "16:00:00"
    assert clock_text(START_NS, START_NS + 24 * HOUR_NS) == "2025-11-24 16:00"


def test_the_panel_stays_in_its_place() -> None:
    canvas = _canvas()
    draw_panel(canvas, PLACE, [_entry(3)], START_NS, keys=KEYS, selecting=True, notice="x " * 200)
    assert not canvas[:, :100].any()
    assert (canvas[:, 100:] != 0).any(axis=-1).all()


def test_each_followed_person_has_an_entry_in_their_colour_with_a_cross() -> None:
    canvas = _canvas()
    crosses = draw_panel(canvas, PLACE, [_entry(3), _entry(4, "Zoë")], START_NS, keys=KEYS)
    assert [identity for _, identity in crosses] == [3, 4]
    for place, identity in crosses:
        assert near(canvas[place.y : place.y + 40, 100:130], identity_colour(identity), 5).any()
        assert not near(canvas[place.slices], BACKGROUND, 5).all()


def test_a_panel_to_look_at_only_has_no_crosses() -> None:
    assert draw_panel(_canvas(), PLACE, [_entry(3)], START_NS) == []


def test_selecting_mode_shows() -> None:
    canvas = _canvas()
    draw_panel(canvas, PLACE, [], START_NS, keys=KEYS)
    assert near(canvas, ACCENT, 5).sum() == 0
    draw_panel(canvas, PLACE, [], START_NS, keys=KEYS, selecting=True)
    assert near(canvas, ACCENT, 5).sum() > 2000


def test_more_people_than_fit_are_counted_not_drawn_over_the_keys() -> None:
    canvas, few = _canvas(), _canvas()
    crosses = draw_panel(canvas, PLACE, [_entry(i) for i in range(1, 100)], START_NS, keys=KEYS)
    draw_panel(few, PLACE, [_entry(1)], START_NS, keys=KEYS)
    assert 3 <= len(crosses) < 20
    assert (canvas[540:] == few[540:]).all()


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 30), st.text(max_size=80))
def test_a_panel_of_any_size_is_drawn(width: int, height: int, people: int, notice: str) -> None:
    canvas = np.zeros((height, width, 3), np.uint8)
    entries = [_entry(i, notice) for i in range(1, people + 1)]
    draw_panel(
        canvas, Rectangle(0, 0, width, height), entries, START_NS, keys=KEYS, selecting=True, notice=notice
    )


def test_a_narrow_picture_has_no_panel() -> None:
    assert panel_width(320) == 0
    assert 150 < panel_width(1280) < 400
