"""Re-identification over cameras and after absences, scored on persons.

A person who leaves and returns is one person, whatever the annotation's identities are.  Each scene runs
through the services' cores in this process; with --kept the detections are stored, so that a second run needs
only the tracker.  The table has IDF1 over all cameras, the number of identities, and "mixed": pairs of a
person and an identity that mostly shows another person, for more than a second.

plaza     three virtual cameras, with a gap between them or overlapping; SHARED/tools cuts and scores them.
terrace   four real cameras with overlapping views: the whole, its halves, and calibrated to the ground.
clips     one person after another, and a shop aisle: only the number of identities is compared.

    python -m benchmarks.persons SHARED [--kept FOLDER] [--scene NAME ...]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import cross_camera
from benchmarks.identity_score import overlaps
from benchmarks.recorded import Recording, Tracked, people_of, tracked
from services.detector.extractor import FeatureExtractor
from services.detector.families import build
from shared.config import Config, Homography, checked_homography
from shared.messages import People

WAYS = ("settled", "online")
DETECTOR, EMBEDDER = "person-detection-0202", "person-reidentification-retail-0287"
SAME_BOX_IOU = 0.5
MIXED_S = 1.0
TERRACE_UNIT_M = 0.03
"""Metres in one unit of the homographies that are published with the terrace."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Cameras, and what is known of them.

    cameras: by number.  truth: folder with camN/gt/gt.txt, None where only the number of people is known.
    persons: file that tells which annotated identities are one person.  people: how many there are, lasting
    false detections included.
    frames: the first one and the one behind the last, of all cameras.
    """

    name: str
    cameras: Mapping[int, Path]
    people: int
    fps: float
    truth: Path | None = None
    persons: Path | None = None
    homographies: Mapping[int, Homography] | None = None
    frames: tuple[int, int] | None = None


@dataclass(slots=True)
class Score:
    """How a scene came out, in one way.  idf1: percent, None without truth.  mixed: persons, see above."""

    idf1: float | None
    identities: int
    people: int
    mixed: int | None


Truth = dict[int, dict[int, list[tuple[int, tuple[float, ...]]]]]
"""Camera -> frame from 0 -> person and box `x0, y0, x1, y1`."""


def truth_of(scene: Scene) -> Truth:
    """The annotation with persons for identities, without what is not to be counted."""
    assert scene.truth is not None
    lines = scene.persons.read_text().splitlines() if scene.persons else []
    pairs = (line.split(",") for line in lines if not line.startswith("#"))
    persons = {int(identity): int(person) for identity, person in pairs}
    found: Truth = {}
    for camera in scene.cameras:
        of_camera = found.setdefault(camera, {})
        for line in (scene.truth / f"cam{camera}" / "gt" / "gt.txt").read_text().splitlines():
            frame, identity, x, y, width, height, counts, *_ = map(float, line.split(","))
            if counts:
                person = persons.get(int(identity), int(identity))
                of_camera.setdefault(int(frame) - 1, []).append((person, (x, y, x + width, y + height)))
    return found


def mixed(scene: Scene, told: Tracked, way: str, truth: Truth) -> int:
    """Persons under an identity that is mostly another's, for longer than `MIXED_S`; counted by pair."""
    frames: Counter[tuple[int, int]] = Counter()
    for frame in told.tracks if way == "online" else told.settled:
        known = truth.get(frame.stamp.camera, {}).get(frame.stamp.frame_index, [])
        if not known or not len(frame.boxes):
            continue
        iou = overlaps(np.asarray(frame.boxes, np.float64), np.array([box for _, box in known]))
        for row, identity in enumerate(told.identities(frame, way)):
            column = int(iou[row].argmax())
            if identity and iou[row, column] >= SAME_BOX_IOU:
                frames[identity, known[column][0]] += 1
    most = {identity: max(n for (i, _), n in frames.items() if i == identity) for identity, _ in frames}
    own = {(identity, person) for (identity, person), n in frames.items() if n == most[identity]}
    return sum(n / scene.fps > MIXED_S for pair, n in frames.items() if pair not in own)


def scored(scene: Scene, told: Tracked, way: str, tools: Path) -> Score:
    """Count, and where there is truth have the tool score."""
    frames = told.tracks if way == "online" else told.settled
    shown = {identity for frame in frames for identity in told.identities(frame, way) if identity}
    if scene.truth is None:
        return Score(None, len(shown), scene.people, None)
    truth = truth_of(scene)
    with tempfile.TemporaryDirectory(prefix="persons-") as name:
        told.write(Path(name), way)
        part = cut_truth(scene, Path(name) / "truth")
        idf1 = cross_camera.scored(tools, part, Path(name), scene.persons)["idf1"]
    return Score(idf1, len(shown), scene.people, mixed(scene, told, way, truth))


