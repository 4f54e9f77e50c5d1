"""What comes from the detector: only what is sound goes in, the rest is counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.tracker.appearance import normalised
from services.tracker.camera_tracker import Detections
from services.tracker.kalman import Float64
from services.tracker.resemblance import KINDS
from shared.messages import Features, People

FEWEST_DIMENSIONS = 8
"""A vector with fewer numbers describes nobody."""

APPEARANCE = "appearance"
OTHERS = tuple(kind.name for kind in KINDS if kind.name != APPEARANCE)


class Intake:
    """Judges the messages of all cameras.

    counts: boxes_dropped (not finite, empty, outside the picture), embeddings_refused and features_refused
    (another length than before, not finite) since the start.
    """

    def __init__(self) -> None:
        self.counts = {"boxes_dropped": 0, "embeddings_refused": 0, "features_refused": 0}
        self._sizes: dict[str, int] = {}

    def detections(self, people: People) -> Detections:
        """The sound boxes, with their embeddings."""
        boxes = np.asarray(people.boxes, np.float64)
        scores = np.asarray(people.scores, np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            sound = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
            sound &= (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
            sound &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
            sound &= (boxes[:, 0] < people.stamp.width) & (boxes[:, 1] < people.stamp.height)
        self.counts["boxes_dropped"] += int((~sound).sum())
        found = self._sound(APPEARANCE, people.features.get(APPEARANCE), len(boxes), "embeddings_refused")
        vectors, quality = np.zeros((len(boxes), self._sizes.get(APPEARANCE, 0))), np.zeros(len(boxes))
        for row, (vector, trust) in found.items():
            vectors[row], quality[row] = vector, max(trust, 0.01)
        return Detections(
            boxes[sound],
            np.clip(scores[sound], 0, 1),
            np.asarray(people.flow, np.float64)[sound],
            vectors[sound],
            quality[sound],
            np.flatnonzero(sound),
        )

    def others(self, people: People) -> dict[str, dict[int, tuple[Float64, float]]]:
        """By kind and row of the message, the sound vectors (length 1) of other kinds, and their quality."""
        return {
            kind: self._sound(kind, people.features.get(kind), len(people.boxes), "features_refused")
            for kind in OTHERS
            if kind in people.features
        }

    def _sound(
        self, kind: str, features: Features | None, people: int, counter: str
    ) -> dict[int, tuple[Float64, float]]:
        if features is None or not len(features.of):
            return {}
        vectors = np.asarray(features.vectors, np.float64)
        quality = np.asarray(features.quality, np.float64)
        of = np.asarray(features.of, np.intp)
        good = np.zeros(len(of), bool)
        size = vectors.shape[1]
        if size >= FEWEST_DIMENSIONS and size == self._sizes.setdefault(kind, size):
            good = np.isfinite(vectors).all(axis=1) & np.isfinite(quality) & (of >= 0) & (of < people)
            good &= (np.abs(vectors).max(axis=1) > 0) & (quality >= 0)
        self.counts[counter] += int((~good).sum())
        vectors, quality = normalised(vectors[good]), np.minimum(quality[good], 1.0)
        return {
            int(row): (vector, float(trust))
            for row, vector, trust in zip(of[good], vectors, quality, strict=True)
        }

    def state(self) -> dict[str, Any]:
        """Plain values for `restored`."""
        return {"counts": self.counts, "sizes": self._sizes}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Intake:
        """What `state` gave."""
        intake = cls()
        intake.counts |= state["counts"]
        intake._sizes = state["sizes"]
        return intake
