"""What is told of one camera's tracks at once, before anything is settled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import VELOCITY, Float64, to_corners
from services.tracker.leaves import LAST_NS, SCORE, Int64
from services.tracker.parameters import Parameters
from shared.messages import PATH_STEP_S, Float32

PATH_POINTS = 10


class Shown(NamedTuple):
    """N tracks as they are shown.

    tracks: (N,) which of the camera's.  boxes: (N, 4) float64 `x0, y0, x1, y1`.  scores: (N,) of the last
    detection.  observed: (N,) whether it is of this frame.  velocities: (N, 2) pixels/s of the centres.
    paths: (N, PATH_POINTS, 2) where the feet will be, step by step.
    """

    tracks: Int64
    boxes: Float64
    scores: Float32
    observed: NDArray[np.bool_]
    velocities: Float32
    paths: Float32


@compiled
def shown(
    state: Float64, tags: Int64, rows: Int64, t_ns: int, width: int, height: int, p: Parameters
) -> tuple[Int64, Float64, Float32, NDArray[np.bool_], Float32, Float32]:
    """`Shown` of those of the leaves `rows` seen now, or a moment ago and expected in the picture."""
    places = np.empty(len(rows), np.int64)
    count = 0
    for i in range(len(rows)):
        x, y = state[rows[i], 0], state[rows[i], 1]
        unseen_s = (t_ns - tags[rows[i], LAST_NS]) * 1e-9
        inside = 0.0 <= x <= width and 0.0 <= y <= height
        if unseen_s <= 0.0 or (unseen_s <= p.coast_s and inside):
            places[count] = i
            count += 1
    places = places[:count]
    boxes = to_corners(state[rows[places], :4])
    scores, observed = np.empty(count, np.float32), np.empty(count, np.bool_)
    velocities, paths = np.empty((count, 2), np.float32), np.empty((count, PATH_POINTS, 2), np.float32)
    reach_s = p.persistence_s * (1.0 - np.exp(-PATH_STEP_S / p.persistence_s * np.arange(1, PATH_POINTS + 1)))
    for i in range(count):
        row = state[rows[places[i]]]
        velocities[i, 0], velocities[i, 1] = row[VELOCITY], row[VELOCITY + 1]
        scores[i] = row[SCORE]
        observed[i] = tags[rows[places[i]], LAST_NS] == t_ns
        for step in range(PATH_POINTS):
            paths[i, step, 0] = row[0] + row[4] * reach_s[step]
            paths[i, step, 1] = (row[1] + row[3] / 2) + (row[5] + row[7] / 2) * reach_s[step]
    return places, boxes, scores, observed, velocities, paths
