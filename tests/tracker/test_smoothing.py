from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.kalman import STATE, VARIANCE, Float64, begin, predict, update
from services.tracker.parameters import DEFAULT
from services.tracker.smoothing import smooth

SIGMA = np.array([DEFAULT.place, DEFAULT.place, DEFAULT.shape, DEFAULT.shape])
NORMAL = 1e12
"""So many degrees of freedom make a normal distribution, for which the best estimate is known."""
HEIGHT = 120.0


def joint(times: Float64, seen: dict[int, float]) -> Float64:
    """The best places at all times by one big regression over the whole Gaussian process."""
    step = np.diff(times, prepend=times[0])
    n = len(times)
    mean, cov = np.zeros(2 * n), np.zeros((2 * n, 2 * n))
    tau, r = DEFAULT.persistence_s, (SIGMA[0] * HEIGHT) ** 2
    mean[0] = seen[0]
    cov[0, 0], cov[1, 1] = r, (DEFAULT.speed * HEIGHT) ** 2
    for k in range(1, n):
        keep = np.exp(-step[k] / tau)
        reach = tau * (1 - keep)
        f = np.array([[1, reach], [0, keep]])
        row = np.zeros((1, STATE))
        row[0, :4] = [0, 0, 50, HEIGHT]
        predict(row, step[k], DEFAULT)
        q_pp, q_pv, q_vv = row[0, VARIANCE : VARIANCE + 3]
        here, last = slice(2 * k, 2 * k + 2), slice(2 * k - 2, 2 * k)
        mean[here] = f @ mean[last]
        cov[here, : 2 * k] = f @ cov[last, : 2 * k]
        cov[: 2 * k, here] = cov[here, : 2 * k].T
        cov[here, here] = f @ cov[last, last] @ f.T + [[q_pp, q_pv], [q_pv, q_vv]]
    at = [2 * k for k in seen if k]
    values = np.array([seen[k] for k in seen if k])
    gain = cov[:, at] @ np.linalg.inv(cov[np.ix_(at, at)] + r * np.eye(len(at)))
    return np.asarray((mean + gain @ (values - mean[at]))[::2])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 16))
def test_a_smoothed_track_is_the_best_estimate_from_all_its_detections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.02, 0.5, 12))
    seen = {k: 300 + 40 * times[k] + rng.normal(0, 5) for k in range(12) if k == 0 or rng.random() < 0.6}
    states = np.zeros((12, 1, STATE))
    row = np.zeros(STATE)
    for k in range(12):
        if k:
            predict(row[None], times[k] - times[k - 1], DEFAULT)
        if k in seen:
            measured = np.array([seen[k], 200.0, 50.0, HEIGHT])
            (
                begin(row, measured, 1.0, SIGMA, DEFAULT)
                if k == 0
                else update(row, measured, 1.0, SIGMA, NORMAL)
            )
        states[k, 0] = row
    steps = np.diff(times, prepend=times[0])
    smooth(states, np.zeros(1, np.int64), steps, np.tile(np.eye(2, 3), (12, 1, 1)), DEFAULT)
    np.testing.assert_allclose(states[:, 0, 0], joint(times, seen), atol=1e-6)


def test_smoothing_follows_the_camera() -> None:
    affine = np.array([[1.0, 0.0, 30.0], [0.0, 1.0, -4.0]])
    states = np.zeros((5, 1, STATE))
    row = np.zeros(STATE)
    begin(row, np.array([100.0, 200.0, 50.0, HEIGHT]), 1.0, SIGMA, DEFAULT)
    for k in range(5):
        if k:
            predict(row[None], 0.1, DEFAULT)
            row[0] += 30.0
            row[1] -= 4.0
            update(row, np.array([100.0 + 30 * k, 200.0 - 4 * k, 50.0, HEIGHT]), 1.0, SIGMA, NORMAL)
        states[k, 0] = row
    smooth(states, np.zeros(1, np.int64), np.full(5, 0.1), np.tile(affine, (5, 1, 1)), DEFAULT)
    np.testing.assert_allclose(states[:, 0, 0], 100 + 30 * np.arange(5), atol=1e-6)
    assert states[0, 0, 1] == pytest.approx(200)
