from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.pacing import Backoff, RateLimit, Timeline


def positions(fps: float, container_ms: list[float]) -> list[int]:
    timeline = Timeline(fps)
    return [timeline.advance(each) for each in container_ms]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)), st.floats(0.1, 1000))
def test_positions_begin_at_zero_and_increase_whatever_the_container_says(
    container_ms: list[float], fps: float
) -> None:
    result = positions(fps, container_ms)
    assert result[:1] in ([], [0])
    assert all(before < after for before, after in itertools.pairwise(result))


@given(st.floats(0, 1e6), st.lists(st.integers(1, 5000), max_size=50))
def test_sane_timestamps_are_taken_as_they_are(start_ms: float, steps_ms: list[int]) -> None:
    container_ms = [start_ms + sum(steps_ms[:count]) for count in range(len(steps_ms) + 1)]
    expected = [sum(steps_ms[:count]) * 10**6 for count in range(len(steps_ms) + 1)]
    assert positions(25, container_ms) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    "container_ms",
    [
        [0, 0, 0, 0],  # none at all
        [0, math.nan, math.nan, math.nan],  # not even a number
        [0, 100, 50, 0],  # going back
        [0, 100, 100, 300],  # repeated
        [0, 100, 1e12, 300],  # one leaps
    ],
)
def test_a_senseless_timestamp_is_replaced_by_one_frame_period(container_ms: list[float]) -> None:
    assert positions(10, container_ms) == [0, 100_000_000, 200_000_000, 300_000_000]


def test_a_camera_at_just_the_limit_loses_no_frame_to_jitter() -> None:
    limit = RateLimit(30)
    jitter_s = (0.0, 0.012, -0.012, 0.006, -0.009)
    assert all(limit.admits(index / 30 + jitter_s[index % 5]) for index in range(300))


@given(st.floats(1, 240), st.lists(st.floats(0, 0.5), min_size=2, max_size=300))
def test_no_more_frames_pass_than_the_limit_allows(per_s: float, steps_s: list[float]) -> None:
    limit, now_s, admitted = RateLimit(per_s), 0.0, 0
    for step_s in steps_s:
        now_s += step_s
        admitted += limit.admits(now_s)
    assert admitted <= (now_s - steps_s[0]) * per_s + 1.5 + 1e-6


def test_after_a_pause_a_burst_does_not_make_up_for_it() -> None:
    limit = RateLimit(10)
    limit.admits(0.0)
    assert [limit.admits(60.0 + index / 1000) for index in range(40)].count(True) == 1


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_reset() -> None:
    backoff = Backoff(0.5, 2.0)
    assert [backoff.pause_s() for _ in range(5)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    backoff.reset()
    assert backoff.pause_s() == 0.5
