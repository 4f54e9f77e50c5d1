"""A program that uses `MultiCameraTracker` on a data folder, for `benchmarks.crashes` to kill.

    python -m benchmarks.crash_library DATA SEED ORIGIN_NS

It processes the frames of all cameras of a simulated site as they come, and does what stdin asks for, until
stdin ends.  Each line of stdin is a decision in JSON; each line of stdout is the numbers of a frame, or an
answer.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.crash_networks import PaintedDetector, PaintedEmbedder
from benchmarks.crash_world import CAMERAS, FPS, SETTINGS, World, rows_of
from services.detector.extractor import FeatureExtractor
from shared.config import Config
from shared.errors import TrackingError
from shared.messages import Tracks
from tracking_system.library import MultiCameraTracker


class WatchedTracker(MultiCameraTracker):
    """A tracker whose program gets to know the numbers of the people whom it marks in the pictures."""

    newest: Tracks | None = None

    def _track(self, *arguments: Any) -> Tracks:
        self.newest = super()._track(*arguments)
        return self.newest


def run(world: World, data: Path) -> None:
    """Process frames and decisions until stdin ends."""
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    config = Config(
        max_track_age=SETTINGS["max_track_age"], similarity_threshold=SETTINGS["similarity_threshold"]
    )
    extractor = FeatureExtractor(PaintedDetector(0.0), PaintedEmbedder(), config)
    tracker = WatchedTracker(config, data=data, extractor=extractor)
    with tracker:
        for camera in range(1, CAMERAS + 1):
            tracker.register_camera(camera)
        while True:
            began_s = time.monotonic()
            for camera in range(1, CAMERAS + 1):
                t_ns = time.time_ns()
                tracker.process_frame(world.picture(camera, t_ns), camera, t_ns)
                assert tracker.newest is not None
                _tell({"camera": camera, "t_ns": t_ns, "rows": rows_of(tracker.newest)})
            while not asked.empty():
                line = asked.get()
                if not line:
                    return
                _tell(_answer(tracker, json.loads(line)))
            time.sleep(max(0.0, began_s + 1 / FPS - time.monotonic()))


def _read(asked: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        asked.put(line)
    asked.put("")


def _answer(tracker: MultiCameraTracker, request: dict[str, Any]) -> dict[str, Any]:
    kind, fields = request["kind"], request["fields"]
    try:
        if kind == "name":
            tracker.name(fields["identity"], fields["name"])
        elif kind == "merge":
            tracker.merge(fields["identity"], fields["other"])
        elif kind == "follow":
            tracker.follow(fields["identity"])
        else:
            tracker.forget(fields["identity"])
    except TrackingError as error:
        return {"number": request["number"], "error": str(error)}
    return {"number": request["number"], "error": ""}


def _tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    run(World(int(sys.argv[2]), int(sys.argv[3])), Path(sys.argv[1]))
