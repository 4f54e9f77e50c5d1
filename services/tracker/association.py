"""The best joint assignment of two sides to each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.tracker.kalman import Float64

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def assign(score: Float64, threshold: float) -> Pairs:
    """The one-to-one pairs (rows, columns) with the highest total of (N, M) scores above `threshold`.

    Leaving a pair out counts `threshold`; pairs at minus infinity are never taken.
    """
    gain = np.maximum(score - threshold, 0.0)
    useful_rows, useful_columns = gain.any(axis=1), gain.any(axis=0)
    if not useful_rows.any():
        empty = np.empty(0, np.intp)
        return empty, empty
    row_of, column_of = np.flatnonzero(useful_rows), np.flatnonzero(useful_columns)
    gain = gain[np.ix_(row_of, column_of)]
    rows, columns = linear_sum_assignment(gain, maximize=True)
    taken = gain[rows, columns] > 0
    return row_of[rows[taken]], column_of[columns[taken]]
