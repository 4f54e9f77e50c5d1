from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.kalman import Float64
from services.tracker.leaves import Int64
from services.tracker.murty import k_best, solve


def problem(seed: int) -> tuple[Float64, Float64, Int64, Int64, Float64]:
    """Some hypotheses over a few leaves and detections, many pairs of which are impossible."""
    rng = np.random.default_rng(seed)
    leaves, columns, hypotheses = (int(rng.integers(*span)) for span in ((1, 6), (0, 5), (1, 4)))
    cost = 3 * rng.normal(size=(leaves, columns))
    cost[rng.random((leaves, columns)) < 0.3] = np.inf
    without = rng.normal(size=leaves)
    sizes = rng.integers(0, min(leaves, 4) + 1, hypotheses)
    members = np.zeros((hypotheses, 4), np.int64)
    for h, size in enumerate(sizes):
        members[h, :size] = rng.choice(leaves, size, replace=False)
    return cost, without, members, sizes, rng.normal(size=hypotheses)


def total(cost: Float64, without: Float64, rows: Int64, columns: tuple[int, ...]) -> float:
    return float(sum(without[r] if c < 0 else cost[r, c] for r, c in zip(rows, columns, strict=True)))


def all_totals(cost: Float64, without: Float64, members: Int64, sizes: Int64, bases: Float64) -> Float64:
    totals = []
    for h, size in enumerate(sizes):
        for columns in itertools.product(range(-1, cost.shape[1]), repeat=int(size)):
            used = [c for c in columns if c >= 0]
            if len(used) == len(set(used)):
                totals.append(bases[h] + total(cost, without, members[h, :size], columns))
    return np.sort([each for each in totals if each < np.inf])


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), k=st.integers(1, 12), margin=st.sampled_from([1e9, 3.0]))
def test_the_k_best_are_the_first_of_all_assignments_in_order(seed: int, k: int, margin: float) -> None:
    cost, without, members, sizes, bases = problem(seed)
    of, columns, totals = k_best(cost, without, members, sizes, bases, k, margin)
    wanted = all_totals(cost, without, members, sizes, bases)[:k]
    np.testing.assert_allclose(totals, wanted[wanted <= wanted[0] + margin], atol=1e-9)
    found = [(int(h), tuple(row[: sizes[h]].tolist())) for h, row in zip(of, columns, strict=True)]
    assert len(set(found)) == len(found)
    for (h, row), value in zip(found, totals, strict=True):
        used = [c for c in row if c >= 0]
        assert len(used) == len(set(used))
        assert bases[h] + total(cost, without, members[h, : sizes[h]], row) == pytest.approx(value)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_the_prices_prove_the_best_assignment(seed: int) -> None:
    cost, without, *_ = problem(seed)
    columns, u, v = np.empty(len(cost), np.int64), np.empty(len(cost)), np.empty(cost.shape[1])
    value = solve(cost, without, columns, u, v)
    assert (cost - u[:, None] - v >= -1e-9).all() and (without - u >= -1e-9).all() and (v <= 1e-9).all()
    assert u.sum() + v.sum() == pytest.approx(value)


def test_a_row_that_must_have_a_column_and_finds_none_makes_the_problem_impossible() -> None:
    cost, without = np.full((1, 2), np.inf), np.array([np.inf])
    assert solve(cost, without, np.empty(1, np.int64), np.empty(1), np.empty(2)) == np.inf
