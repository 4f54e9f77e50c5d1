"""Capture times run with the monotonic clock, whatever is done to the system clock."""

from __future__ import annotations

import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.capture_clock import SLEW, STEP_NS, CaptureClock
from tests.ingest.fakes import FakeClock

SECOND_NS = 10**9


def test_capture_time_is_the_system_clocks_while_nobody_sets_it() -> None:
    clock = FakeClock()
    capture = CaptureClock("gate", clock)
    for _ in range(1000):
        assert abs(capture.now_ns() - clock.utc_ns()) < 1000
        clock.advance(0.04)
    assert capture.session == 0


@given(st.integers(-STEP_NS, STEP_NS))
def test_a_small_difference_is_worked_off_within_a_session(difference_ns: int) -> None:
    clock = FakeClock()
    capture = CaptureClock("gate", clock)
    last_ns = capture.now_ns()
    clock.utc_offset_ns += difference_ns
    for _ in range(int(11 / 0.1)):
        clock.advance(0.1)
        t_ns = capture.now_ns()
        assert abs(t_ns - last_ns - SECOND_NS // 10) <= SLEW * SECOND_NS / 10 + 1000
        last_ns = t_ns
    assert capture.session == 0
    assert abs(last_ns - clock.utc_ns()) < 1000


@pytest.mark.parametrize("step_s", [-3600, -0.6, 0.6, 3600])
def test_a_step_is_followed_at_once_in_a_new_session(step_s: float) -> None:
    clock = FakeClock()
    capture = CaptureClock("gate", clock)
    capture.now_ns()
    clock.utc_offset_ns += round(step_s * SECOND_NS)
    clock.advance(0.1)
    assert abs(capture.now_ns() - clock.utc_ns()) < 1000
    assert capture.session == 1


def test_a_thread_that_is_held_up_between_the_clocks_takes_it_for_no_step() -> None:
    clock = FakeClock()
    capture = CaptureClock("gate", clock)
    capture.now_ns()
    utc_ns, held_up = clock.utc_ns, iter([3.0])

    def late() -> int:
        read_ns = utc_ns()
        clock.advance(next(held_up, 0.0))
        return read_ns

    clock.utc_ns = late  # type: ignore[method-assign]
    capture.now_ns()
    assert capture.session == 0


def test_many_small_steps_keep_times_near_the_clock_and_increasing_in_each_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = random.Random(5)
    clock = FakeClock()
    capture = CaptureClock("gate", clock)
    session, last_ns = 0, capture.now_ns()
    for frame in range(6000):
        clock.advance(0.1)
        if frame % 20 == 0:
            clock.utc_offset_ns += round(rng.uniform(-0.3, 0.2) * SECOND_NS)
        t_ns = capture.now_ns()
        assert t_ns > last_ns or capture.session > session
        assert abs(t_ns - clock.utc_ns()) <= STEP_NS + 1000
        session, last_ns = capture.session, t_ns
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == capture.session < 30
