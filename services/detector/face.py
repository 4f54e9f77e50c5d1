"""Faces: found in the region of a person's head, turned upright, and described to be compared.

Small networks of the Open Model Zoo one after the other: a detector, five points (eyes, nose, corners of
the mouth), and an embedding of the face laid upright by those points, which was trained with an angular
margin (Deng et al., "ArcFace", 2019), so that vectors compare by cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.family import Description, Pace, Sighting, normalised
from services.detector.openvino_family import Network
from services.detector.picture import Image
from services.detector.quality import crop
from shared.errors import ModelError
from shared.messages import Float32

POINTS = np.array(
    [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)],
    np.float32,
)
"""Where the embedding expects left eye, right eye, nose and the corners of the mouth, in `POINTS_SIZE`."""

POINTS_SIZE = (96, 112)

HEAD_OF_WIDTH = 1.3
"""The square at the top of a person's box that is searched, as a share of the box's width: the whole head
of somebody who stands, and of somebody of whom only the upper body is in the picture."""

ABOVE_HEAD = 0.15
"""How far that square reaches above the box, as a share of its side."""

LOWEST_SCORE = 0.6
SMALLEST_FACE_PX = 28.0
FULL_FACE_PX = 80.0
"""Heights of a face: the least that is looked at, and from which on a larger one tells no more."""

RIVAL = 0.5
"""A second face in the region at least this large, in comparison, may be the person's just as well."""

POINTS_MARGIN = 1.15
"""The points are looked for in the face's box made this much larger."""

LOWEST_SHARPNESS = 30.0
HALF_SHARPNESS = 100.0
"""Variance of the Laplacian of an upright face: the least, and at which it counts half as sharp."""

PROFILE = 0.6
"""How far the nose lies from the middle between the eyes in a profile, in distances between the eyes."""

PACE = Pace(
    interval_ns=1_000_000_000,
    settle_ns=400_000_000,
    lowest_width_px=56.0,  # of which a face is half at most
    lowest_height_px=80.0,
    lowest_visibility=0.4,
    most_new=2,
    most_repeats=1,
)


class _Face(NamedTuple):
    """A face found in a picture: box in pixels, points (5, 2) in pixels, score 0-1."""

    box: NDArray[np.float32]
    points: NDArray[np.float32]
    score: float


class FaceDescriber:
    """The face of each person who shows one: large, sharp and not from the side.

    A person near whose head two faces are seen is passed over: it could be the other's.
    """

    name = "face recognition"
    pace = PACE

    def __init__(self, detector: Network, landmarks: Network, embedder: Network) -> None:
        """Raises ModelError where a network's answer is not of the layout of its kind."""
        for network, wanted, kind in (
            (detector, 7, "a face detector"),
            (landmarks, 2 * len(POINTS), "a network of five points"),
            (embedder, 256, "a face embedding"),
        ):
            shape = network.output_shapes[0]
            if wanted not in (shape[-1], shape[1]) or len(network.output_shapes) != 1:
                raise ModelError(f"{network.output_shapes} is not the output of {kind}: pull it again")
        self._detector = detector
        self._landmarks = landmarks
        self._embedder = embedder

    def describe(self, sightings: Sequence[Sighting]) -> list[Description | None]:
        """As `Describer.describe`; vectors are (256,)."""
        faces = self._find(sightings)
        seen = [number for number, face in enumerate(faces) if face is not None]
        upright = {n: aligned(sightings[n].image, face.points) for n in seen if (face := faces[n])}
        quality = {n: _quality(face, upright[n]) for n in seen if (face := faces[n])}
        good = [n for n in seen if quality[n] > 0]
        results: list[Description | None] = [None] * len(sightings)
        outputs = self._embedder.infer(upright[n][np.newaxis] for n in good)
        for n, output in zip(good, outputs, strict=True):
            vector = normalised(output[0].reshape(1, -1))[0]
            results[n] = Description(vector, quality[n])
        return results

    def _find(self, sightings: Sequence[Sighting]) -> list[_Face | None]:
        regions = [_head_region(each) for each in sightings]
        parts = [crop(each.image, region) for each, region in zip(sightings, regions, strict=True)]
        outputs = self._detector.infer(_scaled(part, self._detector.input_size) for part in parts)
        boxes: list[tuple[NDArray[np.float32], float] | None] = [
            _only_face(output[0].reshape(-1, 7), region, each.box)
            for output, region, each in zip(outputs, regions, sightings, strict=True)
        ]
        found = [n for n, box in enumerate(boxes) if box is not None]
        places = {n: _grown(box[0], sightings[n].image) for n in found if (box := boxes[n])}
        answers = self._landmarks.infer(
            _scaled(crop(sightings[n].image, places[n]), self._landmarks.input_size) for n in found
        )
        faces: list[_Face | None] = [None] * len(sightings)
        for n, answer in zip(found, answers, strict=True):
            box = boxes[n]
            if box is not None:
                place = places[n]
                points = answer[0].reshape(len(POINTS), 2) * (place[2:] - place[:2]) + place[:2]
                faces[n] = _Face(box[0], points.astype(np.float32), box[1])
        return faces


