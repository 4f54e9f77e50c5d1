"""What every family of networks offers: a person detector and an appearance embedder.

Boxes are float32 `x0, y0, x1, y1` in pixels of the picture, clipped to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from services.detector.picture import Image, Picture
from shared.messages import Float32

LOWEST_SCORE = 0.1
"""Detections scored lower are noise.  Those between this and `Config.confidence` are reported all the
same: too weak to begin a track, they can continue one (ByteTrack, Zhang et al., ECCV 2022)."""

SMALLEST_SIDE_PX = 2.0
"""A box narrower or lower than this, once clipped to the image, is dropped."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The people of one image, the surest first.

    boxes: (N, 4) float32 pixels of the image.  scores: (N,) float32 in 0-1.
    """

    boxes: Float32
    scores: Float32

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Pace:
    """Whom to look at closely, and how often.

    interval_ns: a person in plain sight is looked at again after this time.
    settle_ns: no reason but being new leads to a second look sooner than this.
    lowest_width_px, lowest_height_px: of the box.  lowest_visibility: 0-1.
    most_new, most_repeats: people in one frame who were never looked at, and who were; the others' turn
        comes in the next frames.
    """

    interval_ns: int
    settle_ns: int
    lowest_width_px: float
    lowest_height_px: float
    lowest_visibility: float
    most_new: int
    most_repeats: int


class PersonDetector(Protocol):
    """Finds people.  An image's result does not depend on the images beside it in the batch."""

    @property
    def name(self) -> str:
        """The network's name in the manifest."""

    @property
    def counts(self) -> Counter[str]:
        """What failed and was made good, by what it was, since the start."""

    def detect(self, images: Sequence[Picture]) -> list[Detections]:
        """One result an image, in order.

        Raises ValueError where a network answers with NaN, and whatever its runtime raises.
        """


class Embedder(Protocol):
    """Describes what a person looks like.  A crop's vector does not depend on the crops beside it."""

    @property
    def name(self) -> str:
        """The network's name in the manifest."""

    @property
    def dimensions(self) -> int:
        """Columns of the vectors."""

    @property
    def counts(self) -> Counter[str]:
        """As of a detector."""

    def embed(self, crops: Sequence[Picture]) -> Float32:
        """(M, dimensions) float32, L2-normalised, one row a crop, in order; compare by cosine.

        A crop is the part of an image inside a box, of any size from 1x1.  Raises ValueError where a
        network answers with NaN, and whatever its runtime raises.
        """


class Sighting(NamedTuple):
    """One person in one picture.

    image: the whole picture.  box: (4,) float32, inside it.  visible: 0-1, as `quality.visibility` has it.
    """

    image: Image
    box: Float32
    visible: float


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What a describer saw of a person.

    vector: (D,) float32 of length 1, compared by cosine.  quality: 0-1.
    """

    vector: Float32
    quality: float


class Describer(Protocol):
    """Describes people by what not every picture of them shows: their face, their clothing.

    One person's description does not depend on the others in the call.
    """

    @property
    def name(self) -> str:
        """What the log calls it."""

    @property
    def pace(self) -> Pace:
        """Whom it is worth asking about, and how often."""

    def describe(self, sightings: Sequence[Sighting]) -> list[Description | None]:
        """One result a sighting, in order; None where there is nothing to be seen.

        Raises ValueError where a network answers with NaN, and whatever its runtime raises.
        """


def detections(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], width: int, height: int
) -> Detections:
    """Detections as the interface promises them: finite, clipped to the image, ordered by score.

    Raises ValueError for NaN or infinity: the network failed, the image is not to be trusted as empty.
    """
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("the network answered with NaN")
    clipped = np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = np.flatnonzero((sides >= SMALLEST_SIDE_PX).all(axis=1))
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return Detections(clipped[order], np.clip(scores[order], 0, 1).astype(np.float32))


def normalised(vectors: NDArray[np.floating]) -> Float32:
    """The rows scaled to length 1; raises ValueError where one is NaN, infinite or all zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("the network answered with a vector that has no direction")
    unit: Float32 = (vectors / lengths).astype(np.float32)
    return unit
