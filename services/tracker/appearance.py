"""How much a similarity of appearance says: calibrated, learned while it runs."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import compiled
from services.tracker.kalman import Float64

Real = TypeVar("Real", np.float32, np.float64)

SMOOTHING = 0.8
"""Share of the old that a fresh embedding of full quality leaves in the smoothed one."""


def normalised(vectors: NDArray[Real]) -> NDArray[Real]:
    """Rows scaled to length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), vectors.dtype)


@compiled
def blend(recent: Float64, vector: Float64, quality: float) -> None:
    """Take another embedding (D,) of this quality into a smoothed one, in place."""
    keep = 1.0 - (1.0 - SMOOTHING) * quality
    squares = 0.0
    for d in range(len(recent)):
        recent[d] = keep * recent[d] + (1.0 - keep) * vector[d]
        squares += recent[d] * recent[d]
    recent /= max(math.sqrt(squares), 1e-12)


@compiled
def likened(
    recent: Float64, vectors: Float64, rows: NDArray[np.int64]
) -> tuple[Float64, tuple[float, float, float, float]]:
    """(K,) cosines of K people's embeddings with their new ones, and four sums.

    recent: (K, D), vectors: (M, D) of length 1.  rows: (K,) each one's own new one.  The sums are those of
    these cosines and of their squares, and of the cosines with the new ones of the K - 1 others.
    """
    own, same, other = np.empty(len(recent)), np.zeros(2), np.zeros(2)
    for a in range(len(recent)):
        for b in range(len(recent)):
            cosine = 0.0
            for d in range(recent.shape[1]):
                cosine += recent[a, d] * vectors[rows[b], d]
            if a == b:
                own[a] = cosine
            sums = same if a == b else other
            sums[0] += cosine
            sums[1] += cosine * cosine
    return own, (same[0], same[1], other[0], other[1])


class Spread:
    """A running mean and standard deviation that begins with a prior worth `weight` samples."""

    def __init__(self, mean: float, deviation: float, weight: float) -> None:
        self._n = weight
        self._sum = mean * weight
        self._squares = (deviation**2 + mean**2) * weight

    @property
    def mean(self) -> float:
        """The mean so far."""
        return self._sum / self._n

    @property
    def deviation(self) -> float:
        """The standard deviation so far, never zero."""
        return math.sqrt(max(self._squares / self._n - self.mean**2, 1e-4))

    def add(self, values: Float64, weight: float = 1.0) -> None:
        """Learn from values, each worth `weight` samples."""
        self.add_sums(weight * values.size, weight * float(values.sum()), weight * float((values**2).sum()))

    def add_sums(self, count: float, total: float, squares: float) -> None:
        """Learn from so many samples by their sum and that of their squares."""
        self._n += count
        self._sum += total
        self._squares += squares

    def state(self) -> list[float]:
        """Plain numbers for `restored`."""
        return [self._n, self._sum, self._squares]

    @classmethod
    def restored(cls, state: list[float]) -> Spread:
        """What `state` gave."""
        spread = cls(0.0, 0.0, 1.0)
        spread._n, spread._sum, spread._squares = state
        return spread


@compiled
def log_ratios(
    cosines: Float64, same: tuple[float, float], different: tuple[float, float], bound: float
) -> Float64:
    """(K,) log-likelihood ratios of cosines between two normal distributions (mean, deviation), bounded."""
    (m1, s1), (m0, s0) = same, different
    low, high, ratio = min(m0, m1), max(m0, m1), math.log(s0 / s1)
    out = np.empty(len(cosines))
    for k in range(len(cosines)):
        # Beyond its mean a better match is never less likely the same person, nor below the
        # impostors' mean a worse one less likely another.
        c = min(max(cosines[k], low), high)
        value = ((c - m0) / s0) ** 2 / 2 - ((c - m1) / s1) ** 2 / 2 + ratio
        out[k] = min(max(value, -bound), bound)
    return out


class Similarity:
    """Log-likelihood ratio of a cosine: the same person against two different ones.

    Both distributions are normal, with their own mean and spread, and learned: different people are
    those seen at once by one camera, the same person is one track at two moments.  So a network with
    other cosines than the one at hand calibrates itself.  The ratio is bounded, because no cosine is
    proof, and never falls where the cosine grows.
    """

    def __init__(self, same: Spread, different: Spread, bound: float = 4.0) -> None:
        self.same = same
        self.different = different
        self.bound = bound

    def ratio(self, cosine: Float64) -> Float64:
        """Log-likelihood ratio for each cosine."""
        same, different = self.same, self.different
        apart = (same.mean, same.deviation), (different.mean, different.deviation)
        return log_ratios(cosine.ravel(), *apart, self.bound).reshape(cosine.shape)

    def learn(self, count: int, sums: tuple[float, float, float, float]) -> None:
        """Learn from what `likened` gives of so many people."""
        same, same_squares, other, other_squares = sums
        self.same.add_sums(count, same, same_squares)
        self.different.add_sums(0.5 * count * (count - 1), 0.5 * other, 0.5 * other_squares)

    def state(self) -> Any:
        """Plain numbers for `restored`."""
        return [self.same.state(), self.different.state()]

    @classmethod
    def restored(cls, state: Any) -> Similarity:
        """What `state` gave."""
        return cls(Spread.restored(state[0]), Spread.restored(state[1]))
