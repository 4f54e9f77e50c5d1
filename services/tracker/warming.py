"""Compiles, or fetches from the cache, all that is compiled, before the first frame has to wait for it."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from services.tracker.compiled import kept
from services.tracker.core import TrackerCore
from services.tracker.intake import FEWEST_DIMENSIONS
from shared.config import Config
from shared.messages import End, Features, FrameStamp, People

log = logging.getLogger(__name__)

FRAME_NS = 100_000_000
FRAMES = 40
LATER = (0, 30_000_000_000)
"""The scene is played twice, the second time so long after."""

CAMERAS, PEOPLE, SEED = 3, 4, 1


def warm() -> None:
    """Follow a few people who are hard to tell from one another for some frames that nobody sees."""
    if not kept():
        log.info("compiling the tracker's loops for this processor: once, it takes half a minute or two")
    core = TrackerCore(Config())
    random = np.random.default_rng(SEED)
    begin = random.integers(0, FRAMES // 2, (CAMERAS, PEOPLE))
    long = random.integers(FRAMES // 4, FRAMES, (CAMERAS, PEOPLE))
    for play, later_ns in enumerate(LATER):
        for frame in range(FRAMES):
            for camera in range(CAMERAS):
                there = (begin[camera] <= frame) & (frame < begin[camera] + long[camera])
                stamp = FrameStamp(
                    1 + camera, 0, play * FRAMES + frame, later_ns + frame * FRAME_NS, 640, 480
                )
                core.process(_seen(stamp, np.flatnonzero(there), random))
    for camera in range(CAMERAS):
        core.end(
            End(FrameStamp(1 + camera, 0, 2 * FRAMES, LATER[-1] + FRAMES * FRAME_NS, 640, 480), "finished")
        )


def _seen(stamp: FrameStamp, who: NDArray[np.intp], random: np.random.Generator) -> People:
    x = 100.0 * who + 3.0 * stamp.frame_index % FRAMES
    boxes = np.stack([x, np.full(len(who), 100.0), x + 50.0, np.full(len(who), 220.0)], axis=1)
    looks = np.eye(PEOPLE, FEWEST_DIMENSIONS)[who] + random.normal(0.6, 0.3, (len(who), FEWEST_DIMENSIONS))
    motion = np.array([[1.0, 0.0, stamp.frame_index % 2], [0.0, 1.0, 0.0]])  # first none, then some
    return People(
        stamp=stamp,
        boxes=boxes.astype(np.float32),
        scores=np.full(len(who), 0.99, np.float32),
        flow=np.full((len(who), 2), 3.0, np.float32),
        camera_motion=motion.astype(np.float32),
        features={
            "appearance": Features(
                np.arange(len(who), dtype=np.int32), looks.astype(np.float32), np.ones(len(who), np.float32)
            )
        },
    )
