from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.ground import GroundPlane
from services.tracker.ways import Ways
from tests.tracker.test_topology import SIZES, stay

# Camera 1 looks down, a metre to 100 pixels; camera 2 is turned around and twice as near.
FIRST = np.array([[0.01, 0, 0], [0, 0.01, 0], [0, 0, 1.0]])
SECOND = np.array([[-0.005, 0, 4.0], [0, -0.005, 3.0], [0, 0, 1.0]])


@given(x=st.floats(0, 6), y=st.floats(0, 4), tilt=st.floats(-0.1, 0.1))
def test_a_place_goes_to_the_picture_and_back(x: float, y: float, tilt: float) -> None:
    to_ground = FIRST.copy()
    to_ground[2, 1] = tilt * 1e-3
    pixel = np.linalg.inv(to_ground) @ [x, y, 1.0]
    found = GroundPlane(to_ground).positions(pixel[:2] / pixel[2])
    np.testing.assert_allclose(found, [x, y], atol=1e-6)


def test_the_horizon_is_no_place() -> None:
    plane = GroundPlane(np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, -200]]))
    assert np.isnan(plane.positions(np.array([10.0, 200.0]))).all()


def test_one_place_in_two_pictures_speaks_for_one_person_and_two_places_against() -> None:
    def second(t_s: float) -> tuple[float, float]:
        x_m, y_m = 1 + 0.8 * t_s, 2.0
        return (4 - x_m) / 0.005, (3 - y_m) / 0.005

    here = stay(1, 1, 0, 3, lambda t: (100 * (1 + 0.8 * t), 200.0))
    there = stay(2, 2, 1, 3, second)
    elsewhere = stay(3, 2, 1, 3, lambda t: (second(t)[0], second(t)[1] - 500))
    ways = Ways.of([here, there, elsewhere], SIZES)
    same, other = GroundPlane(FIRST).ratio(GroundPlane(SECOND), ways, np.array([0, 0]), np.array([1, 2]))
    assert same > 2
    assert other < -2


def test_the_longer_somebody_was_unseen_the_less_a_place_says() -> None:
    gone = stay(1, 1, 0, 2, lambda t: (300.0, 200.0))
    soon, late = (
        stay(n, 2, begin, begin + 2, lambda t: ((4 - 3) / 0.005, (3 - 2) / 0.005))
        for n, begin in ((2, 3.0), (3, 9.0))
    )
    ways = Ways.of([gone, soon, late], SIZES)
    after_1_s, after_7_s = GroundPlane(FIRST).ratio(
        GroundPlane(SECOND), ways, np.array([0, 0]), np.array([1, 2])
    )
    assert after_1_s > after_7_s
