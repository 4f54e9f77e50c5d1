"""Compiles, or fetches from the cache, all that is compiled, before the first frame has to wait for it."""

from __future__ import annotations

import logging

import numpy as np

from services.tracker.camera_tracker import CameraTracker, Detections
from services.tracker.compiled import kept

log = logging.getLogger(__name__)


def warm() -> None:
    """Track two people for a few frames that nobody sees."""
    if not kept():
        log.info("compiling the tracker's loops for this processor: once, it takes some 15 to 40 seconds")
    tracker = CameraTracker(0, 1.0, 0.1)
    walk = np.array([[100.0, 100.0, 150.0, 220.0], [400.0, 100.0, 450.0, 220.0]])
    for frame in range(6):
        looks, rows = np.eye(2), np.arange(2)
        found = Detections(
            walk + 3.0 * frame, np.full(2, 0.99), np.full((2, 2), 3.0), looks, np.ones(2), rows
        )
        motion = np.array([[1.0, 0.0, 0.5 * frame], [0.0, 1.0, 0.0]])  # first none, then some
        tracker.process(found, frame * 40_000_000, (640, 480), motion, 1)
    tracker.finish()
