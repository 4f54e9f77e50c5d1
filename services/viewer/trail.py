"""Where people walked in the last seconds, one camera's worth."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from shared.messages import Float32, Tracks

TRAIL_S = 5.0
"""How long a step stays visible."""

STEP_S = 0.2
"""Steps closer in time than this are merged: a trail needs no more to look smooth."""

MOST_TRAILS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """One track's way.

    points: (P, 2) float32 foot points (x, y), pixels of the camera's frame, oldest first.
    ages_s: (P,) float32 seconds since each, from the moment asked for.
    """

    track: int
    identity: int
    points: Float32
    ages_s: Float32


@dataclass(slots=True)
class _Steps:
    identity: int
    times_ns: deque[int] = field(default_factory=deque)
    points: deque[tuple[float, float]] = field(default_factory=deque)


class TrailMemory:
    """The trails of one camera, forgotten as they fade; bounded in length and in number."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Steps] = {}
        self._session = -1
        self._newest_ns = 0

    def update(self, tracks: Tracks) -> None:
        """Add the foot points of everyone observed; a new session or a step back in time starts afresh."""
        stamp = tracks.stamp
        if stamp.session != self._session or stamp.t_ns < self._newest_ns:
            self._tracks.clear()
        self._session, self._newest_ns = stamp.session, stamp.t_ns
        feet_x = (tracks.boxes[:, 0] + tracks.boxes[:, 2]) / 2
        for track, identity, x, y, observed in zip(
            tracks.track_ids.tolist(),
            tracks.identity_ids.tolist(),
            feet_x.tolist(),
            tracks.boxes[:, 3].tolist(),
            tracks.observed.tolist(),
            strict=True,
        ):
            if observed:
                self._step(track, identity, stamp.t_ns, (x, y))
        for track, identity in tracks.assignments.tolist():
            if track in self._tracks:
                self._tracks[track].identity = identity
        self._forget(stamp.t_ns)

    def _step(self, track: int, identity: int, t_ns: int, point: tuple[float, float]) -> None:
        # Reinserted, so that the dictionary's order is that of the last sighting.
        steps = self._tracks.pop(track, None) or _Steps(identity)
        self._tracks[track] = steps
        steps.identity = identity
        if len(steps.times_ns) >= 2 and steps.times_ns[-1] - steps.times_ns[-2] < STEP_S * 1e9:
            steps.times_ns[-1], steps.points[-1] = t_ns, point
        else:
            steps.times_ns.append(t_ns)
            steps.points.append(point)

    def _forget(self, t_ns: int) -> None:
        oldest_ns = t_ns - TRAIL_S * 1e9
        for track, steps in list(self._tracks.items()):
            while steps.times_ns and steps.times_ns[0] < oldest_ns:
                steps.times_ns.popleft()
                steps.points.popleft()
            if not steps.times_ns:
                del self._tracks[track]
        for track in list(self._tracks)[: max(0, len(self._tracks) - MOST_TRAILS)]:
            del self._tracks[track]

    def at(self, t_ns: int) -> list[Trail]:
        """The trails with something left to see at this moment."""
        trails = []
        for track, steps in self._tracks.items():
            ages_s = ((t_ns - np.array(steps.times_ns, np.int64)) / 1e9).astype(np.float32)
            seen = (ages_s >= 0) & (ages_s <= TRAIL_S)
            if np.count_nonzero(seen) >= 2:
                points = np.array(steps.points, np.float32)
                trails.append(Trail(track, steps.identity, points[seen], ages_s[seen]))
        return trails
