from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.calibration import Calibration
from services.tracker.parameters import DEFAULT
from services.tracker.state import pack, unpack


def odds_after(scores: list[float], asked: list[float]) -> np.ndarray:
    """The log-odds of scores asked for at the end of many frames with the given ones."""
    calibration = Calibration(DEFAULT)
    for _ in range(100):
        calibration.odds(np.array(scores))
    return calibration.odds(np.array([*scores, *asked]))[len(scores) :]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_a_higher_score_is_never_less_likely_somebody(scores: list[float]) -> None:
    odds = Calibration(DEFAULT).odds(np.sort(np.array(scores)))
    assert np.isfinite(odds).all() and (np.diff(odds) >= -1e-9).all()


def test_a_less_sure_detector_is_believed_sooner() -> None:
    sure = odds_after([0.6, 0.99, 0.999, 0.999], [0.9])
    unsure = odds_after([0.4, 0.8, 0.9, 0.93], [0.9])
    assert unsure[0] > sure[0] + 0.5


def test_a_detector_that_is_never_sure_is_not_believed() -> None:
    assert (odds_after([0.2, 0.3, 0.35], [0.35]) < -2).all()


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (1.0, -3.0), (0.01, 50.0)])
def test_scores_on_any_scale_mean_the_same(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 1, (50, 8))
    one, other = Calibration(DEFAULT), Calibration(DEFAULT)
    for frame in raw:
        plain = one.odds(frame * 3 - 10)
        scaled = other.odds(scale * (frame * 3 - 10) + shift)
    np.testing.assert_allclose(plain, scaled, atol=1e-6)


@pytest.mark.parametrize("scores", [[0.5, 0.9], [-2.0, 7.0]])
def test_a_calibration_is_restored_with_what_it_has_learned(scores: list[float]) -> None:
    calibration = Calibration(DEFAULT)
    calibration.odds(np.array(scores))
    again = Calibration.restored(unpack(pack(calibration.state())), DEFAULT)
    assert (again.odds(np.array(scores)) == calibration.odds(np.array(scores))).all()
