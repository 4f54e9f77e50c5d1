"""What the benchmarks of the torch family share: how large everything is, pictures, weights, a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.seeded_networks import noise_pictures
from services.detector.torch_device import chosen_device

CROPS = 64


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is.

    options: of torchvision's network, beyond its own.  product: side of the matrices whose product tells
    how fast the device computes.
    """

    picture: tuple[int, int] = (720, 1280)
    pictures: int = 32
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seconds: float = 5.0
    staged: int = 8
    cameras: int = 16
    frames: int = 100
    crops: int = CROPS
    product: int = 8192
    options: dict[str, Any] = field(default_factory=dict)


QUICK = Scale(
    picture=(180, 320),
    pictures=2,
    batches=(1, 2),
    seconds=0.0,
    staged=2,
    cameras=2,
    frames=2,
    crops=4,
    product=1024,
    options={"min_size": 160, "max_size": 266, "rpn_post_nms_top_n_test": 100},
)
"""Shows on any machine that everything runs; its figures mean nothing."""


class Bench:
    """The networks in both ways, on one device."""

    def __init__(self, scale: Scale, device: str, precision: str, models: Path) -> None:
        self.scale = scale
        self.device = chosen_device(device)
        self.precision = precision
        self.models = models
        self.pictures = noise_pictures(scale.pictures, *scale.picture)
        self.crops = [
            picture[y : y + 150, x : x + 60]
            for picture in self.pictures
            for y in range(0, scale.picture[0] - 150, 150)
            for x in range(0, scale.picture[1] - 60, 120)
        ][: CROPS * 2]

    def rate(self, run: Callable[[], object], count: int) -> float:
        """Items a second, of `count` in each run; the device has finished before and after."""
        for _ in range(1 if self.scale is QUICK else 5):
            run()
        self.finish()
        began_s, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - began_s < self.scale.seconds:
            run()
            done += count
            self.finish()
        return done / (time.perf_counter() - began_s)

    def finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def file(self, name: str) -> Path:
        """The weights of a network."""
        return next(self.models.glob(f"{name}*.pth"))
