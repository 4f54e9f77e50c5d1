"""Whether people whom several real cameras see at once have one identity in all of them.

Nobody has annotated who is who; the calibration tells.  The rays through the middles of one person's boxes
meet at one point in space, in every frame, and those of two people pass each other by: tracks of different
cameras are grouped into people by the distance of their rays from the point nearest to all of them, largest
groups first, and what the tracker said is held against that.  Each person should have one identity in all
cameras, and no two the same; a track that has none does not count if another of that camera has one.

FOLDER holds `camNN.mp4`, synchronized, and a calibration as Qualisys writes it, `*.qca.txt`, in millimetres.

    python -m benchmarks.real_cameras FOLDER --models DIR [--detector yolox_nano] [--ground]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.cross_camera import WAYS
from benchmarks.recorded import Recording, Tracked, people_of, tracked
from services.detector.extractor import FeatureExtractor
from services.detector.families import build
from shared.config import Config, Homography, checked_homography

Float64 = NDArray[np.float64]

MEET_MM = 250.0
"""Rays of one person pass their common point nearer than this, in the median: half a person's breadth."""

SAME_BODY = 0.5
"""Share of the smaller of two boxes that lies in the other, where they show one body."""

FEWEST_FRAMES = 10
"""Shorter tracks are not asked who they are."""


@dataclass(frozen=True, slots=True)
class Lens:
    """Where a camera is and how it sees.

    centre: (3,) millimetres.  turn: (3, 3), rows are the camera's axes right, down, forward in the world.
    matrix: (3, 3) pixels.  distortion: (4,) as OpenCV has it.
    """

    centre: Float64
    turn: Float64
    matrix: Float64
    distortion: Float64

    def ray(self, points: Float64) -> Float64:
        """(N, 3) directions of length 1 in the world through (N, 2) pixels."""
        straight = cv2.undistortPoints(points[:, None], self.matrix, self.distortion)[:, 0]
        rays = np.concatenate([straight, np.ones((len(points), 1))], axis=1) @ self.turn
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), np.float64)

    def homography(self) -> Homography:
        """From pixels to metres on the floor, height 0 of the calibration."""
        floor = np.array([[1000.0, 0, 0], [0, 1000.0, 0], [0, 0, 0]])
        floor[:, 2] = -self.centre
        to_ground = np.linalg.inv(self.matrix @ self.turn @ floor)
        return checked_homography(to_ground / np.abs(to_ground).max())


def lenses(path: Path) -> list[Lens]:
    """The cameras of a Qualisys calibration, in its order; pixels are given there in 64ths."""
    found = []
    for camera in ElementTree.parse(path).getroot().iter("camera"):
        place, inner = camera.find("transform"), camera.find("intrinsic")
        if place is None or inner is None:
            raise SystemExit(f"{path}: camera {camera.get('serial')} has no transform or no intrinsic")
        # Qualisys has its axes right, up, backward.
        axes = np.array([[float(place.get(f"r{i}{j}", "nan")) for j in (1, 2, 3)] for i in (1, 2, 3)])
        fx, fy, cx, cy = (
            float(inner.get(name, "nan")) / 64
            for name in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
        )
        bent = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
        found.append(
            Lens(
                centre=np.array([float(place.get(axis, "nan")) for axis in "xyz"]),
                turn=axes * np.array([[1.0], [-1.0], [-1.0]]),
                matrix=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
                distortion=np.array([float(inner.get(name, "nan")) for name in bent]),
            )
        )
    return found


@dataclass(slots=True)
class Sight:
    """One track.

    camera: from 1.  rays: frame index -> (3,) direction.  boxes: frame index -> (4,) pixels.
    said: way -> identity -> frames.
    """

    camera: int
    track: int
    rays: dict[int, Float64]
    boxes: dict[int, Float64]
    said: dict[str, Counter[int]]

    def identity(self, way: str) -> int:
        """The one it had longest, once it had any; 0 for never."""
        known = [(frames, identity) for identity, frames in self.said[way].items() if identity]
        return max(known)[1] if known else 0


def sights(told: Tracked, cameras: list[Lens]) -> list[Sight]:
    """Every track that was observed often enough."""
    found: dict[int, Sight] = {}
    for frame in told.tracks:
        camera = frame.stamp.camera
        middles = (frame.boxes[:, :2] + frame.boxes[:, 2:]).astype(np.float64) / 2
        rays = cameras[camera - 1].ray(middles) if len(middles) else middles
        for way in WAYS:
            for row, identity in enumerate(told.identities(frame, way)):
                if frame.observed[row]:
                    track = int(frame.track_ids[row])
                    new = Sight(camera, track, {}, {}, {each: Counter() for each in WAYS})
                    sight = found.setdefault(track, new)
                    sight.rays[frame.stamp.frame_index] = rays[row]
                    sight.boxes[frame.stamp.frame_index] = frame.boxes[row].astype(np.float64)
                    sight.said[way][identity] += 1
    return [each for each in found.values() if len(each.rays) >= FEWEST_FRAMES]


def apart_mm(group: Iterable[Sight], cameras: list[Lens]) -> float:
    """How far rays pass their common point: root mean square, the median over the frames that all have."""
    members = list(group)
    frames = sorted(set.intersection(*(set(each.rays) for each in members)))
    if len(frames) < FEWEST_FRAMES:
        return np.inf
    rays = np.stack([[each.rays[frame] for frame in frames] for each in members])
    centres = np.stack([cameras[each.camera - 1].centre for each in members])
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    sums = across.sum(axis=0)
    points = np.linalg.solve(sums, (across @ centres[:, None, :, None]).sum(axis=0))[..., 0]
    missed = (across @ (points[None] - centres[:, None])[..., None])[..., 0]
    return float(np.median(np.sqrt((missed**2).sum(axis=2).mean(axis=0))))


