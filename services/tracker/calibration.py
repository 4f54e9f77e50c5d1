"""What a detection's score is worth: the log-odds of somebody being there.

Detectors disagree about what a score of 0.9 means.  Of public ones whose scores end in a softmax the
log-odds of somebody being there lie, over those of the score, on one line where their better scores are
nearly 1; those of others, less sure of themselves, are multiplied by a temperature (Guo et al. 2017) that
brings their better scores there.  A score below one half stays below.
Scores that are no probabilities at all, such as the margins of a support vector machine, are first
brought to the usual spread by their running mean and deviation.  All of it is per camera.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from services.tracker.appearance import Spread
from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.parameters import Parameters

STEEPEST = 6.9
"""Raw log-odds beyond which a score says no more (a probability of 0.999)."""

SURE, SURE_SHARE = 4.3, 0.75
"""The raw log-odds that this share of scores does not exceed where the line was measured."""

WARMEST = 2.5
"""The highest temperature."""

RECENT = 256
"""Scores looked back on."""

FIRST, FIRST_ODDS = 4, 1.7
"""So many scores of such raw log-odds are taken to have been seen before the first."""

USUAL_MEAN, USUAL_DEVIATION, USUAL_WEIGHT = 3.5, 2.0, 20.0
"""Of raw log-odds of a detector's scores, and how many scores the first ones' own spread counts for."""


@compiled
def _log_odds(scores: Float64) -> tuple[Float64, bool]:
    """(M,) of scores, and whether all of these are probabilities."""
    out = np.empty(len(scores))
    probable = True
    for j in range(len(scores)):
        probable &= 0.0 <= scores[j] <= 1.0
        sure = min(max(scores[j], 1e-3), 1.0 - 1e-3)
        out[j] = math.log(sure / (1.0 - sure))
    return out, probable


@compiled
def _calibrated(raw: Float64, recent: Float64, slope: float, offset: float) -> tuple[Float64, Float64]:
    """(M,) log-odds that are meant by (M,) raw ones, and (R,) the recent ones with these."""
    recent = np.concatenate((recent, raw))[-RECENT:].copy()
    place = int(SURE_SHARE * (len(recent) - 1))
    usual = max(np.partition(recent, place)[place], SURE / WARMEST)
    return offset + slope * raw * max(SURE / usual, 1.0), recent


class Calibration:
    """Scores of one camera's detector to log-odds."""

    def __init__(self, parameters: Parameters) -> None:
        self._offset, self._slope = parameters.offset, parameters.slope
        self._recent: Float64 = np.full(FIRST, FIRST_ODDS)
        self._scale: Spread | None = None  # of scores that are no probabilities, once one was seen

    def odds(self, scores: Float64) -> Float64:
        """(M,) log-odds of somebody being at each detection, of (M,) finite raw scores."""
        if not len(scores):
            return np.empty(0)
        raw, probable = _log_odds(scores)
        if self._scale is None and not probable:
            self._scale = Spread(float(scores.mean()), max(float(scores.std()), 1e-3), USUAL_WEIGHT)
        if self._scale is not None:
            self._scale.add(scores)
            raw = USUAL_MEAN + USUAL_DEVIATION * (scores - self._scale.mean) / self._scale.deviation
            raw = np.minimum(np.maximum(raw, -STEEPEST), STEEPEST)
        odds, self._recent = _calibrated(raw, self._recent, self._slope, self._offset)
        return np.asarray(odds)

    def state(self) -> Any:
        """Plain values for `restored`."""
        return [self._recent, None if self._scale is None else self._scale.state()]

    @classmethod
    def restored(cls, state: Any, parameters: Parameters) -> Calibration:
        """What `state` gave."""
        calibration = cls(parameters)
        calibration._recent, scale = state
        calibration._scale = None if scale is None else Spread.restored(scale)
        return calibration
