"""Small pictures and seeded networks for the tests of the torch family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.seeded_networks import noise_pictures, seeded_detector, seeded_embedder
from services.detector.family import Detections
from services.detector.picture import Image

SMALL: dict[str, Any] = {
    "min_size": 128,
    "max_size": 256,
    "rpn_nms_thresh": 0.3,  # few proposals, and none that is cut off by a hair
    "rpn_post_nms_top_n_test": 120,
}


def pictures() -> list[Image]:
    """Of two sizes."""
    large = noise_pictures(3, 128, 170)
    return [large[0], large[1][:100, :110].copy(), large[2]]


def saved_detector(folder: Path) -> tuple[torch.nn.Module, Path]:
    """torchvision's network that sees people in `pictures`, and its state dict."""
    network = seeded_detector(noise_pictures(3, 128, 170)[:2], **SMALL)
    torch.save(network.state_dict(), folder / "detector.pth")
    return network, folder / "detector.pth"


def saved_embedder(folder: Path) -> tuple[torch.nn.Module, Path]:
    """ResNet50 that tells crops apart, and its state dict."""
    network = seeded_embedder(noise_pictures(8, 256, 128))
    torch.save(network.state_dict(), folder / "resnet50.pth")
    return network, folder / "resnet50.pth"


def matched(
    wanted: Sequence[Detections], found: Sequence[Detections], iou: float, score: float, above: float = 0.3
) -> tuple[int, int]:
    """How many of the wanted detections above a score have one like them, and of how many."""
    alike = count = 0
    for one, other in zip(wanted, found, strict=True):
        sides = np.minimum(one.boxes[:, None, 2:], other.boxes[None, :, 2:])
        sides = np.maximum(sides - np.maximum(one.boxes[:, None, :2], other.boxes[None, :, :2]), 0)
        areas = [(each.boxes[:, 2:] - each.boxes[:, :2]).prod(axis=1) for each in (one, other)]
        shared = sides.prod(axis=2)
        overlap = shared / (areas[0][:, None] + areas[1] - shared)
        close = (overlap > iou) & (np.abs(one.scores[:, None] - other.scores) < score)
        sure = one.scores > above
        alike += int(close[sure].any(axis=1).sum())
        count += int(sure.sum())
    return alike, count
