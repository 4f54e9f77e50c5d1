from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.kalman import BoxFilters, to_centres, to_corners


def standing(*, at: float = 100.0) -> BoxFilters:
    filters = BoxFilters()
    filters.add(np.array([[at, 200.0, 50.0, 120.0]]), np.ones(1))
    return filters


def test_corners_and_centres_are_each_others_inverse() -> None:
    boxes = np.array([[10.0, 20.0, 50.0, 120.0], [0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(to_corners(to_centres(boxes)), boxes)


@given(dt_s=st.floats(0.01, 1.0), parts=st.integers(2, 8))
def test_one_long_step_predicts_the_same_as_many_short_ones(dt_s: float, parts: int) -> None:
    one, many = standing(), standing()
    for filters in (one, many):
        filters.velocity[:] = [[80.0, -20.0, 0.0, 0.0]]
    one.predict(dt_s)
    for _ in range(parts):
        many.predict(dt_s / parts)
    np.testing.assert_allclose(one.position, many.position)
    np.testing.assert_allclose(one.variance, many.variance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fps", [2.0, 10.0, 30.0])
def test_the_velocity_is_learned_at_any_frame_rate(fps: float) -> None:
    filters = standing()
    for n in range(1, int(4 * fps)):
        filters.predict(1 / fps)
        filters.update(np.array([0]), np.array([[100 + 90 * n / fps, 200.0, 50.0, 120.0]]), np.ones(1))
    assert filters.velocity[0, 0] == pytest.approx(90, abs=5)


def test_the_variances_stay_positive_over_a_long_life() -> None:
    filters = standing()
    rng = np.random.default_rng(0)
    for _ in range(5000):
        filters.predict(float(rng.choice([0.001, 0.1, 3.0])))
        if rng.random() < 0.5:
            filters.update(
                np.array([0]), np.array([[100.0, 200.0, 50.0, 120.0]]) + rng.normal(0, 5, 4), np.ones(1)
            )
        pp, pv, vv = filters.variance[0].T
        assert (pp > 0).all() and (vv > 0).all() and (pp * vv >= pv**2 * (1 - 1e-6)).all()


def test_flow_tells_the_velocity_of_someone_seen_once() -> None:
    filters = standing()
    filters.update_velocity(np.array([0]), np.array([[60.0, 0.0]]))
    assert 30 < filters.velocity[0, 0] < 60


def test_the_motion_of_the_camera_is_followed() -> None:
    filters = standing()
    filters.warp(np.array([[2.0, 0.0, 10.0], [0.0, 2.0, -5.0]]))
    np.testing.assert_allclose(filters.position[0], [210, 395, 100, 240])


def test_a_detection_where_one_was_expected_is_nearer_than_any_other() -> None:
    filters = standing()
    distance, _ = filters.innovation(np.array([[100.0, 200, 50, 120], [140.0, 200, 50, 120]]), np.ones(2))
    assert distance[0, 0] == pytest.approx(0) and distance[0, 1] > 10
