from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.tracker.association import assign
from services.tracker.likelihood import iou


def test_iou_of_boxes_that_are_equal_half_shared_and_apart() -> None:
    a = np.array([0.0, 0, 10, 10])
    b = np.array([[0.0, 0, 10, 10], [5.0, 0, 15, 10], [20.0, 20, 30, 30]])
    np.testing.assert_allclose([iou(a, each) for each in b], [1, 1 / 3, 0])


@given(arrays(float, (3, 4), elements=st.floats(-5, 5)), st.floats(-2, 2))
def test_the_assignment_has_the_highest_total_above_the_threshold(
    score: np.ndarray, threshold: float
) -> None:
    rows, columns = assign(score, threshold)
    assert len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns)
    best = max(
        sum(max(score[row, column] - threshold, 0) for row, column in enumerate(order))
        for order in itertools.permutations(range(4), 3)
    )
    np.testing.assert_allclose((score[rows, columns] - threshold).sum(), best, atol=1e-9)


def test_impossible_pairs_are_never_taken() -> None:
    rows, columns = assign(np.array([[-np.inf, 1.0], [2.0, -np.inf]]), 0.0)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert len(assign(np.full((2, 3), -np.inf), 0.0)[0]) == 0
