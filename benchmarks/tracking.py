"""One camera's tracks from public detections, against other trackers on the same detections in one run.

Nobody sees pictures: peers that could look at them get none (blank ones, with re-identification and
camera motion by pictures turned off); all run with their default settings.  HOTA, IDF1, MOTA and identity
switches are TrackEval's, by `motrics`.  Frames a second are the tracker's time alone: parsed arrays in,
arrays out, the same clock around each.

    python -m benchmarks.tracking FOLDER [--leave-one-out]

FOLDER holds MOTChallenge sequences (`NAME/det/det.txt`, `NAME/gt/gt.txt`, `NAME/seqinfo.ini`).
"""

from __future__ import annotations

import argparse
import configparser
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import motrics
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from services.tracker.parameters import DEFAULT, Parameters
from tracking_system.detection_file import DetectionFile, FileTracker, detections

Rows = NDArray[np.float64]
"""(N, 6) `id, x0, y0, x1, y1, score`."""

OURS, SETTLED = "tracking-system", "tracking-system, settled"
SETTLE_S = 2.0

CHOICES: dict[str, tuple[float, ...]] = {
    "confirmation": (2.0, 3.0, 4.0),
    "speed": (0.45, 0.65, 0.9),
}
"""The values that `--leave-one-out` chooses from, of the parameters that matter most."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence; frames: boxes (N, 4) `x0, y0, x1, y1` and scores (N,) of each."""

    name: str
    fps: float
    size_px: tuple[int, int]
    frames: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
    truth: Any
    classes: bool  # whether the truth tells people from what merely looks like them (MOT16 and later)


@dataclass(frozen=True, slots=True)
class Score:
    """Percent, but for the number of identity switches and frames a second."""

    hota: float
    idf1: float
    mota: float
    switches: float
    fps: float


def load(folder: Path) -> Sequence:
    """Read a sequence's folder."""
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    about = info["Sequence"]
    file = DetectionFile.read(folder / "det" / "det.txt")
    frames = [(each.boxes, each.scores) for each in file.per_frame()]
    empty = (np.empty((0, 4)), np.empty(0))
    frames += [empty] * (int(about["seqLength"]) - len(frames))
    path = folder / "gt" / "gt.txt"
    # The truth of MOT16 and later has 9 columns, of which the 8th tells what it is.
    with path.open() as lines:
        classes = lines.readline().count(",") == 8
    truth = (
        motrics.load_motchallenge_gt(path)
        if classes
        else motrics.load_motchallenge(path, min_confidence=0.01)
    )
    size_px = (int(about["imWidth"]), int(about["imHeight"]))
    return Sequence(folder.name, float(about["frameRate"]), size_px, frames, truth, classes)


def scored(sequence: Sequence, result: dict[int, Rows], seconds: float) -> Score:
    """Compare with the truth."""
    given = {
        frame: (rows[:, 0].astype(int).tolist(), rows[:, 1:5].tolist()) for frame, rows in result.items()
    }
    align = motrics.preprocess_motchallenge if sequence.classes else motrics.align_frames
    aligned = align(sequence.truth, given)
    clear = motrics.compute_clear(*aligned)
    return Score(
        100 * motrics.compute_hota(*aligned).hota,
        100 * motrics.compute_identity(*aligned).idf1,
        100 * clear.mota,
        clear.num_switches,
        len(sequence.frames) / seconds,
    )


# -- trackers: each takes a sequence and gives the rows of each frame and the seconds it took -------

Tracker = Callable[[Sequence], tuple[dict[int, Rows], float]]


def ours(settle_s: float, parameters: Parameters = DEFAULT) -> Tracker:
    """The tracker of this project."""

    def track(sequence: Sequence) -> tuple[dict[int, Rows], float]:
        tracker = FileTracker(sequence.fps, sequence.size_px, settle_s, parameters)
        given = [detections(boxes, scores) for boxes, scores in sequence.frames]
        began_s = time.perf_counter()
        ready = [each for found in given for each in tracker.add(found)]
        ready += tracker.finish()
        return dict(ready), time.perf_counter() - began_s

    return track


