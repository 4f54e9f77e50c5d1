"""The annotated plaza video, and how well somebody who watched it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.family import Detections
from services.detector.picture import Image
from shared.messages import Float32

SECOND_NS = 1_000_000_000
APART_NS = 2 * SECOND_NS
SAME_BOX_IOU = 0.5
SURE = 0.3


@dataclass(slots=True)
class Plaza:
    """Frames of the plaza video with the people annotated in them.

    people: for each image (N, 5): identity and box x0, y0, x1, y1.
    """

    numbers: list[int]
    images: list[Image]
    people: list[NDArray[np.float64]]


def plaza(shared: Path, every: int, most: int) -> Plaza:
    """Every so many frames of the video, numbered from 1 as the annotation counts."""
    rows = np.loadtxt(shared / "data/mot/PETS09-S2L1/gt/gt.txt", delimiter=",")
    capture = cv2.VideoCapture(str(shared / "data/video/vtest.avi"))
    found = Plaza([], [], [])
    number = 0
    while len(found.images) < most and capture.grab():
        number += 1
        if number % every == 0:
            found.numbers.append(number)
            found.images.append(np.asarray(capture.retrieve()[1], np.uint8))
            here = rows[rows[:, 0] == number]
            found.people.append(np.column_stack([here[:, 1], here[:, 2:4], here[:, 2:4] + here[:, 4:6]]))
    return found


def overlaps(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """(N, M) intersection over union."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(sides - np.maximum(boxes[:, None, :2], others[None, :, :2]), 0)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    shared = sides.prod(axis=2)
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9), np.float64)


def accuracy(found: list[Detections], truth: list[NDArray[np.float64]]) -> tuple[float, float]:
    """AP50 as PASCAL VOC 2010 has it, and recall of the detections that are sure."""
    rows: list[tuple[float, bool]] = []
    for one, people in zip(found, truth, strict=True):
        overlap = overlaps(one.boxes, people[:, 1:])
        for row, score in enumerate(one.scores):
            best = int(overlap[row].argmax()) if len(people) else 0
            hit = len(people) > 0 and overlap[row, best] >= SAME_BOX_IOU
            if hit:
                overlap[:, best] = 0
            rows.append((float(score), bool(hit)))
    rows.sort(reverse=True)
    hits = np.cumsum([hit for _, hit in rows])
    count = sum(map(len, truth))
    precision = np.maximum.accumulate((hits / np.arange(1, len(rows) + 1))[::-1])[::-1]
    sure = sum(hit for score, hit in rows if score >= SURE)
    return float(np.sum(np.diff(hits / count, prepend=0) * precision)), sure / count


def separation(vectors: Float32, who: NDArray[np.int64], t_ns: NDArray[np.int64]) -> float:
    """Area under the ROC curve of telling pairs of one person, long apart, from pairs of two."""
    upper = np.triu_indices(len(who), 1)
    alike = (vectors @ vectors.T)[upper]
    same = (who[:, None] == who)[upper]
    long = (np.abs(t_ns[:, None] - t_ns) >= APART_NS)[upper]
    return float((alike[same & long][:, None] > alike[~same]).mean())


def identified(boxes: Float32, people: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) the annotated identity each box shows, 0 for none."""
    overlap = overlaps(boxes, people[:, 1:])
    if not overlap.size:
        return np.zeros(len(boxes), np.int64)
    best = overlap.argmax(axis=1)
    return np.where(overlap.max(axis=1) >= SAME_BOX_IOU, people[best, 0], 0).astype(np.int64)
