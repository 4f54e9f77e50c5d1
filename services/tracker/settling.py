"""Tracks as they turn out to have been: the believed hypothesis a moment later, smoothed and without gaps."""

from __future__ import annotations

from itertools import pairwise, starmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.forest import Forest, Generation
from services.tracker.kalman import VELOCITY, Float64, to_corners
from services.tracker.leaves import CONFIRMED, DETECTION, LAST_NS, PARENT, SCORE, TREE, WIDTH, Int64
from services.tracker.parameters import Parameters
from services.tracker.smoothing import smooth
from shared.messages import Float32

SHARE = 0.25
"""Frames are settled in lots of this share of the delay, so that smoothing is not done for every frame."""


@compiled
def traced(state: Float64, parent: Int64, first_row: Int64, leaves: Int64) -> tuple[Float64, Int64, Int64]:
    """The lines of N leaves back through G frames.

    state: (R, S), parent: (R,) the leaves of all frames, one frame behind another, each frame's from
    first_row[g] to first_row[g + 1].  leaves: (N,) of the last frame.  Returns (G, N, S) their states, (G, N)
    their rows in each frame, -1 before they were, and (N,) the first frame of each.
    """
    frames, count = len(first_row) - 1, len(leaves)
    states = np.zeros((frames, count, state.shape[1]))
    line = np.full((frames, count), -1)
    begins = np.zeros(count, np.int64)
    for n in range(count):
        row = leaves[n]
        for g in range(frames - 1, -1, -1):
            if row < 0:
                break
            line[g, n], begins[n] = row, g
            states[g, n] = state[first_row[g] + row]
            row = parent[first_row[g] + row]
    return states, line, begins


@compiled
def lines(
    state: Float64,
    tags: Int64,
    first_row: Int64,
    leaves: Int64,
    last_ns: Int64,
    t_ns: Int64,
    dt_s: Float64,
    affines: Float64,
    lot: int,
    p: Parameters,
) -> tuple[Int64, Int64, Float32, Float32, Float32, NDArray[np.bool_]]:
    """The lines of N leaves, smoothed, in the first frames, one frame behind another: F rows in all.

    state, tags, first_row, leaves: as `traced` takes them.  last_ns: (N,) when each was last seen.  t_ns,
    dt_s, affines: (G,), (G,), (G, 2, 3) of the frames.  lot: so many frames.  Returns (lot + 1,) where each
    frame's rows begin, and the parts of `Settled`, (F,) each.
    """
    states, line, begins = traced(state, tags[:, PARENT], first_row, leaves)
    smooth(states, begins, dt_s, affines, p)
    begin, most = np.zeros(lot + 1, np.int64), lot * len(leaves)
    ids, observed, out = np.empty(most, np.int64), np.empty(most, np.bool_), np.empty((most, WIDTH))
    count = 0
    for g in range(lot):
        for n in range(len(leaves)):
            if line[g, n] < 0 or t_ns[g] > last_ns[n]:
                continue
            tag = tags[first_row[g] + line[g, n]]
            ids[count], observed[count], out[count] = tag[TREE], tag[DETECTION] >= 0, states[g, n]
            count += 1
        begin[g + 1] = count
    boxes = to_corners(out[:count, :4]).astype(np.float32)
    velocities = out[:count, VELOCITY : VELOCITY + 2].astype(np.float32)
    return begin, ids, boxes, velocities, out[:count, SCORE].astype(np.float32), observed


class Settled(NamedTuple):
    """Who was where in one frame, N people.

    ids: (N,) int64 the track trees.  boxes: (N, 4) float32 `x0, y0, x1, y1`.  velocities: (N, 2) float32
    pixels/s of the centres.  scores: (N,) float32 of the last detection.  observed: (N,) bool, False where
    a gap was filled.
    """

    t_ns: int
    ids: Int64
    boxes: Float32
    velocities: Float32
    scores: Float32
    observed: NDArray[np.bool_]

    def only(self, rows: NDArray[np.bool_]) -> Settled:
        """The same frame with these of its rows, a mask (N,)."""
        return Settled(
            self.t_ns,
            self.ids[rows],
            self.boxes[rows],
            self.velocities[rows],
            self.scores[rows],
            self.observed[rows],
        )


class Settler:
    """Settles the frames of one forest, each once, in order, at most `delay_s` after it was taken in.

    With a delay of 0 nothing is settled.
    """

    def __init__(self, forest: Forest, delay_s: float) -> None:
        self._forest = forest
        self._delay_s = delay_s
        self._keep_ns = round((1 - SHARE) * delay_s * 1e9)
        self.done_ns: int | None = None
        self._oldest_ns: int | None = None  # of the frames that are not settled

    def again(self, forest: Forest, done_ns: int | None = None) -> Settler:
        """The same for another forest, whose frames up to done_ns are settled."""
        settler = Settler(forest, self._delay_s)
        settler.done_ns = done_ns
        settler._oldest_ns = next((each.t_ns for each in settler._left()), None)
        return settler

    def before(self, t_ns: int) -> list[Settled]:
        """What must not wait for the frame of t_ns."""
        return self._settle(t_ns - self._keep_ns) if self._late(t_ns) else []

    def after(self, t_ns: int, dt_s: float) -> list[Settled]:
        """What must not wait for another frame, dt_s behind that of t_ns, which has been taken in."""
        if self._oldest_ns is None:
            self._oldest_ns = t_ns
        return self._settle(t_ns - self._keep_ns) if self._late(t_ns, dt_s) else []

    def flush(self) -> list[Settled]:
        """All that is left, at the end of the stream."""
        return self._settle(None) if self._delay_s > 0 else []

    def _late(self, t_ns: int, more_s: float = 0.0) -> bool:
        oldest_ns = self._oldest_ns
        if self._delay_s <= 0 or oldest_ns is None:
            return False
        return (t_ns - oldest_ns) * 1e-9 + more_s > self._delay_s

    def _left(self) -> list[Generation]:
        """The frames that are not settled."""
        done_ns = self.done_ns
        return [each for each in self._forest.past if done_ns is None or each.t_ns > done_ns]

    def _settle(self, until_ns: int | None) -> list[Settled]:
        left = self._left()
        lot = sum(until_ns is None or each.t_ns <= until_ns for each in left)
        self._oldest_ns = left[lot].t_ns if lot < len(left) else None
        if not lot:
            return []
        self.done_ns = left[lot - 1].t_ns
        tags = self._forest.leaves.tags
        leaves = self._forest.believed
        leaves = leaves[tags[leaves, CONFIRMED] != 0]
        begin, ids, boxes, velocities, scores, observed = lines(
            np.concatenate([each.state for each in left]),
            np.concatenate([each.tags for each in left]),
            np.cumsum([0, *(len(each.state) for each in left)]),
            leaves,
            tags[leaves, LAST_NS],
            np.array([each.t_ns for each in left]),
            np.array([each.dt_s for each in left]),
            np.stack([each.affine for each in left]),
            lot,
            self._forest.parameters,
        )
        parts = starmap(slice, pairwise(begin.tolist()))
        return [
            Settled(each.t_ns, ids[part], boxes[part], velocities[part], scores[part], observed[part])
            for each, part in zip(left[:lot], parts, strict=True)
        ]
