"""What comes from the detector: only what is sound goes in, the rest is counted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.camera_tracker import CameraTracker, Detections
from services.tracker.compiled import compiled
from services.tracker.kalman import Float64
from services.tracker.resemblance import KINDS
from shared.messages import Features, People

FEWEST_DIMENSIONS = 8
"""A vector with fewer numbers describes nobody."""

ANOTHER_NETWORK = 20
"""So many messages in a row with vectors of one other length, and none of the usual one, are believed: the
network that describes people is another one now.  Fewer are a mistake."""

APPEARANCE = "appearance"
LEAST_QUALITY = 0.01
OTHERS = tuple(kind.name for kind in KINDS if kind.name != APPEARANCE)


@compiled
def _sound_rows(boxes: Float64, scores: Float64, width: int, height: int) -> NDArray[np.int64]:
    """Of (N, 4) boxes those that are finite, not empty, and in the picture, and whose score is finite."""
    out = np.empty(len(boxes), np.int64)
    count = 0
    for i in range(len(boxes)):
        x0, y0, x1, y1 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        if not np.isfinite(x0 + y0 + x1 + y1 + scores[i]):
            continue
        if x1 - x0 >= 1 and y1 - y0 >= 1 and x1 > 0 and y1 > 0 and x0 < width and y0 < height:
            out[count] = i
            count += 1
    return out[:count]


@compiled
def _sound_vectors(
    vectors: Float64, quality: Float64, of: NDArray[np.int64], people: int
) -> NDArray[np.bool_]:
    """(K,) which of the vectors are finite, not zero, and of somebody; those are scaled to length 1."""
    good = np.zeros(len(vectors), np.bool_)
    for k in range(len(vectors)):
        length = 0.0
        for value in vectors[k]:
            length += value * value
        if not (0.0 < length < np.inf and 0.0 <= quality[k] < np.inf and 0 <= of[k] < people):
            continue
        good[k] = True
        vectors[k] /= max(math.sqrt(length), 1e-12)
    return good


@compiled
def _sound_people(
    boxes: Float64,
    scores: Float64,
    flow: Float64,
    of: NDArray[np.int64],
    vectors: Float64,
    quality: Float64,
    width: int,
    height: int,
) -> tuple[Float64, Float64, Float64, Float64, Float64, NDArray[np.int64], int]:
    """The parts of `Detections` of the people that are sound, and how many of the vectors are not."""
    good = _sound_vectors(vectors, quality, of, len(boxes))
    place = np.full(len(boxes), -1)
    for k in range(len(of)):
        if good[k]:
            place[of[k]] = k
    rows = _sound_rows(boxes, scores, width, height)
    count, size = len(rows), vectors.shape[1]
    out_boxes, out_scores, out_flow = np.empty((count, 4)), np.empty(count), np.empty((count, 2))
    out_vectors, out_quality = np.zeros((count, size)), np.zeros(count)
    for i in range(count):
        out_boxes[i], out_flow[i] = boxes[rows[i]], flow[rows[i]]
        out_scores[i] = min(max(scores[rows[i]], 0.0), 1.0)
        k = place[rows[i]]
        if k >= 0:
            out_vectors[i], out_quality[i] = vectors[k], min(max(quality[k], LEAST_QUALITY), 1.0)
    return out_boxes, out_scores, out_flow, out_vectors, out_quality, rows, len(of) - int(good.sum())


class Given(NamedTuple):
    """Feature vectors of one kind.  of: (K,) rows of the message.  vectors: (K, D).  quality: (K,)."""

    of: NDArray[np.int64]
    vectors: Float64
    quality: Float64


class Intake:
    """Judges the messages of all cameras.

    counts: boxes_dropped (not finite, empty, outside the picture), embeddings_refused and features_refused
    (another length than before, not finite) since the start.  changed: the kinds of which the last message
    has shown that another network describes them now; what was known of their looks is of no use any more.
    """

    def __init__(self) -> None:
        self.counts = {"boxes_dropped": 0, "embeddings_refused": 0, "features_refused": 0}
        self.changed: dict[str, tuple[int, int]] = {}  # kind -> length before and now
        self._sizes: dict[str, int] = {}
        self._others: dict[str, tuple[int, int]] = {}  # kind -> another length, messages in a row

    def judge_lengths(self, people: People) -> None:
        """Before the rest of a message: whether its vectors have the usual lengths."""
        self.changed = {}
        for kind in (APPEARANCE, *OTHERS):
            features = people.features.get(kind)
            if features is None or not len(features.of) or np.ndim(features.vectors) != 2:
                continue
            size, usual = int(features.vectors.shape[1]), self._sizes.get(kind)
            if size == usual:
                self._others.pop(kind, None)
            elif usual is not None and size >= FEWEST_DIMENSIONS:
                other, count = self._others.get(kind, (size, 0))
                self._others[kind] = (size, count + 1 if size == other else 1)
                if self._others[kind][1] >= ANOTHER_NETWORK:
                    del self._others[kind]
                    self._sizes[kind], self.changed[kind] = size, (usual, size)

    def detections(self, people: People) -> Detections:
        """The sound boxes, with their embeddings."""
        given = self._given(APPEARANCE, people.features.get(APPEARANCE), "embeddings_refused")
        if given is None:
            given = Given(np.empty(0, np.int64), np.empty((0, self._sizes.get(APPEARANCE, 0))), np.empty(0))
        stamp, boxes = people.stamp, np.array(people.boxes, np.float64)
        taken = _sound_people(
            boxes, np.array(people.scores, np.float64), np.array(people.flow, np.float64), *given,
            stamp.width, stamp.height,
        )  # fmt: skip
        found = Detections(*taken[:6])
        self.counts["boxes_dropped"] += len(boxes) - len(found.rows)
        self.counts["embeddings_refused"] += taken[6]
        return found

    def others(self, people: People) -> dict[str, dict[int, tuple[Float64, float]]]:
        """By kind and row of the message, the sound vectors (length 1) of other kinds, and their quality."""
        said: dict[str, dict[int, tuple[Float64, float]]] = {}
        for kind in OTHERS:
            if kind in people.features:
                given = self._given(kind, people.features[kind], "features_refused")
                if given is not None:
                    good = _sound_vectors(given.vectors, given.quality, given.of, len(people.boxes))
                    self.counts["features_refused"] += len(good) - int(good.sum())
                    of, trust = given.of[good].tolist(), np.minimum(given.quality[good], 1.0).tolist()
                    if of:
                        said[kind] = dict(zip(of, zip(given.vectors[good], trust, strict=True), strict=True))
        return said

    def describe(self, camera: CameraTracker, detections: Detections, people: People) -> None:
        """Give a camera's tracks what is known of faces and clothes."""
        for kind, sound in self.others(people).items():
            for track, column in zip(camera.tracks, camera.columns, strict=True):
                if column >= 0 and int(detections.rows[column]) in sound:
                    track.describe(kind, *sound[int(detections.rows[column])])

    def _given(self, kind: str, features: Features | None, counter: str) -> Given | None:
        """Those of the usual length; None where there are none."""
        if features is None or not len(features.of):
            return None
        vectors = np.array(features.vectors, np.float64)
        size = vectors.shape[1]
        if size < FEWEST_DIMENSIONS or size != self._sizes.setdefault(kind, size):
            self.counts[counter] += len(features.of)
            return None
        return Given(np.array(features.of, np.int64), vectors, np.array(features.quality, np.float64))

    def state(self) -> dict[str, Any]:
        """Plain values for `restored`."""
        return {"counts": self.counts, "sizes": self._sizes, "others": self._others}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Intake:
        """What `state` gave."""
        intake = cls()
        intake.counts |= state["counts"]
        intake._sizes = state["sizes"]
        intake._others = {kind: (size, count) for kind, (size, count) in state["others"].items()}
        return intake
