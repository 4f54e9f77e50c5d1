from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.viewer.pairing import Shown
from services.viewer.timeline import MOST_WAITING, Timeline
from shared.messages import Frame
from tests.viewer.samples import START_NS, stamp

SECOND_NS = 10**9


def _shown(camera: int, index: int, t_ns: int) -> Shown:
    return Shown(Frame(stamp(camera, index, t_ns=t_ns), b""), None)


def _fill(timeline: Timeline, camera: int, frames: int, fps: float, *, start_ns: int = START_NS) -> None:
    for index in range(frames):
        timeline.add(_shown(camera, index, start_ns + round(index * SECOND_NS / fps)))


def _ticks(timeline: Timeline, *, final: bool = False) -> list[tuple[float, list[tuple[int, int]]]]:
    return [
        (
            (t_ns - START_NS) / SECOND_NS,
            [(each.frame.stamp.camera, each.frame.stamp.frame_index) for each in due],
        )
        for t_ns, due in timeline.ticks(final=final)
    ]


def test_one_tick_for_each_frame_of_cameras_of_one_rate() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 1, 20, 10)
    _fill(timeline, 2, 20, 10)
    ticks = _ticks(timeline, final=True)
    assert timeline.fps == 10
    assert [due for _, due in ticks] == [[(1, index), (2, index)] for index in range(20)]


def test_the_fastest_camera_sets_the_rate_and_others_show_their_newest() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 1, 50, 25)
    _fill(timeline, 2, 10, 5)
    ticks = _ticks(timeline, final=True)
    assert timeline.fps == 25
    assert len(ticks) == 50
    assert sum(any(camera == 2 for camera, _ in due) for _, due in ticks) == 10


def test_a_tick_waits_for_every_camera() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 1, 20, 10)
    assert _ticks(timeline) == []
    _fill(timeline, 2, 10, 10)
    assert len(_ticks(timeline)) == 10


def test_a_camera_that_ended_is_not_waited_for() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 1, 20, 10)
    timeline.end(2)
    assert len(_ticks(timeline)) == 20
    assert timeline.finished(2)
    assert not timeline.finished(1)


def test_a_camera_that_stays_silent_is_waited_for_within_bounds() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 1, MOST_WAITING + 100, 10)
    ticks = _ticks(timeline)
    assert len(ticks) == 100
    assert timeline.waiting == MOST_WAITING


def test_frames_that_come_too_late_are_shown_at_the_next_tick() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 1, MOST_WAITING + 100, 10)
    _ticks(timeline)
    _fill(timeline, 2, 5, 10)
    first = _ticks(timeline)[0]
    assert {(2, index) for index in range(5)} <= set(first[1])


def test_hours_without_any_frame_are_skipped() -> None:
    timeline = Timeline([1])
    _fill(timeline, 1, 20, 10)
    _fill(timeline, 1, 20, 10, start_ns=START_NS + 3600 * SECOND_NS)
    ticks = _ticks(timeline, final=True)
    assert 40 <= len(ticks) <= 65
    assert ticks[-1][1] == [(1, 19)]


def test_a_camera_that_starts_a_day_later_does_not_hurry_the_others() -> None:
    timeline = Timeline([1, 2])
    _fill(timeline, 2, 20, 10, start_ns=START_NS + 86400 * SECOND_NS)
    _fill(timeline, 1, 20, 10)
    ticks = [due for _, due in _ticks(timeline, final=True) if due]
    assert ticks == [[(1, index)] for index in range(20)] + [[(2, index)] for index in range(20)]


def test_a_single_frame_is_a_recording_too() -> None:
    timeline = Timeline([1, 2])
    timeline.add(_shown(1, 0, START_NS))
    assert _ticks(timeline, final=True) == [(0.0, [(1, 0)])]


def test_nothing_taken_in_gives_nothing() -> None:
    assert _ticks(Timeline([1, 2]), final=True) == []


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4 * SECOND_NS)), min_size=1, max_size=60),
    st.integers(1, 7),
)
def test_every_frame_is_due_once_at_or_before_its_tick_and_ticks_are_even(
    steps: list[tuple[int, int]], read_every: int
) -> None:
    timeline = Timeline([1, 2, 3])
    clock = {1: START_NS, 2: START_NS, 3: START_NS}
    index = {1: 0, 2: 0, 3: 0}
    told: list[tuple[int, list[Shown]]] = []
    for number, (camera, step_ns) in enumerate(steps):
        timeline.add(_shown(camera, index[camera], clock[camera]))
        index[camera] += 1
        clock[camera] += step_ns
        if number % read_every == 0:
            told += timeline.ticks()
    told += timeline.ticks(final=True)
    times = [t_ns for t_ns, _ in told]
    step_ns = round(SECOND_NS / timeline.fps)
    assert all((b - a) % step_ns == 0 and b > a for a, b in pairwise(times))
    due = [each for _, shown in told for each in shown]
    assert all(each.t_ns <= t_ns for t_ns, shown in told for each in shown)
    for camera in (1, 2, 3):
        mine = [each.frame.stamp.frame_index for each in due if each.frame.stamp.camera == camera]
        assert mine == list(range(index[camera]))
