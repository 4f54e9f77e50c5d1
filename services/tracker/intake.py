"""What comes from the detector: only what is sound goes in, the rest is counted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.camera_tracker import Detections
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


class Sound(NamedTuple):
    """Feature vectors of one kind.  of: (K,) rows of the message.  vectors: (K, D).  quality: (K,) 0-1."""

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
        boxes = np.asarray(people.boxes, np.float64)
        scores = np.asarray(people.scores, np.float64)
        rows = _sound_rows(boxes, scores, people.stamp.width, people.stamp.height)
        self.counts["boxes_dropped"] += len(boxes) - len(rows)
        found = self._sound(APPEARANCE, people.features.get(APPEARANCE), len(boxes), "embeddings_refused")
        vectors, quality = np.zeros((len(boxes), self._sizes.get(APPEARANCE, 0))), np.zeros(len(boxes))
        if found is not None:
            vectors[found.of], quality[found.of] = found.vectors, np.maximum(found.quality, 0.01)
        return Detections(
            boxes[rows],
            np.minimum(np.maximum(scores[rows], 0.0), 1.0),
            np.asarray(people.flow, np.float64)[rows],
            vectors[rows],
            quality[rows],
            rows,
        )

    def others(self, people: People) -> dict[str, dict[int, tuple[Float64, float]]]:
        """By kind and row of the message, the sound vectors (length 1) of other kinds, and their quality."""
        said: dict[str, dict[int, tuple[Float64, float]]] = {}
        for kind in OTHERS:
            if kind in people.features:
                found = self._sound(kind, people.features[kind], len(people.boxes), "features_refused")
                if found is not None:
                    said[kind] = {
                        row: (vector, trust)
                        for row, vector, trust in zip(
                            found.of.tolist(), found.vectors, found.quality.tolist(), strict=True
                        )
                    }
        return said

    def _sound(self, kind: str, features: Features | None, people: int, counter: str) -> Sound | None:
        """Those that can be used; None where there are none."""
        if features is None or not len(features.of):
            return None
        vectors = np.array(features.vectors, np.float64)
        quality = np.asarray(features.quality, np.float64)
        of = np.asarray(features.of, np.int64)
        good = np.zeros(len(of), bool)
        size = vectors.shape[1]
        if size >= FEWEST_DIMENSIONS and size == self._sizes.setdefault(kind, size):
            good = _sound_vectors(vectors, quality, of, people)
        self.counts[counter] += int((~good).sum())
        return Sound(of[good], vectors[good], np.minimum(quality[good], 1.0)) if good.any() else None

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
