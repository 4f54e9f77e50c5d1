"""The ways of tracks through their pictures, laid end to end so that many are read at once."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.track import POINT, Track

DOOR = 0.35
"""A track that ends with its feet nearer to the side than this many heights has left."""


TOUCH_S = 0.5
"""Two stays that overlap by no more follow one another: the end of a track is a guess."""


@compiled
def walked(
    points: Float64, start: NDArray[np.int64], track: NDArray[np.int64], t_s: Float64, zero_s: float
) -> Float64:
    """(K, 5) x, y, vx, vy, h of tracks (K,) at moments (K,).

    On the line between two points, walked on before the first and behind the last.
    points: (S, 6) with the time before, those of track n from start[n] to start[n + 1].
    """
    out = np.empty((len(track), 5))
    for k in range(len(track)):
        low, high = start[track[k]], start[track[k] + 1] - 1
        first_s, last_s = points[low, 0] - zero_s, points[high, 0] - zero_s
        inside = min(max(t_s[k], first_s), last_s)
        while high - low > 1:
            middle = (low + high) // 2
            if points[middle, 0] - zero_s <= inside:
                low = middle
            else:
                high = middle
        long_s = points[high, 0] - points[low, 0]
        share = (inside - (points[low, 0] - zero_s)) / long_s if long_s > 0.0 else 0.0
        for d in range(5):
            out[k, d] = points[low, d + 1] + share * (points[high, d + 1] - points[low, d + 1])
        out[k, 0] += out[k, 2] * (t_s[k] - inside)
        out[k, 1] += out[k, 3] * (t_s[k] - inside)
    return out


@dataclass(slots=True)
class Ways:
    """The ways of tracks, laid end to end for interpolation.

    camera: (N,) ids.  first_s, last_s: (N,) seconds from `zero_s`.  size: (N, 2) the picture's sides.
    points: (S, 6) t, x, y, vx, vy, h, those of track n from start[n] to start[n + 1].
    """

    camera: NDArray[np.int64]
    first_s: Float64
    last_s: Float64
    size: Float64
    points: Float64
    start: NDArray[np.int64]
    zero_s: float

    @classmethod
    def of(cls, tracks: list[Track], sizes_px: Mapping[int, tuple[int, int]]) -> Ways:
        """The ways of these tracks; sizes_px: width and height of each camera's picture."""
        numbers, ends = array("d"), [0]
        for track in tracks:
            numbers.extend(track.way)
            numbers.fromlist(track.here)
            ends.append(len(numbers) // POINT)
        flat, start = np.frombuffer(numbers).reshape(-1, POINT), np.array(ends)
        zero_s = float(flat[:, 0].min())
        return cls(
            camera=np.array([track.camera for track in tracks], np.int64),
            first_s=flat[start[:-1], 0] - zero_s,
            last_s=flat[start[1:] - 1, 0] - zero_s,
            size=np.array([sizes_px[track.camera] for track in tracks], np.float64),
            points=flat,
            start=start,
            zero_s=zero_s,
        )

    def at(self, track: NDArray[np.intp], t_s: Float64) -> Float64:
        """(K, 5) x, y, vx, vy, h of tracks (K,) at moments (K,); before and after they are walked on."""
        return np.asarray(walked(self.points, self.start, track, t_s, self.zero_s))

    def leaves(self) -> NDArray[np.bool_]:
        """(N,) whether each track ends at the border of the picture."""
        end = self.at(np.arange(len(self.camera)), self.last_s)
        x, y, h = end[:, 0], end[:, 1], end[:, 4]
        side = np.minimum(x, self.size[:, 0] - x)
        upright = np.minimum(self.size[:, 1] - y, y - h)
        return np.asarray((side < DOOR * h) | (upright < DOOR / 4 * h))
