"""The detector service against its own networks: accuracy, appearance, throughput and fairness.

The service is the real one, in a process of its own with real links: this process sends it JPEG frames
as cameras do, and takes the people as the tracker does.

accuracy    AP50 and recall on every 10th frame of the plaza video, through the service, by the network
            alone on the same JPEGs, and by the network alone on the undamaged pictures.
appearance  how far the service's vectors are from those of the same crops alone; and how often two sightings
            of one person, two seconds and more apart, are more alike than those of two people (area under
            the ROC curve): of whom the service chose to embed, and of everybody in plain sight by the
            networks alone.
throughput  frames a second through the service with 1, 4 and 16 recorded cameras, over a loop that only
            decodes the same JPEGs and runs the networks on the same batches and crops in one thread.  The
            two take turns; CPU time a frame is beside it, which other programs disturb less.
modes       a frame alone and frames in batches, on all cores, as `performance` has it.
fairness    16 live cameras at 2 to 32 frames a second, together far more than can be served: what each
            got over its max-min fair share of what was served.
gpu         where torch finds a GPU, all that `benchmarks/torch_networks.py` measures.

    python -m benchmarks.detector SHARED [--frames N] [--rounds N] [--fair-s S]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.detector_process import Ends, cpu_s, encoded, frames_of, service, through_service
from benchmarks.plaza import SECOND_NS, SURE, accuracy, identified, plaza, separation
from services.detector.decode import MemoryDecoder, decode
from services.detector.embedding_policy import APPEARANCE, EmbeddingPolicy
from services.detector.failure import FrameFailure
from services.detector.families import build
from services.detector.family import Detections, Embedder
from services.detector.light import parts
from services.detector.picture import Image
from services.detector.quality import crop, visibility
from shared.config import Config
from shared.messages import Float32, Frame, FrameStamp, People

DETECTORS = ("person-detection-0200", "person-detection-0202", "person-detection-retail-0013", "yolox_nano")
WAYS = ("service", "alone", "undamaged")
EVERY = 10
FPS = 10
WARM_UP_FRAMES = 32
WARM_UP_S = 2.0
CAMERAS = (1, 4, 16)
RATES_FPS = tuple(2.0 + 2.0 * n for n in range(16))
SPEED_DETECTOR = "person-detection-0200"


@dataclass(slots=True)
class Speed:
    """Frames a second, and CPU milliseconds a frame of the process that did the work."""

    fps: float
    cpu_ms: float


def configuration(shared: Path, detector: str) -> Config:
    """One thread of networks: the other core is for the cameras' and the tracker's side."""
    return Config(models=str(shared / "models"), family="openvino", detector=detector, threads=1)


def measure_accuracy(shared: Path, detector: str) -> dict[str, float]:
    """AP50, recall and appearance, through the service and alone."""
    config = configuration(shared, detector)
    seen = plaza(shared, EVERY, 1000)
    size = (seen.images[0].shape[1], seen.images[0].shape[0])
    step_ns = EVERY * SECOND_NS // FPS
    people: list[People] = []
    with service(config, 1) as (endpoints, _):
        frames = {1: frames_of(1, encoded(seen.images), size, step_ns)}
        through_service(endpoints, frames, people.append)
    networks = build(config)
    sent = [image for each in frames[1] if not isinstance(image := decode(each), FrameFailure)]
    detected = {
        "service": [Detections(each.boxes, each.scores) for each in people],
        "alone": networks.detector.detect(sent),
        "undamaged": networks.detector.detect(seen.images),
    }
    result: dict[str, float] = {}
    for way, found in detected.items():
        result[f"ap50_{way}"], result[f"recall_{way}"] = accuracy(found, seen.people)
        vectors, who, times = [], [], []
        for number, (one, given) in enumerate(zip(found, people, strict=True)):
            if way == "service":
                features = given.features.get("appearance")
                if features is None:
                    continue
                boxes = given.boxes[features.of]
                vectors.append(features.vectors)
            else:
                sure = one.boxes[one.scores >= SURE]
                boxes = sure[visibility(sure, *size) >= APPEARANCE.lowest_visibility]
                image = (sent if way == "alone" else seen.images)[number]
                vectors.append(networks.embedder.embed(parts(image, boxes)))
            who.append(identified(boxes, seen.people[number]))
            times.append(np.full(len(boxes), given.stamp.t_ns))
        people_of, t_ns = np.concatenate(who), np.concatenate(times)
        known = people_of > 0
        result[f"reid_auc_{way}"] = separation(np.concatenate(vectors)[known], people_of[known], t_ns[known])
    result["vectors_apart"] = _apart(people, sent, networks.embedder)
    return result


def _apart(people: list[People], sent: list[Image], embedder: Embedder) -> float:
    """How far the service's vectors are from those of the same crops alone, at most."""
    far = 0.0
    for given, image in zip(people, sent, strict=True):
        features = given.features.get("appearance")
        if features is not None:
            alone = embedder.embed(parts(image, given.boxes[features.of]))
            far = max(far, float(np.abs(alone - features.vectors).max()))
    return far


