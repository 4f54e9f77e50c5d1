from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.viewer.trail import MOST_TRAILS, TRAIL_S, TrailMemory
from tests.viewer.samples import START_NS, stamp, tracks


def _walk(memory: TrailMemory, frames: int, *, first: int = 0, session: int = 1) -> None:
    for index in range(first, first + frames):
        box = (10.0 + index, 20.0, 20.0 + index, 60.0)
        memory.update(tracks(stamp(index=index, session=session), [box], [5]))


def test_a_trail_holds_foot_points_oldest_first() -> None:
    memory = TrailMemory()
    _walk(memory, 3)
    (trail,) = memory.at(stamp(index=2).t_ns)
    assert trail.identity == 5
    np.testing.assert_allclose(trail.points[0], [15, 60])
    np.testing.assert_allclose(trail.points[-1], [17, 60])
    assert trail.ages_s[0] > trail.ages_s[-1] == 0


def test_steps_older_than_a_trail_lasts_are_forgotten() -> None:
    memory = TrailMemory()
    _walk(memory, 100)
    (trail,) = memory.at(stamp(index=99).t_ns)
    assert trail.ages_s.max() <= TRAIL_S
    assert trail.ages_s.max() > TRAIL_S - 0.5


def test_a_trail_is_bounded_at_any_frame_rate() -> None:
    memory = TrailMemory()
    for index in range(2000):
        at_ns = START_NS + index * 5_000_000
        memory.update(tracks(stamp(index=index, t_ns=at_ns), [(index, 0.0, index + 2.0, 9.0)], [1]))
    (trail,) = memory.at(at_ns)
    assert len(trail.points) <= 30
    assert trail.ages_s[-1] == 0


def test_a_trail_lives_on_after_its_person_has_gone_and_then_fades_out() -> None:
    memory = TrailMemory()
    _walk(memory, 10)
    memory.update(tracks(stamp(index=20)))
    assert len(memory.at(stamp(index=20).t_ns)) == 1
    memory.update(tracks(stamp(index=80)))
    assert memory.at(stamp(index=80).t_ns) == []


def test_predicted_places_leave_no_trail() -> None:
    memory = TrailMemory()
    for index in range(5):
        memory.update(tracks(stamp(index=index), [(0.0, 0.0, 9.0, 9.0)], [1], observed=[False]))
    assert memory.at(stamp(index=4).t_ns) == []


def test_a_decided_identity_colours_the_whole_trail() -> None:
    memory = TrailMemory()
    for index in range(5):
        memory.update(tracks(stamp(index=index), [(index, 0.0, 9.0, 9.0)], [0]))
    memory.update(tracks(stamp(index=5), assignments=[(1, 7)]))
    (trail,) = memory.at(stamp(index=5).t_ns)
    assert trail.identity == 7


def test_a_new_session_starts_without_trails() -> None:
    memory = TrailMemory()
    _walk(memory, 10)
    _walk(memory, 1, first=10, session=2)
    assert memory.at(stamp(index=10).t_ns) == []


def test_a_step_back_in_time_starts_without_trails() -> None:
    memory = TrailMemory()
    _walk(memory, 10)
    _walk(memory, 1)
    assert memory.at(stamp(index=9).t_ns) == []


@given(st.integers(1, 3 * MOST_TRAILS))
def test_the_number_of_trails_is_bounded(people: int) -> None:
    memory = TrailMemory()
    boxes = [(0.0, 0.0, 1.0, 1.0)] * people
    for index in range(3):
        memory.update(tracks(stamp(index=index), boxes, list(range(1, people + 1))))
    assert len(memory.at(stamp(index=2).t_ns)) == min(people, MOST_TRAILS)
