"""How people get from one camera's view into another's: learned from the links that are made.

For each pair of cameras three things are learned: after how long one follows the other; whether people
are in both at once, that is, whether the views overlap; and how the pictures lie to each other, as an
affine map that carries a foot point, walked on through the gap, from one picture to the other.  The map
is a Bayesian linear regression over all links made so far (Bishop 2006, 3.3), so its evidence grows with
what it has seen: nothing at first, much once a few people have crossed.  A link is never judged by what
it has itself taught: its own share is taken out first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.kalman import Float64
from services.tracker.track import Track

ARRIVALS = 0.2
"""Newcomers a second: what somebody's reappearance is weighed against."""

TRANSIT_S = 5.0
"""Time from view to view before any is known, worth one link."""

RETURN = -4.0
"""Log-odds that a newcomer is one certain person who was gone, without evidence of time or place."""

OVERLAP_ODDS = (0.5, 1.5)
"""Links at once and one after the other that count before any is known."""

REACH_S = 10.0
"""Longest gap over which a person's way is thought on."""

SAMPLES = np.array([0.1, 0.5, 0.9])
"""Moments, as shares of the time in which two tracks are seen at once, at which they are compared."""

PLACE = 0.2
DRIFT = 0.3
"""Standard deviation of a foot point in heights, and what each second of thinking on adds."""

SPEED = 0.5
"""Standard deviation of a velocity in heights/s."""

OUTLIERS = 0.05
"""Share of true links whose place the map does not explain."""

PRIOR_PRECISION = 1.0
"""Of the coefficients of a map, in units of the picture's sides."""

EVEN = 1 / 12
"""Variance of a place anywhere in the picture, in squared sides."""

ANYBODY = 0.15
"""Standard deviation of anybody's velocity, in sides of the picture a second."""

DOOR = 0.35
"""A track that ends with its feet nearer to the side than this many heights has left."""

STAY_S, LEAVE_S = 5.0, 1.0
"""Mean time after which people lost within the picture, and at its border, are found in the same camera."""

IMPOSSIBLE = -np.inf


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
    def of(cls, tracks: list[Track], sizes_px: dict[int, tuple[int, int]]) -> Ways:
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


class Passage:
    """What is known of one pair of cameras, from settled links.

    precision: (3, 3), moment: (3, 2): the statistics of the map from the first camera to the second.
    at_once, in_turn: how many links of either kind.  wait_s: the sum of their gaps.
    """

    def __init__(self) -> None:
        self.precision: Float64 = np.eye(3) * PRIOR_PRECISION
        self.moment: Float64 = np.zeros((3, 2))
        self.at_once, self.in_turn = OVERLAP_ODDS
        self.waits, self.wait_s = 1.0, TRANSIT_S

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [self.precision, self.moment, self.at_once, self.in_turn, self.waits, self.wait_s]

    @classmethod
    def restored(cls, state: list[Any]) -> Passage:
        """What `state` gave."""
        passage = cls()
        passage.precision, passage.moment = state[0], state[1]
        passage.at_once, passage.in_turn, passage.waits, passage.wait_s = state[2:]
        return passage


