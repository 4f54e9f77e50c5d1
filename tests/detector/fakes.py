"""Networks whose answers a test decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from services.detector.family import Description, Detections, Pace, Sighting, detections, normalised
from services.detector.picture import Image, Picture, pixels
from shared.messages import Float32, Frame, FrameStamp, Motion

WIDTH, HEIGHT = 320, 240


def image(number: int = 0, boxes: Sequence[Sequence[float]] = ()) -> Image:
    """A noisy picture whose first pixel carries `number`, so that a fake can tell pictures apart."""
    random = np.random.default_rng(number)
    picture = random.integers(85, 145, (HEIGHT, WIDTH, 3), np.uint8)
    for x0, y0, x1, y1 in np.asarray(boxes, int).reshape(-1, 4):
        picture[y0:y1, x0:x1] += np.uint8(100)
    picture[0, 0] = number
    return picture


def frame(number: int, camera: int = 1, session: int = 1, motion: Motion | None = None) -> Frame:
    """The frame of that number of a camera with 10 frames a second."""
    return Frame(FrameStamp(camera, session, number, number * 100_000_000, WIDTH, HEIGHT), b"", motion)


class ScriptedDetector:
    """Answers each picture with the boxes (x0, y0, x1, y1, score) that the script gives its number."""

    name = "scripted"

    def __init__(self, script: Callable[[int], Sequence[Sequence[float]]]) -> None:
        self.batches: list[int] = []
        self.counts: Counter[str] = Counter()
        self._script = script

    def detect(self, images: Sequence[Picture]) -> list[Detections]:
        self.batches.append(len(images))
        rows = [
            np.array(self._script(int(pixels(each)[0, 0, 0])), np.float32).reshape(-1, 5) for each in images
        ]
        return [detections(each[:, :4], each[:, 4], WIDTH, HEIGHT) for each in rows]


class MeanEmbedder:
    """Mean colours as a vector; fails on crops with a pixel of the colour `poison`."""

    name = "mean"
    dimensions = 3

    def __init__(self, poison: int | None = None) -> None:
        self.crops = 0
        self.counts: Counter[str] = Counter()
        self._poison = poison

    def embed(self, crops: Sequence[Picture]) -> Float32:
        images = [pixels(each) for each in crops]
        if any((each == self._poison).all(axis=2).any() for each in images):
            raise RuntimeError("poisoned\nsecond line")
        self.crops += len(crops)
        means = np.array([each.mean(axis=(0, 1)) for each in images], np.float32).reshape(-1, 3)
        return normalised(means)


class MeanDescriber:
    """Mean colours of people to the left of `blind_from`; fails on pictures of the number `poison`."""

    name = "mean describer"
    pace = Pace(300_000_000, 200_000_000, 8.0, 16.0, 0.5, most_new=2, most_repeats=1)

    def __init__(self, blind_from: float = WIDTH, poison: int | None = None) -> None:
        self.asked = 0
        self._blind_from = blind_from
        self._poison = poison

    def describe(self, sightings: Sequence[Sighting]) -> list[Description | None]:
        if any(each.image[0, 0, 0] == self._poison for each in sightings):
            raise RuntimeError("poisoned\nsecond line")
        self.asked += len(sightings)
        return [self._one(each) if each.box[0] < self._blind_from else None for each in sightings]

    def _one(self, sighting: Sighting) -> Description:
        x0, y0, x1, y1 = (int(each) for each in sighting.box)
        mean = sighting.image[y0:y1, x0:x1].mean(axis=(0, 1))
        return Description(normalised(mean[None])[0], sighting.visible)
