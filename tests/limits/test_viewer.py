"""Limits on what viewers draw."""

from __future__ import annotations

from services.viewer.lettering import MAX_LETTERS, text_width
from services.viewer.trail import MOST_TRAILS, TrailMemory
from tests.limits.table import covers
from tests.store.scene import stamp, tracks


@covers("services.viewer.lettering.MAX_LETTERS")
def test_letters_up_to_the_limit_are_drawn_and_no_more() -> None:
    widths = [text_width("x" * length, 20) for length in (MAX_LETTERS - 1, MAX_LETTERS, MAX_LETTERS + 1)]
    assert widths[0] < widths[1] == widths[2]


@covers("services.viewer.trail.MOST_TRAILS")
def test_so_many_trails_are_drawn_and_the_first_is_not_any_more() -> None:
    memory = TrailMemory()
    for frame in range(2):
        memory.update(tracks(stamp(1, 5 * frame), [(number, 0) for number in range(1, MOST_TRAILS + 1)]))
    t_ns = stamp(1, 5).t_ns
    assert [trail.track for trail in memory.at(t_ns)] == list(range(1, MOST_TRAILS + 1))
    memory.update(tracks(stamp(1, 6), [(MOST_TRAILS + 1, 0)]))
    drawn = {trail.track for trail in memory.at(stamp(1, 6).t_ns)}
    assert len(memory._tracks) == MOST_TRAILS and 1 not in drawn and 2 in drawn
