from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.kalman import (
    STATE,
    VARIANCE,
    Float64,
    begin,
    predict,
    to_centres,
    to_corners,
    update,
    update_velocity,
    warp,
)
from services.tracker.leaves import CONFIRMED, TAGS, WIDTH
from services.tracker.likelihood import newcomers, pair_costs
from services.tracker.parameters import DEFAULT

SIGMA = np.array([DEFAULT.place, DEFAULT.place, DEFAULT.shape, DEFAULT.shape])


def standing(*, at: float = 100.0) -> Float64:
    state = np.zeros((1, STATE))
    begin(state[0], np.array([at, 200.0, 50.0, 120.0]), 1.0, SIGMA, DEFAULT)
    return state


def test_corners_and_centres_are_each_others_inverse() -> None:
    boxes = np.array([[10.0, 20.0, 50.0, 120.0], [0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(to_corners(to_centres(boxes)), boxes)


@given(dt_s=st.floats(0.01, 1.0), parts=st.integers(2, 8))
def test_one_long_step_predicts_the_same_as_many_short_ones(dt_s: float, parts: int) -> None:
    one, many = standing(), standing()
    for state in (one, many):
        state[:, 4:8] = [[80.0, -20.0, 0.0, 0.0]]
    predict(one, dt_s, DEFAULT)
    for _ in range(parts):
        predict(many, dt_s / parts, DEFAULT)
    np.testing.assert_allclose(one, many, rtol=1e-9, atol=1e-9)


def test_who_is_not_seen_slows_down_and_never_becomes_faster_than_people_are() -> None:
    state = standing()
    state[0, 4] = 80.0
    predict(state, DEFAULT.persistence_s, DEFAULT)
    assert state[0, 4] == pytest.approx(80.0 / np.e)
    predict(state, 1000.0, DEFAULT)
    assert np.sqrt(state[0, VARIANCE + 2]) == pytest.approx(DEFAULT.speed * 120.0, rel=1e-6)


@pytest.mark.parametrize("fps", [2.0, 10.0, 30.0])
def test_the_velocity_is_learned_at_any_frame_rate(fps: float) -> None:
    state = standing()
    for n in range(1, int(4 * fps)):
        predict(state, 1 / fps, DEFAULT)
        update(state[0], np.array([100 + 90 * n / fps, 200.0, 50.0, 120.0]), 1.0, SIGMA, DEFAULT.surprise)
    assert state[0, 4] == pytest.approx(90, abs=5)


def test_the_variances_stay_positive_over_a_long_life() -> None:
    state = standing()
    rng = np.random.default_rng(0)
    for _ in range(5000):
        predict(state, float(rng.choice([0.001, 0.1, 3.0])), DEFAULT)
        if rng.random() < 0.5:
            update(
                state[0],
                np.array([100.0, 200.0, 50.0, 120.0]) + rng.normal(0, 5, 4),
                1.0,
                SIGMA,
                DEFAULT.surprise,
            )
        pp, pv, vv = state[0, VARIANCE:STATE].reshape(4, 3).T
        assert (pp > 0).all() and (vv > 0).all() and (pp * vv >= pv**2 * (1 - 1e-6)).all()


def test_flow_tells_the_velocity_of_someone_seen_once() -> None:
    state = standing()
    update_velocity(state[0], 60.0, 0.0, DEFAULT)
    assert 20 < state[0, 4] < 60


def test_the_motion_of_the_camera_is_followed() -> None:
    state = standing()
    warp(state, np.array([[2.0, 0.0, 10.0], [0.0, 2.0, -5.0]]))
    np.testing.assert_allclose(state[0, :4], [210, 395, 100, 240])


def test_a_detection_where_one_was_expected_is_likelier_than_any_other_and_far_away_none_is() -> None:
    state = np.zeros((1, WIDTH))
    state[:, :STATE] = standing()
    tags = np.zeros((1, TAGS), np.int64)
    tags[0, CONFIRMED] = 1
    centres = np.array([[100.0, 200, 50, 120], [120.0, 200, 50, 120], [600.0, 200, 50, 120]])
    m = len(centres)
    costs = pair_costs(
        state, tags, np.zeros((1, 0)), centres, np.ones(m), SIGMA, np.zeros(m), np.ones(m, bool),
        newcomers(to_corners(centres), centres, 640.0, 480.0, DEFAULT), np.zeros((m, 0)), np.zeros(m),
        (0.7, 0.1), (0.2, 0.1), 0, 10.0, DEFAULT,
    )  # fmt: skip
    assert costs[0, 0] < costs[0, 1] < np.inf and costs[0, 2] == np.inf