def cut_truth(scene: Scene, folder: Path) -> Path:
    """The annotation of the scene's frames alone, in a new folder."""
    assert scene.truth is not None
    first, end = scene.frames or (0, sys.maxsize)
    for camera in scene.cameras:
        rows = (scene.truth / f"cam{camera}" / "gt" / "gt.txt").read_text().splitlines(keepends=True)
        (folder / f"cam{camera}" / "gt").mkdir(parents=True)
        kept = [row for row in rows if first < int(row.split(",")[0]) <= end]
        (folder / f"cam{camera}" / "gt" / "gt.txt").write_text("".join(kept))
    return folder


class Site:
    """The scenes of a folder SHARED; `folder` is for what is made of them."""

    def __init__(self, shared: Path, folder: Path) -> None:
        self._shared = shared
        self._folder = folder
        self.scenes: dict[str, Callable[[], Scene]] = {
            "plaza-gap": lambda: self._plaza("gap"),
            "plaza-overlap": lambda: self._plaza("overlap"),
            "terrace": self._terrace,
            "terrace-first": lambda: replace(self._terrace(), name="terrace-first", frames=(0, 150)),
            "terrace-second": lambda: replace(self._terrace(), name="terrace-second", frames=(150, 300)),
            "terrace-calibrated": self._calibrated,
            "one-by-one": lambda: self._clip("one-by-one", "one-by-one-person-detection.mp4", 6, 10.0),
            "store-aisle": lambda: self._clip("store-aisle", "store-aisle.mp4", 4, 15.0),
        }

    def _plaza(self, layout: str) -> Scene:
        sequence, cut = self._shared / "data/mot/PETS09-S2L1", self._folder / layout
        if not cut.exists():
            video = self._shared / "data/video/vtest.avi"
            cross_camera.cut(self._shared / "tools", video, sequence / "gt/gt.txt", cut, layout)
        cameras = {int(path.stem.removeprefix("cam")): path for path in sorted(cut.glob("cam*.mp4"))}
        return Scene(f"plaza-{layout}", cameras, 10, 10.0, truth=cut, persons=sequence / "persons.txt")

    def _terrace(self) -> Scene:
        folder = self._shared / "data/multicam/terrace"
        cameras = {number: folder / f"cam{number}.mp4" for number in range(1, 5)}
        return Scene("terrace", cameras, 9, 3.0, truth=folder)

    def _calibrated(self) -> Scene:
        scene = self._terrace()
        homographies = {}
        for number, video in scene.cameras.items():
            matrix = np.loadtxt(video.parent / f"cam{number}" / "homography.txt")
            matrix[:2] *= TERRACE_UNIT_M
            homographies[number] = checked_homography(matrix)
        return replace(scene, name="terrace-calibrated", homographies=homographies)

    def _clip(self, name: str, file: str, people: int, fps: float) -> Scene:
        return Scene(name, {1: self._shared / "data/video" / file}, people, fps)


def people_in(scene: Scene, extractor: FeatureExtractor | None, kept: Path) -> list[list[People]]:
    """What the detector found in each camera."""
    found = []
    for number, video in scene.cameras.items():
        name = f"{video.parent.name}-{video.stem}"
        people = people_of(Recording(number, video, name), extractor, kept)
        first, end = scene.frames or (0, len(people))
        found.append([each for each in people if first <= each.stamp.frame_index < end])
    return found


def main() -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", metavar="SHARED", type=Path, help="folder with data, tools and models")
    parser.add_argument("--kept", type=Path, help="folder for what the detector found, for the next time")
    parser.add_argument("--scene", action="append", help="one alone (default: all)")
    options = parser.parse_args()
    config = Config(
        models=str((options.shared / "models").resolve()),
        family="openvino",
        detector=DETECTOR,
        embedder=EMBEDDER,
    )
    extractor = FeatureExtractor(*build(config), config)
    results: dict[str, dict[str, Score]] = {}
    with tempfile.TemporaryDirectory(prefix="persons-") as name:
        kept = options.kept or Path(name)
        kept.mkdir(parents=True, exist_ok=True)
        site = Site(options.shared.resolve(), kept)
        print(f"{'scene':20} {'':8} {'IDF1':>6} {'identities':>10} {'people':>6} {'mixed':>5}")
        for scene_name in options.scene or site.scenes:
            scene = site.scenes[scene_name]()
            told = tracked(people_in(scene, extractor, kept), config, scene.homographies)
            results[scene_name] = {}
            for way in WAYS:
                score = scored(scene, told, way, options.shared / "tools")
                results[scene_name][way] = score
                idf1 = "" if score.idf1 is None else f"{score.idf1:.2f}"
                count = "" if score.mixed is None else str(score.mixed)
                print(
                    f"{scene_name:20} {way:8} {idf1:>6} {score.identities:10} {score.people:6} {count:>5}",
                    flush=True,
                )
    table = {
        scene: {
            way: {"idf1": s.idf1, "identities": s.identities, "mixed": s.mixed} for way, s in ways.items()
        }
        for scene, ways in results.items()
    }
    print(json.dumps({"benchmark": "persons", "scenes": table}))


if __name__ == "__main__":
    main()
