"""The ground plane that a user has calibrated a camera to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import Float64
from services.tracker.ways import Ways

PLACE_M = 0.5
"""Standard deviation of a foot point on the ground."""

WALK_M_S = 0.7
"""What each second unseen adds to it."""

AREA_M2 = 100.0
"""Where else a newcomer could stand: the ground that one camera sees."""

FARTHEST = 8.0
"""A place says no more than this against somebody: feet are hidden, and people sit."""

STEP_S, MOST_S = 1.0, 4.0
"""After so long two places are a new piece of evidence; that many seconds of them count."""

MOMENTS = np.array([0.1, 0.5, 0.9])


class GroundPlane:
    """One camera's homography.

    homography: (3, 3) float64; carries pixels (x, y, 1) to metres on the ground that all calibrated
        cameras share (Hartley and Zisserman 2004, 2.3).
    """

    def __init__(self, homography: Float64) -> None:
        self._homography = homography

    def positions(self, foot_px: Float64) -> Float64:
        """(..., 2) pixels to (..., 2) metres; not a number on the horizon."""
        mapped = np.concatenate([foot_px, np.ones((*foot_px.shape[:-1], 1))], axis=-1) @ self._homography.T
        depth = mapped[..., 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(np.abs(depth) > 1e-9, mapped[..., :2] / depth, np.nan))

    def ratio(
        self, other: GroundPlane, ways: Ways, first: NDArray[np.intp], second: NDArray[np.intp]
    ) -> Float64:
        """(K,) log-likelihood ratios: tracks `second[k]` of `other` and `first[k]` of this camera are one.

        They are compared where both are seen, else across the gap, walked on from either side.
        """
        begin = np.maximum(ways.first_s[first], ways.first_s[second])
        finish = np.minimum(ways.last_s[first], ways.last_s[second])
        gap_s = np.maximum(begin - finish, 0.0)
        share = np.where((gap_s > 0)[:, None], 0.5, MOMENTS[None])
        moments = begin[:, None] + share * (finish - begin)[:, None]
        k = len(first)
        here = self.positions(ways.at(np.repeat(first, 3), moments.ravel())[:, :2]).reshape(k, 3, 2)
        there = other.positions(ways.at(np.repeat(second, 3), moments.ravel())[:, :2]).reshape(k, 3, 2)
        variance = 2 * (PLACE_M + WALK_M_S * gap_s)[:, None] ** 2
        distance = ((here - there) ** 2).sum(axis=2)
        value = np.log(AREA_M2 / (2 * np.pi * variance)) - distance / (2 * variance)
        value = np.where(np.isfinite(value), np.maximum(value, -FARTHEST), 0.0)
        # Going the same way together says more the longer it lasts.
        lasting = 1 + np.clip(finish - begin, 0.0, MOST_S) / STEP_S
        return np.asarray(value.mean(axis=1) * lasting)