def _bare(config: Config, frames: list[list[Frame]], pipe: Connection) -> None:
    """The bare loop's process: the same JPEGs, batches and crops, and nothing else."""
    cv2.setNumThreads(1)
    networks = build(config)
    decoder = MemoryDecoder()
    policies: dict[int, EmbeddingPolicy] = {}
    wanted: list[list[tuple[int, Float32]]] = []
    for batch in frames:
        wanted.append([])
        images = [image for each in batch if not isinstance(image := decode(each), FrameFailure)]
        for place, (frame, one) in enumerate(zip(batch, networks.detector.detect(images), strict=True)):
            stamp = frame.stamp
            policy = policies.setdefault(stamp.camera, EmbeddingPolicy(config.confidence))
            rows, _ = policy.choose(stamp.t_ns, one.boxes, one.scores, stamp.width, stamp.height)
            wanted[-1] += [(place, one.boxes[row]) for row in rows]
    pipe.send(None)
    while pipe.recv():
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for batch, boxes in zip(frames, wanted, strict=True):
            images = [each for each in decoder.decode(batch) if isinstance(each, np.ndarray)]
            networks.detector.detect(images)
            if boxes:
                networks.embedder.embed([crop(images[place], box) for place, box in boxes])
            decoder.release(images)
        count = sum(map(len, frames))
        seconds, used_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        pipe.send(Speed(count / seconds, used_s * 1000 / count))


def _measured(config: Config, frames: dict[int, list[Frame]]) -> Speed:
    """Through the service, between the end of a warm-up and the last frame."""
    total = sum(map(len, frames.values()))
    marks: list[tuple[float, float]] = []
    with service(config, len(frames)) as (endpoints, process):
        arrived = Counter[str]()

        def count(_: People) -> None:
            arrived["people"] += 1
            if arrived["people"] in (WARM_UP_FRAMES, total):
                marks.append((time.perf_counter(), cpu_s(process)))

        through_service(endpoints, frames, count)
    seconds, used_s = (end - begin for begin, end in zip(*marks, strict=True))
    measured = total - WARM_UP_FRAMES
    return Speed(measured / seconds, used_s * 1000 / measured)


