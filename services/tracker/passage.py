"""One pair of cameras: how long the way takes, whether the views overlap, how the pictures lie to each other.

The map from picture to picture is a Bayesian linear regression (Bishop 2006, 3.3), so its evidence grows
with what it has seen: nothing at first, much once a few people have crossed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.ways import TOUCH_S, Ways

TRANSIT_S = 5.0
"""Time from view to view before any is known, worth one link."""

OVERLAP_ODDS = (0.5, 1.5)
"""Links at once and one after the other that count before any is known."""

ELSEWHERE = 20.0
"""Links for which all other pairs of cameras count together."""

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

STATURE = 0.2
"""Standard deviation of the logarithm of how much larger one person is in the second picture."""

STATURES = 0.3
"""Standard deviation of the logarithm of people's heights in one picture."""

SIZE_BOUND = 3.0
"""A height says no more than this against somebody: half hidden people are small."""

UNKNOWN_SCALE = 1.0
"""Standard deviation of the logarithm of the pictures' scales to each other before any link is known."""


@dataclass(slots=True)
class Lesson:
    """What K links teach about a pair of cameras.

    gram: (K, 3, 3) and moment: (K, 3, 2) what each adds to precision and moment of the map.
    growth: (K,) logarithm of the height in the second picture over that in the first.
    """

    gram: Float64
    moment: Float64
    growth: Float64


class Passage:
    """What is known of one pair of cameras, from settled links.

    precision: (3, 3), moment: (3, 2): the statistics of the map from the first camera to the second.
    at_once, in_turn: how many links of either kind.  waits, wait_s: gaps of the latter and their sum.
    growths, growth: how many heights were compared, and the sum of the logarithms of their ratios.
    """

    __slots__ = ("at_once", "growth", "growths", "in_turn", "moment", "precision", "wait_s", "waits")

    def __init__(self) -> None:
        self.precision: Float64 = np.eye(3) * PRIOR_PRECISION
        self.moment: Float64 = np.zeros((3, 2))
        self.at_once, self.in_turn = OVERLAP_ODDS
        self.waits, self.wait_s = 1.0, TRANSIT_S
        self.growths, self.growth = (STATURE / UNKNOWN_SCALE) ** 2, 0.0

    def learn(self, gap_s: float, lesson: Lesson, number: int) -> None:
        """Keep what one of K links says; gap_s: below zero where both cameras saw the person at once."""
        if gap_s < -TOUCH_S:
            self.at_once += 1
        else:
            self.in_turn += 1
            self.waits += 1
            self.wait_s += max(gap_s, 0.0)
        self.precision = self.precision + lesson.gram[number]
        self.moment = self.moment + lesson.moment[number]
        self.growths += 1
        self.growth += float(lesson.growth[number])

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def restored(cls, state: list[Any]) -> Passage:
        """What `state` gave."""
        passage = cls()
        for name, value in zip(cls.__slots__, state, strict=True):
            setattr(passage, name, value)
        return passage


class Knowledge:
    """What is known of the pairs of cameras that K links are between.

    passages: one for each pair.  of: (K,) which of them.
    """

    def __init__(self, passages: list[Passage], of: NDArray[np.intp]) -> None:
        self.of = of
        self._passages = passages

    def at(self, rows: NDArray[np.intp]) -> Knowledge:
        """For some of the links."""
        return Knowledge(self._passages, self.of[rows])

    def elsewhere(self, at_once: Float64, in_turn: Float64) -> Float64:
        """(K, 2) what the other pairs of cameras add to `OVERLAP_ODDS` for each link's: at once, in turn.

        at_once, in_turn: (K,) what each link adds to its own pair.  Cameras that overlap are seldom alone.
        A pair counts for one link at most, all of them for `ELSEWHERE`.
        """
        learned = np.array([[each.at_once, each.in_turn] for each in self._passages]) - OVERLAP_ODDS
        np.add.at(learned, self.of, np.stack([at_once, in_turn], axis=1))
        learned /= np.maximum(learned.sum(axis=1, keepdims=True), 1.0)
        others = (learned.sum(axis=0) - learned)[self.of]
        return np.asarray(others * np.minimum(ELSEWHERE / np.maximum(others.sum(axis=1), 1e-9), 1.0)[:, None])

    def without_own(self, name: str, taught: Float64) -> Float64:
        """(K, ...) what the passage of each link holds, and all of these links teach but the link itself.

        name: of `Passage`.  taught: (K, ...) what each link adds.
        """
        total = np.array([getattr(passage, name) for passage in self._passages], np.float64)
        teaching = np.flatnonzero(taught.reshape(len(taught), -1).any(axis=1))
        np.add.at(total, self.of[teaching], taught[teaching])
        return np.asarray(total[self.of] - taught)


