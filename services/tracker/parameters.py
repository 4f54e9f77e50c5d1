"""What the tracker of a camera takes for granted about people, cameras and detectors."""

from __future__ import annotations

import math
from typing import NamedTuple


class Parameters(NamedTuple):
    """One set for every camera; lengths in heights of the person's box, times in seconds.

    speed, growth: standard deviation of a person's velocity, and of the change of width and height, in
        heights/s.
    persistence_s: time in which a velocity forgets itself to 1/e (Ornstein-Uhlenbeck).
    jolt: random walk of the place beside the velocity, in heights/s^0.5.
    place, shape: standard deviation of a sound detection's centre, and of its width and height.
    flow: standard deviation of a velocity read from optical flow, in heights/s.
    freedom: degrees of freedom of the Student distribution that stands for the innovation.
    surprise: the same for the correction of a filter: after more than it expected it trusts itself less.
    gate: squared Mahalanobis distance beyond which a detection is never the track's.
    newcomers: expected newcomers and false detections a frame, what a continued track is weighed against.
    dense: but no more than so many in an area of a height squared: near people leave no room for many.
    border, door: how many times more newcomers appear nearer to the border than `door`.
    shapes: range of widths times range of heights that newcomers have, in heights squared.
    survival_s: mean time for which a person who is not seen can still be expected where motion leads.
    miss, hide: log-likelihood that a confirmed track in plain sight loses in a second without a detection,
        and when it is not detected for the first time.
    doubt: log-likelihood by which a track that is not confirmed is less likely to go on.
    slope, offset: log-odds of somebody being at a detection over those of its score, see `calibration`.
    strong: log-odds from which a detection may start a track.
    weak_s: a weaker detection continues only what was seen so recently.
    start: log-odds of a newcomer being somebody before the detection's own.
    hit: log-odds that a detection adds by being where one was expected.
    lost: log-odds that a second without a detection takes.
    rich: the most log-odds a track collects.
    correlation_s: time over which detections tell the same thing again.
    confirmation: log-odds at which a track is reported.
    tentative_s: a track that is not confirmed is forgotten after so long without a detection.
    outside_s: who is not seen where motion leads out of the picture is forgotten after so long.
    double: log-likelihood that somebody costs who is confirmed where somebody else is.
    twin: overlap (IoU) with somebody at which a detection is no newcomer.
    hypotheses: global hypotheses kept at most.
    margin: log-likelihood by which a hypothesis may be behind the best.
    repeat_s: time over which likelihoods of frames repeat one another, and so count for less.
    switch: log-likelihood by which another must lead before it is shown, for each thing it tells otherwise.
    scan_s: hypotheses that disagree about what was so long ago are pruned to the shown one's opinion.
    coast_s: how long the predicted box of an unseen person is shown.
    shake: standard deviation of the camera's own unmeasured motion, in heights of people a second^0.5.
    swing_s: time over which the camera's usual velocity is learned.
    """

    speed: float = 0.45
    growth: float = 0.25
    persistence_s: float = 8.0
    jolt: float = 0.03
    place: float = 0.045
    shape: float = 0.08
    flow: float = 0.5
    freedom: float = 4.0
    surprise: float = 6.0
    gate: float = 45.0
    newcomers: float = 4.0
    dense: float = 0.1
    border: float = 3.0
    door: float = 0.1
    shapes: float = 0.15
    survival_s: float = 2.0
    miss: float = 0.5
    hide: float = 1.0
    doubt: float = 1.0
    correlation_s: float = 0.05
    slope: float = 0.9
    offset: float = -2.1
    strong: float = -1.0
    start: float = -2.0
    hit: float = 0.5
    lost: float = 3.0
    rich: float = 8.0
    weak_s: float = 0.4
    confirmation: float = 3.0
    tentative_s: float = 0.4
    outside_s: float = 2.0
    double: float = 1.5
    twin: float = 0.6
    hypotheses: int = 12
    margin: float = 6.0
    repeat_s: float = 0.25
    switch: float = 1.5
    scan_s: float = 1.0
    coast_s: float = 0.4
    shake: float = 0.14
    swing_s: float = 0.8


DEFAULT = Parameters()

BRISK_S = 0.2
"""Frames that follow one another faster than this tell of misses by the second."""


def believing(score: float) -> Parameters:
    """The parameters for a detector whose detections are to be believed from this score (0-1) on."""
    odds = math.log(score / max(1.0 - score, 1e-3))
    return DEFAULT._replace(offset=DEFAULT.strong - DEFAULT.slope * odds)


def paced(parameters: Parameters, dt_s: float) -> Parameters:
    """The parameters for a frame that comes `dt_s` after the one before.

    Where frames are rare one without a detection is no more than one miss, however long it lasts.
    """
    if dt_s <= BRISK_S:
        return parameters
    one_miss_s = 1.5 * dt_s
    return parameters._replace(
        lost=parameters.lost * BRISK_S / dt_s,
        miss=parameters.miss * BRISK_S / dt_s,
        survival_s=parameters.survival_s * dt_s / BRISK_S,
        tentative_s=max(parameters.tentative_s, one_miss_s),
        weak_s=max(parameters.weak_s, one_miss_s),
    )