def people(found: list[Sight], cameras: list[Lens]) -> list[list[Sight]]:
    """Tracks grouped by who they must be, by geometry alone; the largest groups first."""
    choices = [[None, *(each for each in found if each.camera == c + 1)] for c in range(len(cameras))]
    groups = []
    for combination in itertools.product(*choices):
        group = [each for each in combination if each is not None]
        if len(group) > 1:
            distance = apart_mm(group, cameras)
            if distance < MEET_MM:
                groups.append((-len(group), distance, group))
    chosen: list[list[Sight]] = []
    for size in range(len(cameras), 1, -1):
        taken = {each.track for group in chosen for each in group}
        for _, _, group in sorted((each for each in groups if each[0] == -size), key=lambda each: each[1]):
            if not taken & {each.track for each in group}:
                chosen.append(group)
                taken |= {each.track for each in group}
        _complete(chosen, [each for each in found if each.track not in taken], cameras)
    return chosen


def two_people(one: Sight, other: Sight) -> bool:
    """Whether one camera has seen both at once, and not one upon the other."""
    frames = sorted(one.boxes.keys() & other.boxes.keys())
    if one.camera != other.camera or not frames:
        return False
    a, b = (np.stack([each.boxes[frame] for frame in frames]) for each in (one, other))
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    areas = np.minimum(*((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (a, b)))
    return float(np.median(sides.prod(axis=1) / areas)) < SAME_BODY


def _complete(groups: list[list[Sight]], left: list[Sight], cameras: list[Lens]) -> None:
    """Add further tracks of the same people: each to those whose rays its own meets best, if at all."""
    for each in left:
        fits = []
        for number, group in enumerate(groups):
            meeting: dict[int, Sight] = {}
            for other in sorted(group, key=lambda other: len(other.rays.keys() & each.rays.keys())):
                if other.camera != each.camera and len(other.rays.keys() & each.rays.keys()) >= FEWEST_FRAMES:
                    meeting[other.camera] = other
            # Two rays alone pass each other nearly as often as they meet.
            if len(meeting) > 1 and not any(two_people(each, other) for other in group):
                fits.append((apart_mm([*meeting.values(), each], cameras), number))
        if fits and min(fits)[0] < MEET_MM:
            groups[min(fits)[1]].append(each)


def _identities(group: list[Sight], way: str) -> set[int]:
    """All that a person has had, with 0 where there was none in a whole camera."""
    of: dict[int, set[int]] = {each.camera: set() for each in group}
    for each in group:
        of[each.camera] |= {each.identity(way)} - {0}
    return set().union(*(each or {0} for each in of.values()))


def main() -> None:
    """Measure, print who is who and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="", help="folder with weights")
    parser.add_argument("--detector", default="yolox_nano")
    parser.add_argument("--embedder", default="person-reidentification-retail-0287")
    parser.add_argument("--kept", type=Path, help="folder for what the detector found, for the next time")
    parser.add_argument(
        "--ground", action="store_true", help="tell the tracker how the cameras lie to the floor"
    )
    options = parser.parse_args()
    cameras = lenses(next(options.folder.glob("*.qca.txt")))
    config = Config(
        models=options.models, family="openvino", detector=options.detector, embedder=options.embedder
    )
    extractor = FeatureExtractor(*build(config), config)
    with tempfile.TemporaryDirectory(prefix="real-cameras-") as name:
        kept: Path = options.kept or Path(name)
        kept.mkdir(parents=True, exist_ok=True)
        videos = sorted(options.folder.glob("cam*.mp4"))
        recordings = [
            Recording(n, video, f"{options.folder.name}-{video.stem}-{options.detector}")
            for n, video in enumerate(videos, 1)
        ]
        homographies = {n: lens.homography() for n, lens in enumerate(cameras, 1)} if options.ground else {}
        told = tracked([people_of(each, extractor, kept) for each in recordings], config, homographies)
    found = sights(told, cameras)
    groups = people(found, cameras)
    results: dict[str, object] = {"benchmark": "real_cameras", "people": len(groups)}
    for way in WAYS:
        print(f"{way}: camera: identity (frames)")
        own: list[set[int]] = []
        for number, group in enumerate(groups, 1):
            cells = [
                f"{each.camera}: {each.identity(way) or '-'} ({len(each.rays)})"
                for each in sorted(group, key=lambda each: (each.camera, each.track))
            ]
            own.append(_identities(group, way))
            print(f"  person {number}   " + "   ".join(cells))
        single = [next(iter(each)) for each in own if len(each) == 1]
        right = sum(identity > 0 and single.count(identity) == 1 for identity in single)
        given = {each.identity(way) for each in found} - {0}
        print(f"  {right} of {len(groups)} people have one identity of their own; {len(given)} were given\n")
        results[way] = {"right": right, "identities": len(given)}
    strays = [each for each in found if not any(each in group for group in groups)]
    for each in strays:
        print(f"camera {each.camera}, track {each.track}: meets nobody in another camera")
    print(json.dumps(results | {"strays": len(strays)}))


if __name__ == "__main__":
    main()
