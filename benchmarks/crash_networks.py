"""Networks that read the people off the painted pictures of `benchmarks.crash_world`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.crash_world import DIMENSIONS, HEIGHT, WIDTH, direction, lanes_of, painted_person
from services.detector.families import Networks
from services.detector.family import Detections, detections
from services.detector.picture import Picture, pixels
from shared.config import Config
from shared.messages import Float32

FRAME_S = 0.008
"""How long the network of recorded cameras takes for a frame; without it a recording is over too soon."""

_SCORE = 0.9


class PaintedDetector:
    """Finds the people of `World.picture`.

    frame_s: how long it takes for each picture.
    """

    name = "painted"

    def __init__(self, frame_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self._frame_s = frame_s

    def detect(self, images: Sequence[Picture]) -> list[Detections]:
        """One result an image, in order."""
        time.sleep(self._frame_s * len(images))
        boxes = [np.array(lanes_of(pixels(each)), np.float32).reshape(-1, 4) for each in images]
        return [detections(each, np.full(len(each), _SCORE), WIDTH, HEIGHT) for each in boxes]


class PaintedEmbedder:
    """Reads a person's number off the crop; everybody has an embedding of their own."""

    name = "painted"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def embed(self, crops: Sequence[Picture]) -> Float32:
        """(M, DIMENSIONS), one row a crop."""
        rows = [direction(painted_person(pixels(each))) for each in crops]
        return np.array(rows, np.float32).reshape(-1, DIMENSIONS)


def painted_networks(_: Config, __: object = None) -> Networks:
    """In place of `services.detector.families.build`."""
    return Networks(PaintedDetector(FRAME_S), PaintedEmbedder())