def roboflow(name: str, **settings: Any) -> Tracker:
    """One of the package `trackers`."""
    import supervision  # noqa: PLC0415

    made = getattr(import_module("trackers"), name)

    def track(sequence: Sequence) -> tuple[dict[int, Rows], float]:
        tracker = made(frame_rate=sequence.fps, **settings)
        given = [
            supervision.Detections(xyxy=boxes, confidence=scores, class_id=np.zeros(len(boxes), int))
            for boxes, scores in sequence.frames
        ]
        began_s = time.perf_counter()
        found = [tracker.update(each) for each in given]
        seconds = time.perf_counter() - began_s
        result = {}
        for frame, each in enumerate(found, 1):
            if each.tracker_id is not None and len(each):
                rows = np.column_stack([each.tracker_id, each.xyxy, each.confidence])
                result[frame] = rows[rows[:, 0] >= 0]
        return result, seconds

    return track


def boxmot(name: str, **settings: Any) -> Tracker:
    """One of the package `boxmot`."""
    made = getattr(import_module("boxmot"), name)

    def track(sequence: Sequence) -> tuple[dict[int, Rows], float]:
        tracker = made(**settings)
        width, height = sequence.size_px
        blank = np.zeros((height, width, 3), np.uint8)
        given = [np.column_stack([boxes, scores, np.zeros(len(boxes))]) for boxes, scores in sequence.frames]
        began_s = time.perf_counter()
        found = [np.asarray(tracker.update(each, blank)) for each in given]
        seconds = time.perf_counter() - began_s
        result = {
            frame: each.reshape(len(each), -1)[:, [4, 0, 1, 2, 3, 5]]
            for frame, each in enumerate(found, 1)
            if len(each)
        }
        return result, seconds

    return track


PEERS: dict[str, tuple[Callable[..., Tracker], str, str, dict[str, Any]]] = {
    # shown as: (how, package, class, settings that turn pictures off)
    "BoT-SORT (trackers)": (roboflow, "trackers", "BoTSORTTracker", {"enable_cmc": False}),
    "ByteTrack (trackers)": (roboflow, "trackers", "ByteTrackTracker", {}),
    "OC-SORT (trackers)": (roboflow, "trackers", "OCSORTTracker", {}),
    "SORT (trackers)": (roboflow, "trackers", "SORTTracker", {}),
    "BoT-SORT (boxmot)": (boxmot, "boxmot", "BotSort", {"use_embeddings": False, "use_cmc": False}),
    "BoostTrack (boxmot)": (boxmot, "boxmot", "BoostTrack", {"use_embeddings": False, "use_cmc": False}),
    "OccluBoost (boxmot)": (boxmot, "boxmot", "OccluBoost", {"use_embeddings": False, "use_cmc": False}),
}


def trackers() -> Iterator[tuple[str, Tracker]]:
    """Our two outputs and every peer that is installed; the others are named."""
    yield OURS, ours(0.0)
    yield SETTLED, ours(SETTLE_S)
    for name, (how, package, kind, settings) in PEERS.items():
        try:
            made = how(kind, **settings)
        except (ImportError, AttributeError) as error:
            print(f"{name} left out: {error}")
            continue
        yield f"{name} {version(package)}", made


def measured(sequences: list[Sequence]) -> dict[str, dict[str, Score]]:
    """The scores of every tracker on every sequence."""
    results: dict[str, dict[str, Score]] = {}
    for name, tracker in trackers():
        tracker(sequences[0])  # what is loaded or compiled at first use is not tracking
        results[name] = {}
        for sequence in tqdm(sequences, desc=name, disable=None, leave=False):
            result, seconds = tracker(sequence)
            results[name][sequence.name] = scored(sequence, result, seconds)
    return results


