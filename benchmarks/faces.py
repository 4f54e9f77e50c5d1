"""How well faces are told apart: the same face in other light, size and turn, and the faces of others.

Every labelled person of the pictures who shows a face is described, then again mirrored, darker, brighter,
smaller, tilted and compressed harder.  How alike a face is to itself in another guise, against how alike it
is to other people's, gives the ROC curve.

    python -m benchmarks.faces SHARED
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.families import describers
from services.detector.family import Describer, Sighting
from shared.config import Config

SMALLEST_WIDTH_PX, SMALLEST_HEIGHT_PX = 32, 80
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
FALSE_RATES = (0.001, 0.01, 0.1)


def people(pictures: Path) -> list[tuple[str, Sighting]]:
    """The labelled people who are large enough, none of them twice, and their picture's name.

    pictures: a folder with images/ and labels/, one text a picture with rows of `0 x y width height`, 0-1.
    """
    found: list[tuple[str, Sighting]] = []
    for labels in sorted((pictures / "labels").glob("*.txt")):
        image = np.asarray(cv2.imread(str(pictures / "images" / f"{labels.stem}.jpg")), np.uint8)
        size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        boxes: list[NDArray[np.float32]] = []
        for _, x, y, width, height in np.loadtxt(labels, ndmin=2):
            box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32) * size
            box = np.clip(box, 0, size)
            apart = all((np.minimum(box, b)[2:] <= np.maximum(box, b)[:2]).any() for b in boxes)
            if apart and box[3] - box[1] >= SMALLEST_HEIGHT_PX and box[2] - box[0] >= SMALLEST_WIDTH_PX:
                boxes.append(box)
                found.append((labels.stem, Sighting(image, box, 1.0)))
    return found


def mirrored(one: Sighting) -> Sighting:
    """Left and right exchanged."""
    width = one.image.shape[1]
    box = np.array([width - one.box[2], one.box[1], width - one.box[0], one.box[3]], np.float32)
    return Sighting(np.ascontiguousarray(one.image[:, ::-1]), box, one.visible)


def darker(one: Sighting) -> Sighting:
    """At 0.6 of the light."""
    return one._replace(image=np.asarray(cv2.convertScaleAbs(one.image, alpha=0.6), np.uint8))


def brighter(one: Sighting) -> Sighting:
    """At 1.3 of the light, with haze."""
    return one._replace(image=np.asarray(cv2.convertScaleAbs(one.image, alpha=1.3, beta=10), np.uint8))


def smaller(one: Sighting) -> Sighting:
    """At three quarters of the size."""
    image = np.asarray(cv2.resize(one.image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA), np.uint8)
    return Sighting(image, (one.box * 0.75).astype(np.float32), one.visible)


def tilted(one: Sighting) -> Sighting:
    """Turned by 12 degrees about the chest."""
    centre = (float(one.box[0] + one.box[2]) / 2, float(one.box[1] * 3 + one.box[3]) / 4)
    turn = cv2.getRotationMatrix2D(centre, 12, 1)
    image = cv2.warpAffine(one.image, turn, one.image.shape[1::-1])
    return one._replace(image=np.asarray(image, np.uint8))


def compressed(one: Sighting) -> Sighting:
    """As a JPEG of quality 40."""
    _, jpeg = cv2.imencode(".jpg", one.image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return one._replace(image=np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8))


CHANGES = (mirrored, darker, brighter, smaller, tilted, compressed)


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """Cosines of faces with themselves in other guises, and with others'; guises without a face are lost."""

    same: NDArray[np.float64]
    different: NDArray[np.float64]
    faces: int
    lost: int

    @property
    def area(self) -> float:
        """Under the ROC curve: how often a face is more like itself than like another."""
        return float((self.same[:, None] > self.different).mean())

    def rates(self, threshold: float) -> tuple[float, float]:
        """The shares of the same and of different faces that are more alike than this."""
        return float((self.same > threshold).mean()), float((self.different > threshold).mean())


def likeness(describer: Describer, sightings: list[Sighting]) -> Likeness:
    """Describe everybody, in every guise."""
    described = zip(sightings, describer.describe(sightings), strict=True)
    seen = [(one, face) for one, face in described if face is not None]
    same: list[float] = []
    lost = 0
    for change in CHANGES:
        again = describer.describe([change(one) for one, _ in seen])
        for (_, face), other in zip(seen, again, strict=True):
            if other is None:
                lost += 1
            else:
                same.append(float(face.vector @ other.vector))
    vectors = np.stack([face.vector for _, face in seen])
    different = (vectors @ vectors.T)[np.triu_indices(len(seen), 1)]
    return Likeness(np.array(same), different.astype(np.float64), len(seen), lost)


def main() -> None:
    """Measure, print the curve and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", metavar="SHARED", type=Path, help="folder with data/ and models/")
    options = parser.parse_args()
    config = Config(models=str(options.shared / "models"), faces="on")
    everybody = [one for _, one in people(options.shared / "data/images/coco-val-100")]
    found = likeness(describers(config)["face"], everybody)
    print(f"{len(everybody)} people, {found.faces} of them with a face; {len(CHANGES)} guises of each")
    guises = f"{len(found.same)} pairs of one face, {found.lost} guises without a face"
    print(f"{guises}; {len(found.different)} pairs of two faces")
    print(f"area under the ROC curve {found.area:.4f}")
    print(f"{'threshold':>10} {'same accepted':>14} {'others accepted':>16}")
    curve = {}
    for threshold in THRESHOLDS:
        accepted, mistaken = found.rates(threshold)
        curve[threshold] = {"same": round(accepted, 4), "others": round(mistaken, 4)}
        print(f"{threshold:10.2f} {accepted:14.1%} {mistaken:16.2%}")
    at = {}
    for rate in FALSE_RATES:
        threshold = float(np.quantile(found.different, 1 - rate))
        at[rate] = round(found.rates(threshold)[0], 4)
        told = f"{at[rate]:.1%} of the same are (threshold {threshold:.2f})"
        print(f"with {rate:.1%} of others accepted, {told}")
    print(
        json.dumps(
            {
                "benchmark": "faces",
                "faces": found.faces,
                "pairs_same": len(found.same),
                "pairs_different": len(found.different),
                "lost": found.lost,
                "area": round(found.area, 5),
                "curve": curve,
                "same_at_rate_of_others": at,
            }
        )
    )


if __name__ == "__main__":
    main()
