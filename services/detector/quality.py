"""How far a crop of a person can be trusted to show that person, and nobody else, well."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.picture import Image, Picture, RemotePicture
from shared.messages import Float32

BEHIND_WEIGHT = 0.3
"""What somebody behind a person takes from the crop, as a share of what somebody in front does: the
person is whole, but the crop's margins show the other."""

TALLEST_ASPECT = 2.8
"""Height over width of a person who stands still; narrower at the frame's left or right edge is cut."""

LOWEST_ASPECT = 2.0
"""Height over width of a person who walks; lower at the frame's upper or lower edge is cut."""

FULL_HEIGHT_PX = 96.0
"""From this height on, a larger crop tells no more."""

HALF_SHARPNESS = 100.0
"""Variance of the Laplacian at which a crop counts half as sharp."""

SHARPNESS_SIZE = (48, 96)


def visibility(boxes: Float32, width: int, height: int) -> Float32:
    """(N,) the share of each person, 0-1, that neither others nor the edges of the frame hide.

    boxes: (N, 4) float32 pixels, clipped to a frame of `width` x `height`.  Whose box ends lower stands
    nearer to the camera and hides the other.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    shares = np.maximum(shared, 0).prod(axis=2) / np.maximum(sides.prod(axis=1), 1)[:, None]
    np.fill_diagonal(shares, 0)
    in_front = boxes[None, :, 3] > boxes[:, None, 3]
    hidden = np.where(in_front, shares, BEHIND_WEIGHT * shares).sum(axis=1)

    at_side = (boxes[:, 0] < 1) | (boxes[:, 2] > width - 1)
    at_end = (boxes[:, 1] < 1) | (boxes[:, 3] > height - 1)
    aspect = sides[:, 1] / np.maximum(sides[:, 0], 1)
    inside = np.where(at_side, np.minimum(1, TALLEST_ASPECT / np.maximum(aspect, 0.01)), 1.0)
    inside = np.where(at_end, inside * np.minimum(1, aspect / LOWEST_ASPECT), inside)
    seen: Float32 = (np.clip(1 - hidden, 0, 1) * inside).astype(np.float32)
    return seen


def crop_quality(crop: Image, visible: float) -> float:
    """0-1 from size, sharpness and the share of the person that is visible."""
    return _quality(crop.shape[0], _sharpness(crop), visible)


def crop_qualities(crops: Sequence[Picture], visible: Float32) -> Float32:
    """(N,) what `crop_quality` says of each crop; crops on a device are judged there, all at once."""
    sharp = np.empty(len(crops), np.float32)
    remote: list[tuple[int, RemotePicture]] = []
    for number, each in enumerate(crops):
        if isinstance(each, np.ndarray):
            sharp[number] = _sharpness(each)
        else:
            remote.append((number, each))
    if remote:
        sharp[[number for number, _ in remote]] = remote[0][1].sharpness(
            [each for _, each in remote], SHARPNESS_SIZE
        )
    qualities: Float32 = np.array(
        [_quality(c.shape[0], float(s), float(v)) for c, s, v in zip(crops, sharp, visible, strict=True)],
        np.float32,
    )
    return qualities


def _sharpness(crop: Image) -> float:
    grey = cv2.cvtColor(cv2.resize(crop, SHARPNESS_SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _quality(height_px: int, sharpness: float, visible: float) -> float:
    return visible * min(1.0, height_px / FULL_HEIGHT_PX) * sharpness / (sharpness + HALF_SHARPNESS)


def crop(image: Image, box: NDArray[np.float32]) -> Image:
    """The part of the image inside the box (a view), at least one pixel."""
    x0, y0, x1, y1 = _inside(image.shape, box)
    return image[y0:y1, x0:x1]


def part(picture: Picture, box: NDArray[np.float32]) -> Picture:
    """As `crop`, of a picture wherever it is."""
    if isinstance(picture, np.ndarray):
        return crop(picture, box)
    return picture.part(*_inside(picture.shape, box))


def _inside(shape: tuple[int, ...], box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    x1, y1 = min(max(int(np.ceil(box[2])), x0 + 1), width), min(max(int(np.ceil(box[3])), y0 + 1), height)
    return x0, y0, x1, y1