class Topology:
    """The evidence of time and place for two tracks being consecutive stays of one person."""

    def __init__(self) -> None:
        self.passages: dict[tuple[int, int], Passage] = {}

    def ratio(
        self,
        ways: Ways,
        earlier: NDArray[np.intp],
        later: NDArray[np.intp],
        links: Float64,
    ) -> Float64:
        """(K,) log-likelihood ratios: track `later[k]` continues track `earlier[k]`.

        links: (K,) how certain each of these pairs is to be a link, from the decision before; what is
        learned comes from those, and from the settled ones.
        """
        value = np.full(len(earlier), IMPOSSIBLE)
        a, b = ways.camera[earlier], ways.camera[later]
        same = a == b
        value[same] = self._same_camera(ways, earlier[same], later[same])
        low, high = np.minimum(a, b), np.maximum(a, b)
        for pair in sorted({(int(x), int(y)) for x, y in zip(low[~same], high[~same], strict=True)}):
            rows = np.flatnonzero((low == pair[0]) & (high == pair[1]))
            value[rows] = self._two_cameras(pair, ways, earlier[rows], later[rows], links[rows])
        return value

    @staticmethod
    def _same_camera(ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp]) -> Float64:
        gap_s = ways.first_s[later] - ways.last_s[earlier]
        near = np.minimum(gap_s, REACH_S)
        start = ways.at(later, ways.first_s[later])
        end = ways.at(earlier, ways.last_s[earlier])
        heights = np.maximum(start[:, 4], 1.0)
        # Somebody unseen may walk on, stop or turn: the spread grows with the time from where they were.
        deviation = (PLACE + SPEED * near) * heights
        distance = ((start[:, :2] - end[:, :2] - end[:, 2:4] * np.minimum(near, 1.0)[:, None]) ** 2).sum(
            axis=1
        )
        area = ways.size[later].prod(axis=1)
        place = np.log(area / (2 * np.pi * deviation**2)) - distance / deviation**2 / 2
        mean_s = np.where(ways.leaves()[earlier], LEAVE_S, STAY_S)
        time = -gap_s / mean_s - np.log(mean_s * ARRIVALS)
        value = np.logaddexp(np.minimum(place, 3.0) + time, RETURN)
        return np.asarray(np.where(gap_s > 0, value, IMPOSSIBLE))

    def _two_cameras(
        self,
        pair: tuple[int, int],
        ways: Ways,
        earlier: NDArray[np.intp],
        later: NDArray[np.intp],
        links: Float64,
    ) -> Float64:
        passage = self.passages.get(pair) or Passage()
        gap_s = ways.first_s[later] - ways.last_s[earlier]
        at_once = gap_s < 0
        # A pair's own share in what was learned is taken out before it is judged.
        taught = np.where(at_once, 0.0, links)
        waits = passage.waits + taught.sum() - taught
        wait_s = passage.wait_s + (taught * gap_s).sum() - taught * gap_s
        mean_s = np.maximum(wait_s / waits, LEAVE_S)
        overlapping = passage.at_once + links[at_once].sum() - links * at_once
        following = passage.in_turn + taught.sum() - taught
        share = overlapping / (overlapping + following)
        time = np.where(
            at_once,
            np.log(share / (1 - share)).clip(-4.0, 0.0),
            -np.maximum(gap_s, 0) / mean_s - np.log(mean_s * ARRIVALS),
        )
        place = self._place(passage, pair, ways, (earlier, later), links)
        value = time + place
        return np.asarray(np.where(at_once, value, np.logaddexp(value, RETURN)))

    @staticmethod
    def _place(
        passage: Passage,
        pair: tuple[int, int],
        ways: Ways,
        ends: tuple[NDArray[np.intp], NDArray[np.intp]],
        links: Float64,
    ) -> Float64:
        earlier, later = ends
        near = np.flatnonzero(ways.first_s[later] - ways.last_s[earlier] < REACH_S)
        value = np.zeros(len(earlier))
        if not len(near):
            return value
        sample = _Samples.of(pair, ways, earlier[near], later[near])
        weight = links[near]
        gram, moment = sample.statistics()
        precision = passage.precision + (weight[:, None, None] * gram).sum(axis=0)
        total = passage.moment + (weight[:, None, None] * moment).sum(axis=0)
        # Each pair without its own share, all in one batch of 3 x 3 inverses.
        covariance = np.linalg.inv(precision - weight[:, None, None] * gram)
        coefficients = covariance @ (total - weight[:, None, None] * moment)
        value[near] = sample.score(covariance, coefficients)
        return value

    def learn(self, ways: Ways, earlier: int, later: int) -> None:
        """Keep what a link says that is now settled."""
        a, b = int(ways.camera[earlier]), int(ways.camera[later])
        if a == b:
            return
        pair = (min(a, b), max(a, b))
        passage = self.passages.setdefault(pair, Passage())
        gap_s = float(ways.first_s[later] - ways.last_s[earlier])
        if gap_s >= REACH_S:
            return
        if gap_s < 0:
            passage.at_once += 1
        else:
            passage.in_turn += 1
            passage.waits += 1
            passage.wait_s += gap_s
        gram, moment = _Samples.of(pair, ways, np.array([earlier]), np.array([later])).statistics()
        passage.precision = passage.precision + gram[0]
        passage.moment = passage.moment + moment[0]

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [[*pair, passage.state()] for pair, passage in sorted(self.passages.items())]

    @classmethod
    def restored(cls, state: list[Any]) -> Topology:
        """What `state` gave."""
        topology = cls()
        topology.passages = {(a, b): Passage.restored(passage) for a, b, passage in state}
        return topology


