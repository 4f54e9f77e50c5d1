from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.camera_motion import shift
from services.tracker.kalman import STATE, Float64, begin
from services.tracker.parameters import DEFAULT

SIGMA = np.array([DEFAULT.place, DEFAULT.place, DEFAULT.shape, DEFAULT.shape])


STANDING = (0.0, 0.0)


def crowd(n: int = 6) -> tuple[Float64, Float64]:
    """Filter rows of people standing about, and their boxes."""
    places = [[80.0 + 90 * i, 200.0 + 40 * (i % 3), 40.0, 100.0 + 10 * i] for i in range(n)]
    centres = np.array(places).reshape(-1, 4)
    rows = np.zeros((n, STATE))
    for row, centre in zip(rows, centres, strict=True):
        begin(row, centre, 1.0, SIGMA, DEFAULT)
    return rows, centres


@settings(max_examples=50, deadline=None)
@given(dx=st.floats(-30, 30), dy=st.floats(-20, 20), seed=st.integers(0, 1000))
def test_a_displacement_that_all_share_is_found(dx: float, dy: float, seed: int) -> None:
    rows, centres = crowd()
    moved = centres + np.random.default_rng(seed).normal(0, 1, centres.shape)
    moved[:, :2] += [dx, dy]
    found = np.array(shift(rows, np.ones(len(rows)), moved, STANDING, 0.04, DEFAULT))
    # Drawn towards standing still, for that is what cameras mostly do.
    assert np.linalg.norm(found - [dx, dy]) < 0.4 * np.hypot(dx, dy) + 3


def test_one_who_walks_among_those_who_stand_is_not_the_camera() -> None:
    rows, centres = crowd()
    centres[2, 0] += 30
    dx, dy = shift(rows, np.ones(len(rows)), centres, STANDING, 0.04, DEFAULT)
    assert abs(dx) < 2 and abs(dy) < 2


@pytest.mark.parametrize("people", [0, 1])
def test_one_person_says_nothing_about_the_camera(people: int) -> None:
    rows, centres = crowd(people)
    centres[:, 0] += 20
    assert shift(rows, np.ones(people), centres, STANDING, 0.04, DEFAULT) == (0.0, 0.0)