@dataclass(slots=True)
class Crossings:
    """Pairs of tracks: where they are in both pictures at the same moments, in units of the pictures' sides.

    x: (K, 3, 3) homogeneous foot points in the first camera at three moments, y: (K, 3, 2) in the second.
    dx: (K, 3), dy: (K, 2) velocities, in sides/s.
    spread, turn: (K, 2) standard deviations of y and of dy.
    growth: (K,) logarithm of the height in the second picture over that in the first.
    """

    x: Float64
    y: Float64
    dx: Float64
    dy: Float64
    spread: Float64
    turn: Float64
    growth: Float64

    @classmethod
    def of(cls, ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp]) -> Crossings:
        """Tracks `earlier[k]` and `later[k]` of two cameras; the one with the smaller id is the first."""
        forward = ways.camera[earlier] < ways.camera[later]
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
            growth=np.log(np.maximum(b[:, 1, 4], 1.0) / np.maximum(a[:, 1, 4], 1.0)),
        )

    def lesson(self) -> Lesson:
        """What each pair teaches, where it is one person."""
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
        return Lesson(gram, moment, self.growth)

    def scores(self, known: Knowledge, weight: Float64) -> dict[str, Float64]:
        """Log-likelihood ratios (K,) of "place", "movement" and "size" against a newcomer's.

        weight: (K,) how certain each pair is to be one person, for these teach too; what a pair itself
        has taught is taken out before it is judged.
        """
        lesson = self.lesson()
        precision = known.without_own("precision", weight[:, None, None] * lesson.gram)
        moment = known.without_own("moment", weight[:, None, None] * lesson.moment)
        place, movement = placed(self.x, self.y, self.dx, self.dy, self.spread, self.turn, precision, moment)
        n = known.without_own("growths", weight)
        mean = known.without_own("growth", weight * self.growth) / n
        own = STATURE**2 * (1 + 1 / n)
        anybody = own + 2 * STATURES**2
        off = (self.growth - mean) ** 2
        size = 0.5 * (off / anybody + np.log(anybody)) - 0.5 * (off / own + np.log(own))
        return {"place": place, "movement": movement, "size": np.maximum(size, -SIZE_BOUND)}


@compiled
def _inverse(a: Float64, out: Float64) -> None:
    """Fill `out` with the inverse of a symmetric (3, 3) matrix, by its cofactors."""
    out[0, 0] = a[1, 1] * a[2, 2] - a[1, 2] * a[1, 2]
    out[0, 1] = a[0, 2] * a[1, 2] - a[0, 1] * a[2, 2]
    out[0, 2] = a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1]
    out[1, 1] = a[0, 0] * a[2, 2] - a[0, 2] * a[0, 2]
    out[1, 2] = a[0, 1] * a[0, 2] - a[0, 0] * a[1, 2]
    out[2, 2] = a[0, 0] * a[1, 1] - a[0, 1] * a[0, 1]
    out[1, 0], out[2, 0], out[2, 1] = out[0, 1], out[0, 2], out[1, 2]
    out /= a[0, 0] * out[0, 0] + a[0, 1] * out[0, 1] + a[0, 2] * out[0, 2]


@compiled
def _mapped(x: Float64, covariance: Float64, moment: Float64) -> tuple[float, float, float]:
    """Where the map carries a point (3,), and the variance of that: covariance (3, 3), moment (3, 2)."""
    first, second, unsure = 0.0, 0.0, 0.0
    for i in range(3):
        weight = covariance[i, 0] * x[0] + covariance[i, 1] * x[1] + covariance[i, 2] * x[2]
        first += weight * moment[i, 0]
        second += weight * moment[i, 1]
        unsure += weight * x[i]
    return first, second, unsure


@compiled
def placed(
    x: Float64,
    y: Float64,
    dx: Float64,
    dy: Float64,
    spread: Float64,
    turn: Float64,
    precision: Float64,
    moment: Float64,
) -> tuple[Float64, Float64]:
    """Log-likelihood ratios (K,) of "place" and "movement".

    x, y, dx, dy, spread, turn: as `Crossings` has them.  precision, moment: (K, 3, 3), (K, 3, 2) of the maps.
    """
    count, moments = x.shape[:2]
    place, movement = np.empty(count), np.empty(count)
    covariance = np.empty((3, 3))
    rare, usual = math.log(OUTLIERS), math.log1p(-OUTLIERS)
    for k in range(count):
        _inverse(precision[k], covariance)
        density = 0.0
        for m in range(moments):
            first, second, unsure = _mapped(x[k, m], covariance, moment[k])
            value = 0.0
            for axis in range(2):
                away = y[k, m, axis] - (first if axis == 0 else second)
                variance = spread[k, axis] ** 2 + unsure
                value -= 0.5 * (away * away / variance + math.log(2 * math.pi * variance))
            # What is as unsure as somewhere in the picture says nothing yet.
            density += value * min(max(1 - unsure / EVEN, 0.0), 1.0) / moments
        first, second, unsure = _mapped(dx[k], covariance, moment[k])
        walk = 0.0
        for axis in range(2):
            turned = dy[k, axis] - (first if axis == 0 else second)
            variance, anybody = turn[k, axis] ** 2 + unsure, turn[k, axis] ** 2 + ANYBODY**2
            walk -= 0.5 * (turned * turned / variance + math.log(variance))
            walk += 0.5 * (dy[k, axis] ** 2 / anybody + math.log(anybody))
        walk *= min(max(1 - unsure / ANYBODY**2, 0.0), 1.0)
        place[k] = np.logaddexp(usual + density, rare)
        movement[k] = np.logaddexp(usual + density + walk, rare) - place[k]
    return place, movement