@dataclass(slots=True)
class _Samples:
    """Where pairs of tracks are in both pictures at the same moments, in units of the pictures' sides.

    x: (K, 3, 3) homogeneous foot points in the first camera at three moments, y: (K, 3, 2) in the second.
    dx: (K, 3), dy: (K, 2) velocities, in sides/s.
    spread, turn: (K, 2) standard deviations of y and of dy.
    """

    x: Float64
    y: Float64
    dx: Float64
    dy: Float64
    spread: Float64
    turn: Float64

    @classmethod
    def of(
        cls, pair: tuple[int, int], ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp]
    ) -> _Samples:
        forward = ways.camera[earlier] == pair[0]
        first, second = np.where(forward, earlier, later), np.where(forward, later, earlier)
        begin = ways.first_s[later]
        finish = np.minimum(ways.last_s[earlier], ways.last_s[later])
        gap_s = np.maximum(begin - finish, 0.0)
        share = np.where((gap_s > 0)[:, None], 0.5, SAMPLES[None])
        moments = begin[:, None] + share * (finish - begin)[:, None]
        k = len(first)
        a = ways.at(np.repeat(first, 3), moments.ravel()).reshape(k, 3, 5)
        b = ways.at(np.repeat(second, 3), moments.ravel()).reshape(k, 3, 5)
        size_a, size_b = ways.size[first], ways.size[second]
        height = np.maximum(b[:, 1, 4], 1.0)[:, None] / size_b
        return cls(
            x=np.concatenate([a[..., :2] / size_a[:, None], np.ones((k, 3, 1))], axis=2),
            y=b[..., :2] / size_b[:, None],
            dx=np.concatenate([a[:, 1, 2:4] / size_a, np.zeros((k, 1))], axis=1),
            dy=b[:, 1, 2:4] / size_b,
            spread=height * (PLACE + DRIFT * gap_s)[:, None],
            turn=height * SPEED,
        )

    def statistics(self) -> tuple[Float64, Float64]:
        """(K, 3, 3) and (K, 3, 2): what each pair adds to precision and moment of the map."""
        # One point and one velocity a pair: more points of the same walk are not independent.
        w = 1 / self.spread.prod(axis=1)
        v = 1 / self.turn.prod(axis=1)
        x, y = self.x[:, 1], self.y[:, 1]
        gram = (
            w[:, None, None] * x[:, :, None] * x[:, None]
            + v[:, None, None] * self.dx[:, :, None] * self.dx[:, None]
        )
        moment = (
            w[:, None, None] * x[:, :, None] * y[:, None]
            + v[:, None, None] * self.dx[:, :, None] * self.dy[:, None]
        )
        return gram, moment

    def score(self, covariance: Float64, coefficients: Float64) -> Float64:
        """(K,) log-likelihood ratio of the second place, given the first, against a newcomer's."""
        away = self.y - self.x @ coefficients
        unsure = np.einsum("kmi,kij,kmj->km", self.x, covariance, self.x)[..., None]
        variance = self.spread[:, None] ** 2 + unsure
        density = -0.5 * (away**2 / variance + np.log(2 * np.pi * variance)).sum(axis=2)
        # What is as unsure as somewhere in the picture says nothing yet.
        density = (density * np.clip(1 - unsure[..., 0] / EVEN, 0, 1)).mean(axis=1)
        turned = self.dy - np.einsum("ki,kij->kj", self.dx, coefficients)
        unsure = np.einsum("ki,kij,kj->k", self.dx, covariance, self.dx)[:, None]
        anybody = self.turn**2 + ANYBODY**2
        variance = self.turn**2 + unsure
        walk = -0.5 * (turned**2 / variance + np.log(variance)).sum(axis=1)
        walk += 0.5 * (self.dy**2 / anybody + np.log(anybody)).sum(axis=1)
        density += walk * np.clip(1 - unsure[:, 0] / ANYBODY**2, 0, 1)
        return np.asarray(np.logaddexp(np.log1p(-OUTLIERS) + density, np.log(OUTLIERS)))
