"""Which detection continues which track: likelihood ratios and their best joint assignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.tracker.kalman import Float64

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]

FREEDOM = 4.0
"""Degrees of freedom of the Student distribution that stands for the motion model's innovation."""

DIMENSIONS = 4

GATE = 30.0
"""Squared Mahalanobis distance beyond which a detection is never the track's."""


def iou(a: Float64, b: Float64) -> Float64:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes `x0, y0, x1, y1`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.maximum(high - low, 0.0), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9))


def motion_score(distance: Float64, log_determinant: Float64) -> Float64:
    """Log-likelihood of innovations, heavy-tailed because detectors jump.

    A multivariate Student distribution (Roth et al. 2013, "A Student's t filter for heavy tailed process
    and measurement noise"), up to a constant; minus infinity outside the gate.
    """
    score = -0.5 * log_determinant - (FREEDOM + DIMENSIONS) / 2 * np.log1p(distance / FREEDOM)
    return np.asarray(np.where(distance > GATE, -np.inf, score))


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