def aligned(image: Image, points: NDArray[np.float32]) -> Image:
    """The face (128, 128, 3) upright and in its place, by the similarity that fits its points best.

    points: (5, 2) pixels, in the order of `POINTS`.  The fit is Umeyama's, 1991, least squares in closed
    form, so that the same points give the same bytes.
    """
    centre, target = points.mean(axis=0), POINTS.mean(axis=0)
    source, wanted = (points - centre) @ (1, 1j), (POINTS - target) @ (1, 1j)
    turn = (source.conj() * wanted).sum() / max(float((np.abs(source) ** 2).sum()), 1e-6)
    matrix = np.array([(turn.real, -turn.imag), (turn.imag, turn.real)])
    affine = np.column_stack([matrix, target - matrix @ centre])
    # The network was trained on faces of POINTS_SIZE stretched to a square.
    side = 128
    affine *= np.array([[side / POINTS_SIZE[0]], [side / POINTS_SIZE[1]]])
    return np.asarray(cv2.warpAffine(image, affine, (side, side)), np.uint8)


def _head_region(sighting: Sighting) -> NDArray[np.float32]:
    x0, y0, x1, y1 = sighting.box
    side = min((x1 - x0) * HEAD_OF_WIDTH, y1 - y0)
    middle, top = (x0 + x1) / 2, y0 - ABOVE_HEAD * side
    return _inside(np.array([middle - side / 2, top, middle + side / 2, top + side]), sighting.image)


def _only_face(
    rows: NDArray[np.float32], region: NDArray[np.float32], person: Float32
) -> tuple[NDArray[np.float32], float] | None:
    """The box in pixels and the score of the one face in the region that is the person's, if it is clear.

    rows: (N, 7) as SSD detectors answer, boxes 0-1 of the region.  Raises ValueError for NaN.
    """
    ends = np.flatnonzero(rows[:, 0] < 0)
    rows = rows[: ends[0]] if len(ends) else rows
    if not np.isfinite(rows).all():
        raise ValueError("the face detector answered with NaN")
    rows = rows[rows[:, 2] >= LOWEST_SCORE]
    sides = region[2:] - region[:2]
    boxes = rows[:, 3:] * np.concatenate([sides, sides]) + np.concatenate([region[:2], region[:2]])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    heights = boxes[:, 3] - boxes[:, 1]
    inside = ((centres >= person[:2]) & (centres <= person[2:])).all(axis=1) & (boxes[:, 2] > boxes[:, 0])
    if not inside.any():
        return None
    best = int(np.argmax(np.where(inside, heights, -1)))
    rivals = heights >= RIVAL * heights[best]
    if rivals.sum() > 1 or heights[best] < SMALLEST_FACE_PX:
        return None
    return boxes[best].astype(np.float32), float(rows[best, 2])


def _grown(box: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    """The box made larger by POINTS_MARGIN, in whole pixels inside the image, as `crop` cuts it."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * POINTS_MARGIN
    return _inside(np.concatenate([centre - half, centre + half]), image)


def _inside(box: NDArray[np.floating], image: Image) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    whole = np.clip(np.round(box), 0, (width, height, width, height))
    whole[:2] = np.minimum(whole[:2], (width - 1, height - 1))
    whole[2:] = np.maximum(whole[2:], whole[:2] + 1)
    return whole.astype(np.float32)


def _quality(face: _Face, upright: Image) -> float:
    """0-1 from the detector's score, size, sharpness and how much of the face looks this way."""
    grey = cv2.cvtColor(upright, cv2.COLOR_BGR2GRAY)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    if sharpness < LOWEST_SHARPNESS:
        return 0.0
    eyes = face.points[1] - face.points[0]
    distance = max(float(eyes @ eyes), 1e-6)
    aside = abs(float((face.points[2] - face.points[:2].mean(axis=0)) @ eyes)) / distance
    frontal = max(0.0, 1 - aside / PROFILE)
    size = min(1.0, float(face.box[3] - face.box[1]) / FULL_FACE_PX)
    return face.score * frontal * size * sharpness / (sharpness + HALF_SHARPNESS)


def _scaled(image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(cv2.resize(image, size), np.uint8)[np.newaxis]