def mean(scores: dict[str, Score], sequences: list[Sequence]) -> Score:
    """Mean over sequences; the sum of the switches, and all frames over all time."""
    each = list(scores.values())
    frames = sum(len(sequence.frames) for sequence in sequences)
    seconds = sum(len(sequence.frames) / scores[sequence.name].fps for sequence in sequences)
    return Score(
        float(np.mean([score.hota for score in each])),
        float(np.mean([score.idf1 for score in each])),
        float(np.mean([score.mota for score in each])),
        float(sum(score.switches for score in each)),
        frames / seconds,
    )


def leave_one_out(sequences: list[Sequence]) -> dict[str, dict[str, Any]]:
    """For each sequence the scores, online and settled, with the parameters that are best on the others.

    Best is the highest sum of mean HOTA and mean IDF1 of both outputs.
    """
    results: dict[tuple[float, ...], dict[str, tuple[Score, Score]]] = {}
    for values in tqdm(list(product(*CHOICES.values())), desc="parameters", disable=None):
        changed: dict[str, Any] = dict(zip(CHOICES, values, strict=True))
        parameters = DEFAULT._replace(**changed)
        online, settled = ours(0.0, parameters), ours(SETTLE_S, parameters)
        results[values] = {
            each.name: (scored(each, *online(each)), scored(each, *settled(each))) for each in sequences
        }

    def worth(values: tuple[float, ...], but: str) -> float:
        return sum(
            score.hota + score.idf1 for name, pair in results[values].items() for score in pair if name != but
        )

    chosen = {}
    for sequence in sequences:
        values = max(results, key=lambda each: worth(each, sequence.name))
        pair = results[values][sequence.name]
        chosen[sequence.name] = {
            "parameters": dict(zip(CHOICES, values, strict=True)),
            "online": pair[0],
            "settled": pair[1],
        }
    return chosen


def _line(name: str, score: Score) -> str:
    accuracy = f"{score.hota:6.2f} {score.idf1:6.2f} {score.mota:6.2f}"
    return f"{name:32} {accuracy} {score.switches:8.0f} {score.fps:8.0f}"


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument(
        "--leave-one-out",
        action="store_true",
        help="also choose the parameters on all sequences but one and score that one, for each",
    )
    options = parser.parse_args()
    sequences = [load(info.parent) for info in sorted(options.folder.glob("*/seqinfo.ini"))]
    if not sequences:
        raise SystemExit(f"{options.folder} holds no sequence (a folder with seqinfo.ini)")
    results = measured(sequences)
    heading = f"{'':32} {'HOTA':>6} {'IDF1':>6} {'MOTA':>6} {'switches':>8} {'frames/s':>8}"
    print(heading)
    means = {}
    for name, scores in results.items():
        for sequence, score in scores.items():
            print(_line(f"  {sequence}", score))
        means[name] = mean(scores, sequences)
        print(_line(name, means[name]))
    print(f"\nmean over {len(sequences)} sequences, sum of switches\n{heading}")
    for name, score in means.items():
        print(_line(name, score))
    summary: dict[str, Any] = {
        "benchmark": "tracking",
        "means": {name: asdict(score) for name, score in means.items()},
        "sequences": {
            name: {sequence: asdict(score) for sequence, score in scores.items()}
            for name, scores in results.items()
        },
    }
    if options.leave_one_out:
        chosen = leave_one_out(sequences)
        print(f"\nparameters chosen on the other sequences\n{heading}")
        for mode in ("online", "settled"):
            for sequence, choice in chosen.items():
                print(_line(f"  {sequence}", choice[mode]), choice["parameters"])
            total = mean({name: choice[mode] for name, choice in chosen.items()}, sequences)
            print(_line(mode, total))
            summary[f"leave_one_out_{mode}"] = asdict(total)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
