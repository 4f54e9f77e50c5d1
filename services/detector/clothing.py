"""Clothing: what a person wears, in which colours, as a vector to compare and as words to read.

The vector has a fixed layout.  Four parts, each of length 1 before its weight, weights squared summing to
1, so that the whole has length 1 and the cosine of two is a weighted mean of how alike the parts are:

    ATTRIBUTES   for each of `WORN`: sqrt(p), sqrt(1 - p), over sqrt(len(WORN))
    UPPER        for each of `colour.NAMES`: sqrt of its share of the upper garment's colour
    LOWER        the same for the lower garment
    HISTOGRAM    colour and relative lightness in stripes of the body, as `HistogramEmbedder`

Within a part the scalar product is a Bhattacharyya coefficient, and `shown` reads the numbers back.

The network also answers for sex and hair; those are dropped here, before anything sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector import colour
from services.detector.family import Description, Pace, Sighting
from services.detector.histogram import HistogramEmbedder
from services.detector.openvino_family import Network
from services.detector.picture import Image
from services.detector.quality import crop, crop_quality
from shared.errors import ModelError
from shared.messages import Float32

WORN = {"long trousers": 5, "long sleeves": 4, "coat": 7, "bag": 1, "backpack": 2, "hat": 3}
"""What the vector tells of, and its place in the network's answer."""

SURE = {"long trousers": 0.5, "bag": 0.8, "backpack": 0.6, "hat": 0.8}
"""Confidence from which something is put into words.  The others are too often wrong for that: of people
looked at by hand, the network's answer for a coat was lower for those in a coat than for others."""

HISTOGRAM_DIMENSIONS = 420
ATTRIBUTES = slice(0, 2 * len(WORN))
UPPER = slice(ATTRIBUTES.stop, ATTRIBUTES.stop + len(colour.NAMES))
LOWER = slice(UPPER.stop, UPPER.stop + len(colour.NAMES))
HISTOGRAM = slice(LOWER.stop, LOWER.stop + HISTOGRAM_DIMENSIONS)
DIMENSIONS = HISTOGRAM.stop

WEIGHTS = {"attributes": 0.1, "upper": 0.15, "lower": 0.15, "histogram": 0.6}
"""How much of the cosine each part makes."""

PATCH = 0.1
"""Half the side of the square around a garment's point whose colour is read, as a share of the width."""

PACE = Pace(
    interval_ns=2_000_000_000,
    settle_ns=500_000_000,
    lowest_width_px=20.0,
    lowest_height_px=60.0,
    lowest_visibility=0.75,
    most_new=2,
    most_repeats=1,
)


@dataclass(frozen=True, slots=True)
class Clothing:
    """What a clothing vector says.

    upper, lower: names of colours.  worn: confidence 0-1 for each of `WORN`.
    """

    upper: str
    lower: str
    worn: dict[str, float]


class ClothingDescriber:
    """The clothing of people who are seen whole."""

    name = "clothing attributes"
    pace = PACE

    def __init__(self, network: Network) -> None:
        """Raises ModelError where the network's answer is not eight attributes and two points."""
        sizes = [int(np.prod(shape)) for shape in network.output_shapes]
        if sizes != [8, 2, 2]:
            raise ModelError(
                f"{network.output_shapes} are not the outputs of a network of clothing attributes: "
                "pull it again"
            )
        self._network = network
        self._histogram = HistogramEmbedder()

    def describe(self, sightings: Sequence[Sighting]) -> list[Description | None]:
        """As `Describer.describe`; vectors are (DIMENSIONS,), everybody has one."""
        crops = [crop(each.image, each.box) for each in sightings]
        size = self._network.input_size
        answers = self._network.infer(
            np.ascontiguousarray(cv2.resize(each, size), np.uint8)[np.newaxis] for each in crops
        )
        light = {id(each.image): colour.light(each.image) for each in sightings}
        return [
            Description(
                self._vector(part, [np.ravel(each) for each in answer], light[id(sighting.image)]),
                crop_quality(part, sighting.visible),
            )
            for sighting, part, answer in zip(sightings, crops, answers, strict=True)
        ]

    def _vector(self, part: Image, answer: list[NDArray[np.floating]], gains: Float32) -> Float32:
        confidences, upper, lower = answer
        if not all(np.isfinite(each).all() for each in answer):
            raise ValueError("the network of clothing attributes answered with NaN")
        worn = np.clip(confidences[list(WORN.values())], 0, 1)
        parts = {
            "attributes": np.sqrt(np.column_stack([worn, 1 - worn]).ravel() / len(WORN)),
            "upper": np.sqrt(colour.shares(colour.lab(_patch(part, upper), gains))),
            "lower": np.sqrt(colour.shares(colour.lab(_patch(part, lower), gains))),
            "histogram": self._histogram.embed([part])[0],
        }
        vector: Float32 = np.concatenate(
            [np.sqrt(WEIGHTS[name]) * each for name, each in parts.items()]
        ).astype(np.float32)
        return vector


def _patch(part: Image, point: NDArray[np.floating]) -> Image:
    """The pixels around a point given as x, y in 0-1 of the crop; at least one."""
    height, width = part.shape[:2]
    half = max(1.0, PATCH * width)
    x, y = np.clip(point, 0, 1) * (width, height)
    return crop(part, np.array([x - half, y - half, x + half, y + half], np.float32))


def shown(vector: Float32) -> Clothing:
    """What the vector says; raises ValueError for one of another layout."""
    if vector.shape != (DIMENSIONS,):
        raise ValueError(f"a clothing vector has {DIMENSIONS} numbers, not {vector.shape}")
    attributes = vector[ATTRIBUTES].reshape(-1, 2)[:, 0] ** 2 * len(WORN) / WEIGHTS["attributes"]
    return Clothing(
        upper=colour.name(vector[UPPER]),
        lower=colour.name(vector[LOWER]),
        worn={name: float(np.clip(p, 0, 1)) for name, p in zip(WORN, attributes, strict=True)},
    )


def words(vector: Float32) -> str:
    """One line for an operator: "red above, dark blue below, long trousers, hat"."""
    seen = shown(vector)
    said = [name for name, least in SURE.items() if seen.worn[name] >= least]
    return ", ".join([f"{seen.upper} above", f"{seen.lower} below", *said])
