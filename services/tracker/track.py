"""One track: what is known of one person's uninterrupted stay in one camera's view."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from services.tracker.appearance import blend
from services.tracker.kalman import Float64
from services.tracker.reason import Reason

SAMPLE_S = 0.2
"""Least time between two points kept of a track's way."""

MAX_SAMPLES = 128
"""Points kept of a way; when there are more, every other one is forgotten."""

POINT = 6
"""Numbers of a point."""

FRESH_S = 2.0
"""What is older than this is no longer taken back."""


class Track:
    """One person's uninterrupted stay in one camera's view.

    way: (t_s, x, y, vx, vy, h) one after another: foot point and its velocity in pixels and pixels/s, height.
    here: the same of the last observation; `way` does not hold it yet.
    total, weight, count: sum of the embeddings weighted by their quality, of the weights, how many.
    recent: the smoothed embedding, for the association from frame to frame.
    first_ns, last_ns: when it was first and last observed.
    identity: the person it belongs to, 0 while undecided.
    doubt: how strongly the latest embeddings speak against the ones before, as a log-likelihood ratio.
    doubtful: those embeddings, their qualities and times, held back until the doubt is settled.
    seen_ns: when it was observed in the last moments.
    fresh: (t_ns, embedding, quality) of the last moments, which may turn out to be somebody else's.
    others: feature vectors of other kinds, as sum weighted by quality and sum of the qualities.
    own_s: how long it was apart from older tracks, as `shadow.py` counts; no more is counted than matters.
    pinned: the person an operator has decided it belongs to, 0 for none.
    reason: why it belongs to its identity, once that is decided.
    """

    __slots__ = (
        "camera",
        "count",
        "doubt",
        "doubtful",
        "first_ns",
        "fresh",
        "here",
        "identity",
        "last_ns",
        "open",
        "others",
        "own_s",
        "pinned",
        "reason",
        "recent",
        "seen_ns",
        "total",
        "track_id",
        "way",
        "weight",
    )

    def __init__(self, track_id: int, camera: int, t_ns: int) -> None:
        self.track_id = track_id
        self.camera = camera
        self.first_ns = self.last_ns = t_ns
        self.open = True
        self.identity = 0
        self.way = array("d")
        self.here: list[float] = []
        self.total: Float64 | None = None
        self.recent: Float64 | None = None
        self.weight = 0.0
        self.count = 0
        self.doubt = 0.0
        self.doubtful: list[tuple[Float64, float, int]] = []
        self.seen_ns: list[int] = [t_ns]
        self.fresh: list[tuple[int, Float64, float]] = []
        self.others: dict[str, tuple[Float64, float]] = {}
        self.own_s = 0.0
        self.pinned = 0
        self.reason: Reason | None = None

    def observe(self, t_ns: int, point: list[float]) -> None:
        """Another detection, at a point (t_s, x, y, vx, vy, h) of its way, which is kept as it is."""
        self.last_ns = t_ns
        seen_ns = self.seen_ns
        if len(seen_ns) > 1 and (t_ns - seen_ns[1]) * 1e-9 > FRESH_S:
            del seen_ns[0]
        seen_ns.append(t_ns)
        way = self.way
        if self.here and (not way or point[0] - way[-POINT] >= SAMPLE_S):
            way.fromlist(self.here)
            if len(way) >= MAX_SAMPLES * POINT:
                self.way = array("d", np.frombuffer(way.tobytes()).reshape(-1, POINT)[::2].tobytes())
        self.here = point

    def embed(self, vector: Float64, quality: float, t_ns: int = 0) -> None:
        """Another embedding of this person, seen at t_ns."""
        if self.total is None or self.recent is None:
            self.total, self.recent = vector * quality, vector.copy()
        else:
            self.total, self.recent = self.total + vector * quality, self.recent.copy()
            blend(self.recent, vector, quality)
        self.weight += quality
        self.count += 1
        while self.fresh and (t_ns - self.fresh[0][0]) * 1e-9 > FRESH_S:
            self.fresh.pop(0)
        self.fresh.append((t_ns, vector, quality))

    def rewind(self, t_ns: int) -> None:
        """Take back what was seen at t_ns and later, but for the first time."""
        kept = [at_ns for at_ns in self.seen_ns if at_ns < t_ns]
        self.seen_ns = kept or [self.first_ns]
        self.last_ns = self.seen_ns[-1]
        points = self.points()
        before = points[points[:, 0] < t_ns * 1e-9 - 1e-6]
        self._walked(before if len(before) else points[:1])
        for at_ns, vector, quality in self.fresh:
            if at_ns >= t_ns and self.total is not None:
                self.total = self.total - vector * quality
                self.weight -= quality
                self.count -= 1
        self.fresh = [each for each in self.fresh if each[0] < t_ns]
        if not self.count:
            self.total, self.recent, self.weight = None, None, 0.0
        self.doubt, self.doubtful = 0.0, []

    def question(self, vector: Float64, quality: float, ratio: float, t_ns: int = 0) -> None:
        """Another embedding, of t_ns; ratio: log-likelihood ratio of its being the same person as before.

        Doubt adds up while embeddings keep contradicting (a cumulative sum test, Page 1954), and one
        that agrees ends it.
        """
        if ratio >= 0:
            self.doubt = 0.0
            for held in self.doubtful:
                self.embed(*held)
            self.doubtful = []
            self.embed(vector, quality, t_ns)
        else:
            self.doubt -= ratio
            self.doubtful.append((vector, quality, t_ns))

    def successor(self, track_id: int, t_ns: int) -> Track:
        """The track of whoever is under this one since the doubt began."""
        track = Track(track_id, self.camera, t_ns)
        for held in self.doubtful:
            track.embed(*held)
        self.doubt, self.doubtful = 0.0, []
        return track

    def close(self) -> None:
        """End the track for good, and drop the embeddings that only a continuation would use."""
        self.open = False
        self.recent, self.fresh, self.doubtful = None, [], []

    def points(self) -> Float64:
        """(K, 6) float64, the way up to the last observation as an array."""
        return np.frombuffer(self.way + array("d", self.here)).reshape(-1, POINT)

    def _walked(self, points: Float64) -> None:
        self.way, self.here = array("d", points[:-1].tobytes()), points[-1].tolist()

    @property
    def foot(self) -> tuple[float, float]:
        """The foot point last seen, in pixels."""
        return self.here[1], self.here[2]

    def describe(self, kind: str, vector: Float64, quality: float) -> None:
        """Another feature vector of a kind that is no embedding of the whole appearance."""
        total, weight = self.others.get(kind, (np.zeros_like(vector), 0.0))
        self.others[kind] = (total + quality * vector, weight + quality)

    def feature(self, kind: str) -> tuple[Float64, float] | None:
        """Sum of the vectors of a kind weighted by their quality, and of the qualities; None without any."""
        if kind == "appearance":
            return None if self.total is None else (self.total, self.weight)
        return self.others.get(kind)

    def end(self) -> Track:
        """Only when, where and how this track ended: what a later one is compared with."""
        end = Track(self.track_id, self.camera, self.first_ns)
        end.last_ns, end.identity, end.open = self.last_ns, self.identity, False
        end.way, end.here = self.way[-POINT:], self.here
        return end

    def forget_looks(self, kind: str = "") -> None:
        """Drop everything by which the person could be recognised, or what is known of one kind."""
        if kind in ("", "appearance"):
            self.total = self.recent = None
            self.weight, self.count, self.doubt = 0.0, 0, 0.0
            self.doubtful, self.fresh = [], []
        if kind:
            self.others.pop(kind, None)
        else:
            self.others, self.reason = {}, None

    @property
    def mean(self) -> Float64 | None:
        """The mean embedding, weighted by quality; None while there is none."""
        return None if self.total is None else self.total / self.weight

    def state(self) -> list[Any]:
        """Plain values for `restored`."""
        values = [getattr(self, name) for name in self.__slots__]
        values[self.__slots__.index("reason")] = None if self.reason is None else self.reason.state()
        values[self.__slots__.index("way")] = np.array(self.way)
        return values

    @classmethod
    def restored(cls, state: list[Any]) -> Track:
        """What `state` gave."""
        track = cls(0, 0, 0)
        for name, value in zip(cls.__slots__, state, strict=True):
            setattr(track, name, Reason.restored(value) if name == "reason" and value else value)
        track.doubtful = [(vector, quality, t_ns) for vector, quality, t_ns in track.doubtful]
        track.fresh = [(t_ns, vector, quality) for t_ns, vector, quality in track.fresh]
        track.others = {kind: (total, weight) for kind, (total, weight) in track.others.items()}
        track.way, track.here = array("d", track.way.tobytes()), list(track.here)
        return track
