"""Tracks as they turn out to have been: the believed hypothesis a moment later, smoothed and without gaps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.forest import Forest
from services.tracker.kalman import VELOCITY, Float64, to_corners
from services.tracker.leaves import CONFIRMED, DETECTION, LAST_NS, PARENT, SCORE, TREE, Int64
from services.tracker.smoothing import smooth

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


class Settled(NamedTuple):
    """Who was where in one frame, N people.

    ids: (N,) int64 the track trees.  boxes: (N, 4) float64 `x0, y0, x1, y1`.  velocities: (N, 2) pixels/s
    of the centres.  scores: (N,) of the last detection.  observed: (N,) bool, False where a gap was filled.
    """

    t_ns: int
    ids: Int64
    boxes: Float64
    velocities: Float64
    scores: Float64
    observed: NDArray[np.bool_]


class Settler:
    """Settles the frames of one forest, each once, in order, at most `delay_s` after it was taken in.

    With a delay of 0 nothing is settled.
    """

    def __init__(self, forest: Forest, delay_s: float) -> None:
        self._forest = forest
        self._delay_s = delay_s
        self._keep_ns = round((1 - SHARE) * delay_s * 1e9)
        self.done_ns: int | None = None

    def again(self, forest: Forest, done_ns: int | None = None) -> Settler:
        """The same for another forest, whose frames up to done_ns are settled."""
        settler = Settler(forest, self._delay_s)
        settler.done_ns = done_ns
        return settler

    def before(self, t_ns: int) -> list[Settled]:
        """What must not wait for the frame of t_ns."""
        oldest_ns = self._oldest_ns()
        late = oldest_ns is not None and (t_ns - oldest_ns) * 1e-9 > self._delay_s
        return self._settle(t_ns - self._keep_ns) if late else []

    def after(self, t_ns: int, dt_s: float) -> list[Settled]:
        """What must not wait for another frame, dt_s behind that of t_ns, which has been taken in."""
        oldest_ns = self._oldest_ns()
        late = oldest_ns is not None and (t_ns - oldest_ns) * 1e-9 + dt_s > self._delay_s
        return self._settle(t_ns - self._keep_ns) if late else []

    def flush(self) -> list[Settled]:
        """All that is left, at the end of the stream."""
        return self._settle(None) if self._delay_s > 0 else []

    def _oldest_ns(self) -> int | None:
        if self._delay_s <= 0:
            return None
        times = (each.t_ns for each in self._forest.past)
        return next((t_ns for t_ns in times if self.done_ns is None or t_ns > self.done_ns), None)

    def _settle(self, until_ns: int | None) -> list[Settled]:
        past = list(self._forest.past)
        first = next(
            (g for g, each in enumerate(past) if self.done_ns is None or each.t_ns > self.done_ns), None
        )
        if first is None:
            return []
        past = past[first:]
        leaves = self._forest.believed
        leaves = leaves[self._forest.leaves.tags[leaves, CONFIRMED] != 0]
        first_row = np.cumsum([0, *(len(each.state) for each in past)])
        states, line, begins = traced(
            np.concatenate([each.state for each in past]),
            np.concatenate([each.tags[:, PARENT] for each in past]),
            first_row,
            leaves,
        )
        dt_s = np.array([each.dt_s for each in past])
        affines = np.array([each.affine for each in past]).reshape(-1, 2, 3)
        smooth(states, begins, dt_s, affines, self._forest.parameters)
        last_ns = self._forest.leaves.tags[leaves, LAST_NS]
        out = []
        for g, each in enumerate(past):
            if until_ns is not None and each.t_ns > until_ns:
                break
            there = (line[g] >= 0) & (each.t_ns <= last_ns)
            tags = each.tags[line[g, there]]
            state = states[g, there]
            out.append(
                Settled(
                    each.t_ns,
                    tags[:, TREE],
                    to_corners(state[:, :4]),
                    state[:, VELOCITY : VELOCITY + 2],
                    state[:, SCORE],
                    tags[:, DETECTION] >= 0,
                )
            )
            self.done_ns = each.t_ns
        return out
