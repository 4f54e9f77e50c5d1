"""Recorded cameras through the services' own cores, in this process: people are found once and kept.

The same steps as in a run: motion, JPEG, decoding, detection and embeddings, then `TrackerCore` over all
cameras in the order of time.  What the detector found is written to a folder, so that cameras that do not
change are looked at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import msgpack
import numpy as np

from services.detector.decode import decode as decode_jpeg
from services.detector.extractor import FeatureExtractor
from services.detector.failure import FrameFailure
from services.detector.picture import Image
from services.ingest.jpeg import JpegEncoder
from services.ingest.motion import MotionEstimator
from services.tracker.core import TrackerCore
from shared.codec import decode, encode
from shared.config import Config, Homography
from shared.messages import End, Frame, FrameStamp, People, Settled, Tracks

START_NS = 1_700_000_000_000_000_000
BATCH = 8


@dataclass(frozen=True, slots=True)
class Recording:
    """A video file as a camera.

    name: of what is kept.  change: what happens to each picture before it is sent.  every: of how many frames
    one is sent.
    """

    camera: int
    video: Path
    name: str
    change: Callable[[Image], Image] | None = None
    quality: int = Config().jpeg_quality
    every: int = 1


def people_of(recording: Recording, extractor: FeatureExtractor | None, kept: Path) -> list[People]:
    """The people in each frame that is sent, as the detector tells them; looked at only if not in `kept`.

    extractor: None where they are kept already.
    """
    path = kept / f"{recording.name}.people"
    if not path.exists():
        if extractor is None:
            raise FileNotFoundError(path)
        people = _detected(recording, extractor)
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(msgpack.packb([[bytes(part) for part in encode(each)] for each in people]))
        unfinished.replace(path)
    messages = (decode(parts) for parts in msgpack.unpackb(path.read_bytes()))
    return [each for each in messages if isinstance(each, People)]


def _detected(recording: Recording, extractor: FeatureExtractor) -> list[People]:
    extractor.forget(recording.camera)
    capture = cv2.VideoCapture(str(recording.video))
    fps = capture.get(cv2.CAP_PROP_FPS)
    motion, jpeg = MotionEstimator(), JpegEncoder(recording.quality)
    people: list[People] = []
    batch: list[tuple[Frame, Image]] = []
    index = -1
    while True:
        read, raw = capture.read()
        if read:
            index += 1
            if index % recording.every:
                continue
            image = np.asarray(raw, np.uint8)
            image = image if recording.change is None else recording.change(image)
            height, width = image.shape[:2]
            stamp = FrameStamp(recording.camera, 1, index, START_NS + round(index / fps * 1e9), width, height)
            frame = Frame(stamp, jpeg.encode(image), motion.measure(image))
            sent = decode_jpeg(frame)
            if isinstance(sent, FrameFailure):
                raise SystemExit(f"{recording.video}, frame {index}: {sent.reason}")
            batch.append((frame, sent))
        if len(batch) == BATCH or not read:
            people += [each for each in extractor.extract(batch) if isinstance(each, People)]
            batch = []
        if not read:
            capture.release()
            return people


@dataclass(slots=True)
class Tracked:
    """What the tracker told.

    settled: every frame as it turned out.  identity: of each track in the end.
    """

    tracks: list[Tracks] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    identity: dict[int, int] = field(default_factory=dict)

    def identities(self, frame: Tracks | Settled, way: str) -> list[int]:
        """Of each track in a frame, 0 for none; way: "settled" or "online"."""
        if way == "online" and isinstance(frame, Tracks):
            return [int(identity) for identity in frame.identity_ids]
        return [self.identity.get(track, 0) for track in frame.track_ids.tolist()]

    def write(self, folder: Path, way: str) -> None:
        """`camN.txt` in the format of MOTChallenge, as `export` writes it."""
        folder.mkdir(parents=True, exist_ok=True)
        rows: dict[int, list[str]] = {frame.stamp.camera: [] for frame in self.tracks}
        for frame in self.tracks if way == "online" else self.settled:
            best: dict[int, int] = {}
            for row, identity in enumerate(self.identities(frame, way)):
                other = best.get(identity)
                better = other is None or frame.scores[row] > frame.scores[other]
                if identity and better and (way == "settled" or frame.observed[row]):
                    best[identity] = row
            for identity, row in sorted(best.items()):
                x0, y0, x1, y1 = frame.boxes[row].tolist()
                box = f"{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
                rows[frame.stamp.camera].append(
                    f"{frame.stamp.frame_index + 1},{identity},{box},{frame.scores[row]:.4f},-1,-1,-1\n"
                )
        for camera, lines in rows.items():
            (folder / f"cam{camera}.txt").write_text("".join(lines))


def tracked(
    cameras: list[list[People]], config: Config, homographies: Mapping[int, Homography] | None = None
) -> Tracked:
    """All cameras through one tracker, in the order of time."""
    core, told = TrackerCore(config), Tracked()
    for camera, homography in (homographies or {}).items():
        core.calibrate(camera, homography)
    last = {}
    for people in heapq.merge(*cameras, key=lambda each: (each.stamp.t_ns, each.stamp.camera)):
        tracks = core.process(people)
        told.tracks.append(tracks)
        told.settled += tracks.settled
        told.identity |= zip(tracks.track_ids.tolist(), tracks.identity_ids.tolist(), strict=True)
        told.identity |= dict(tracks.assignments.tolist())
        last[people.stamp.camera] = people.stamp
    for stamp in last.values():
        end = core.end(End(stamp, "finished"))
        told.identity |= dict(end.assignments)
        told.settled += end.settled
    return told
