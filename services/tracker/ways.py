"""The ways of tracks through their pictures, laid end to end so that many are read at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import Float64
from services.tracker.track import Track

DOOR = 0.35
"""A track that ends with its feet nearer to the side than this many heights has left."""


TOUCH_S = 0.5
"""Two stays that overlap by no more follow one another: the end of a track is a guess."""


@dataclass(slots=True)
class Ways:
    """The ways of tracks, laid end to end for interpolation.

    camera: (N,) ids.  first_s, last_s: (N,) seconds from `zero_s`.  size: (N, 2) the picture's sides.
    times: (S,) moments of all points, those of track n shifted by n * stride.
    points: (S, 5) x, y, vx, vy, h.
    """

    camera: NDArray[np.int64]
    first_s: Float64
    last_s: Float64
    size: Float64
    times: Float64
    points: Float64
    stride: float

    @classmethod
    def of(cls, tracks: list[Track], sizes_px: Mapping[int, tuple[int, int]]) -> Ways:
        """The ways of these tracks; sizes_px: width and height of each camera's picture."""
        ways = [track.points() for track in tracks]
        lengths = np.array([len(way) for way in ways])
        flat = np.concatenate(ways)
        zero_s = flat[:, 0].min()
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        begin, finish = flat[first, 0] - zero_s, flat[first + lengths - 1, 0] - zero_s
        stride = float(finish.max()) + 1.0
        times = flat[:, 0] - zero_s + np.repeat(np.arange(len(tracks)) * stride, lengths)
        return cls(
            camera=np.array([track.camera for track in tracks], np.int64),
            first_s=begin,
            last_s=finish,
            size=np.array([sizes_px[track.camera] for track in tracks], np.float64),
            times=times,
            points=flat[:, 1:],
            stride=stride,
        )

    def at(self, track: NDArray[np.intp], t_s: Float64) -> Float64:
        """(K, 5) x, y, vx, vy, h of tracks (K,) at moments (K,); before and after they are walked on."""
        inside = np.clip(t_s, self.first_s[track], self.last_s[track])
        when = inside + track * self.stride
        out = np.stack([np.interp(when, self.times, column) for column in self.points.T], axis=-1)
        out[:, :2] += out[:, 2:4] * (t_s - inside)[:, None]
        return out

    def leaves(self) -> NDArray[np.bool_]:
        """(N,) whether each track ends at the border of the picture."""
        end = self.at(np.arange(len(self.camera)), self.last_s)
        x, y, h = end[:, 0], end[:, 1], end[:, 4]
        side = np.minimum(x, self.size[:, 0] - x)
        upright = np.minimum(self.size[:, 1] - y, y - h)
        return np.asarray((side < DOOR * h) | (upright < DOOR / 4 * h))