def measure_throughput(shared: Path, cameras: int, frames: int, rounds: int) -> dict[str, float]:
    """The service against the bare loop; medians of the rounds."""
    config = configuration(shared, SPEED_DETECTOR)
    seen = plaza(shared, 1, max(frames // cameras, 1))
    size = (seen.images[0].shape[1], seen.images[0].shape[0])
    jpegs = encoded(seen.images)
    recordings = {
        camera: frames_of(camera, jpegs, size, SECOND_NS // FPS) for camera in range(1, cameras + 1)
    }
    turns = [frame for row in zip(*recordings.values(), strict=True) for frame in row]
    batches = [turns[i : i + config.batch_size] for i in range(0, len(turns), config.batch_size)]
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    bare_process = processes.Process(target=_bare, args=(config, batches, theirs))
    bare_process.start()
    ours.recv()
    served: list[Speed] = []
    bare: list[Speed] = []
    for _ in range(rounds):
        ours.send(True)
        bare.append(ours.recv())
        served.append(_measured(config, recordings))
        ours.send(True)
        bare.append(ours.recv())
    ours.send(False)
    bare_process.join()
    middle: Callable[[list[Speed], str], float] = lambda many, what: statistics.median(  # noqa: E731 - one line
        getattr(each, what) for each in many
    )
    result = {
        "fps_service": middle(served, "fps"),
        "fps_bare": middle(bare, "fps"),
        "cpu_ms_service": middle(served, "cpu_ms"),
        "cpu_ms_bare": middle(bare, "cpu_ms"),
    }
    return {**result, "ratio": result["fps_service"] / result["fps_bare"]}


def measure_modes(shared: Path) -> dict[str, dict[str, float]]:
    """One frame after another and eight at once, on all cores, in the two modes."""
    images = plaza(shared, 10, 40).images
    result = {}
    for mode in ("latency", "throughput"):
        config = Config(
            models=str(shared / "models"), family="openvino", detector=SPEED_DETECTOR, performance=mode
        )
        detector = build(config).detector
        detector.detect(images[:8])
        began_s = time.perf_counter()
        for image in images:
            detector.detect([image])
        middle_s = time.perf_counter()
        for first in range(0, len(images), 8):
            detector.detect(images[first : first + 8])
        result[mode] = {
            "alone_ms": (middle_s - began_s) * 1000 / len(images),
            "batch_fps": len(images) / (time.perf_counter() - middle_s),
        }
    return result


def fair_shares(demands: list[float], capacity: float) -> list[float]:
    """Max-min fair: nobody gets more than asked for, and what is left is shared evenly by the others."""
    shares = [0.0] * len(demands)
    left = capacity
    for place, camera in enumerate(sorted(range(len(demands)), key=lambda i: demands[i])):
        shares[camera] = min(demands[camera], left / (len(demands) - place))
        left -= shares[camera]
    return shares


def measure_fairness(shared: Path, seconds: float) -> dict[str, float]:
    """What the worst served camera got over its fair share."""
    config = configuration(shared, SPEED_DETECTOR)
    seen = plaza(shared, 1, 100)
    size = (seen.images[0].shape[1], seen.images[0].shape[0])
    jpegs = encoded(seen.images)
    got: Counter[int] = Counter()
    sent: Counter[int] = Counter()
    with service(config, len(RATES_FPS)) as (endpoints, _):
        ends = Ends(endpoints)
        for camera in range(1, len(RATES_FPS) + 1):
            ends.frames.open(camera, session=1, live=True)
        began_s = time.perf_counter()
        while (now_s := time.perf_counter() - began_s) < seconds + WARM_UP_S:
            for camera, rate in enumerate(RATES_FPS, 1):
                if sent[camera] < now_s * rate:
                    index = sent[camera]
                    stamp = FrameStamp(camera, 1, index, time.time_ns(), *size)
                    ends.frames.send(camera, Frame(stamp, jpegs[index % len(jpegs)]))
                    sent[camera] += 1
            arrived = ends.step(2)
            if now_s > WARM_UP_S:
                got.update(people.stamp.camera for people in arrived)
        ends.close()
    served = [got[camera] / seconds for camera in range(1, len(RATES_FPS) + 1)]
    fair = fair_shares(list(RATES_FPS), sum(served))
    ratios = [one / share for one, share in zip(served, fair, strict=True)]
    for rate, one, share in zip(RATES_FPS, served, fair, strict=True):
        print(
            f"  offered {rate:5.1f}/s   served {one:6.2f}/s   fair share {share:6.2f}/s   {one / share:5.2f}"
        )
    return {"offered_fps": sum(RATES_FPS), "served_fps": sum(served), "least_of_share": min(ratios)}


def measure_gpu() -> dict[str, Any] | None:
    """What `benchmarks.torch_networks` finds on this machine's GPU; None without one."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        print("gpu: torch is not installed")
        return None
    from services.detector.torch_device import has_gpu  # noqa: PLC0415 - an optional part

    if not has_gpu():
        print("gpu: torch finds none")
        return None
    from benchmarks.torch_networks import measured  # noqa: PLC0415 - an optional part

    print("gpu")
    return measured()


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", metavar="SHARED", type=Path, help="folder with data/ and models/")
    parser.add_argument("--frames", type=int, default=600, help="frames of each throughput round")
    parser.add_argument("--rounds", type=int, default=3, help="throughput rounds")
    parser.add_argument("--fair-s", type=float, default=20.0, help="seconds of the fairness run")
    options = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "detector", "cores": os.cpu_count()}
    print("accuracy on every 10th frame of the plaza video: through the service / alone / alone, undamaged")
    result["accuracy"] = {}
    for name in DETECTORS:
        figures = measure_accuracy(options.shared, name)
        result["accuracy"][name] = {key: round(value, 4) for key, value in figures.items()}
        told = "   ".join(
            f"{what} " + " / ".join(f"{figures[f'{what}_{way}']:.3f}" for way in WAYS)
            for what in ("ap50", "recall", "reid_auc")
        )
        print(f"  {name:30} {told}   vectors apart {figures['vectors_apart']:.1e}")
    print("throughput: frames/s (CPU ms a frame) of the service / the bare loop")
    result["throughput"] = {}
    for cameras in CAMERAS:
        figures = measure_throughput(options.shared, cameras, options.frames, options.rounds)
        result["throughput"][cameras] = {key: round(value, 3) for key, value in figures.items()}
        print(
            f"  {cameras:2} cameras   {figures['fps_service']:6.1f} ({figures['cpu_ms_service']:.2f})  /  "
            f"{figures['fps_bare']:6.1f} ({figures['cpu_ms_bare']:.2f})   ratio {figures['ratio']:.3f}"
        )
    print(f"modes of OpenVINO, {os.cpu_count()} threads: ms of a frame alone, frames/s of batches of 8")
    modes = measure_modes(options.shared)
    for name, figures in modes.items():
        print(f"  {name:12} {figures['alone_ms']:6.1f} ms   {figures['batch_fps']:6.1f}/s")
    result["modes"] = {
        name: {key: round(value, 2) for key, value in each.items()} for name, each in modes.items()
    }
    print("fairness: 16 live cameras")
    fairness = measure_fairness(options.shared, options.fair_s)
    result["fairness"] = {key: round(value, 3) for key, value in fairness.items()}
    result["gpu"] = measure_gpu()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
