from __future__ import annotations

import numpy as np

from services.detector.flow import person_flow
from shared.messages import Motion

STILL = np.eye(2, 3, dtype=np.float32)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_a_person_moves_as_the_cells_under_the_box_do() -> None:
    grid = np.zeros((4, 4, 2), np.float32)
    grid[:, :2] = (6, 0)  # the left half of a 400x400 frame moves to the right
    flow = person_flow(Motion(grid, STILL), boxes((50, 50, 150, 350), (250, 50, 350, 350)), 400, 400)
    np.testing.assert_allclose(flow, [[6, 0], [0, 0]])


def test_cells_count_by_the_part_that_lies_inside() -> None:
    grid = np.zeros((1, 2, 2), np.float32)
    grid[0, 1] = (8, 0)
    # The inner 60 % of the box lies from 170 to 230: half in each cell of 200 pixels.
    np.testing.assert_allclose(
        person_flow(Motion(grid, STILL), boxes((150, 0, 250, 100)), 400, 100), [[4, 0]], atol=1e-5
    )


def test_a_box_smaller_than_a_cell_still_has_a_flow() -> None:
    grid = np.full((2, 2, 2), 3, np.float32)
    np.testing.assert_allclose(person_flow(Motion(grid, STILL), boxes((10, 10, 14, 20)), 400, 400), [[3, 3]])


def test_the_cameras_own_motion_is_taken_out_where_the_person_is() -> None:
    zoom = np.array([[1.1, 0, 0], [0, 1.1, 0]], np.float32)  # away from the upper left corner
    grid = np.full((2, 2, 2), 10, np.float32)
    np.testing.assert_allclose(
        person_flow(Motion(grid, zoom), boxes((80, 80, 120, 120)), 400, 400), [[0, 0]], atol=1e-4
    )


def test_without_motion_flow_is_nan() -> None:
    assert np.isnan(person_flow(None, boxes((0, 0, 5, 5)), 100, 100)).all()
    assert person_flow(None, boxes(), 100, 100).shape == (0, 2)
    assert person_flow(Motion(np.zeros((2, 2, 2), np.float32), STILL), boxes(), 100, 100).shape == (0, 2)
    empty = Motion(np.zeros((0, 0, 2), np.float32), STILL)
    assert np.isnan(person_flow(empty, boxes((0, 0, 5, 5)), 100, 100)).all()
