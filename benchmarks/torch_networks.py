"""The torch family against torchvision's own eager fp32 loop, on the same device in the same run.

detector    pictures of 1280x720 a second by FasterRCNN ResNet50 FPN V2 at 800 pixels, for each size of batch,
            from pixels in memory to boxes in memory; torchvision's loop takes them one by one and in the same
            batches.  And whether the boxes are the same: IoU 0.9, scores within 0.02.
embedder    crops a second by ResNet50, likewise, and the least cosine between the two.
stages      milliseconds of each step of a batch, one after another, beside the least that its arithmetic
            takes at the speed of a large matrix product in the same precision on this device.
service     the whole detector service on cameras of 1280x720: frames a second and, on a GPU, how much of the
            time it was busy, as nvidia-smi has it.

Weights are seeded (`benchmarks.seeded_networks`) unless a folder with torchvision's own is named.

    python -m benchmarks.torch_networks [--device cuda] [--precision fp16] [--models DIR] [--quick]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision

from benchmarks.detector_process import cpu_s, encoded, frames_of, service, through_service
from benchmarks.plaza import SECOND_NS, overlaps
from benchmarks.seeded_networks import noise_pictures, seeded_detector, seeded_embedder, tensor
from benchmarks.torch_bench import QUICK, Bench, Scale
from benchmarks.torch_stages import measure_stages
from services.detector.checkpoint import load_into
from services.detector.family import LOWEST_SCORE, Detections
from services.detector.picture import Image
from services.detector.torch_family import CROP_SIZE, FasterRcnnDetector, ResNetEmbedder
from shared.config import Config
from shared.messages import Float32

SAME_IOU, SAME_SCORE, SURE = 0.9, 0.02, 0.3
CALIBRATION = 2


def eager_detector(bench: Bench) -> Any:
    """Torchvision's network as its documentation builds it."""
    network = torchvision.models.detection.fasterrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, box_score_thresh=LOWEST_SCORE, **bench.scale.options
    )
    load_into(network, bench.file("fasterrcnn_resnet50_fpn_v2"))
    return network.eval().to(bench.device)


def eager_detections(bench: Bench, network: Any, pictures: Sequence[Image]) -> list[Detections]:
    """As its documentation uses it."""
    with torch.inference_mode():
        answers = network([tensor(each).to(bench.device) for each in pictures])
    found = []
    for answer in answers:
        people = answer["labels"] == 1
        boxes = answer["boxes"][people].cpu().numpy()
        whole = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(axis=1)
        found.append(Detections(boxes[whole], answer["scores"][people].cpu().numpy()[whole]))
    return found


def alike(wanted: Sequence[Detections], found: Sequence[Detections]) -> tuple[int, int]:
    """How many sure detections have one like them, and of how many."""
    same = count = 0
    for one, other in zip(wanted, found, strict=True):
        sure = one.scores > SURE
        close = overlaps(one.boxes, other.boxes) > SAME_IOU
        close &= np.abs(one.scores[:, None] - other.scores) < SAME_SCORE
        same += int(close[sure].any(axis=1).sum())
        count += int(sure.sum())
    return same, count


def measure_detector(bench: Bench) -> dict[str, Any]:
    """Pictures a second, and whether the boxes are the same."""
    eager = eager_detector(bench)
    batches = {size: bench.pictures[:size] for size in bench.scale.batches if size <= len(bench.pictures)}
    loops = {
        size: bench.rate(lambda part=part: eager_detections(bench, eager, part), size)  # type: ignore[misc]
        for size, part in batches.items()
    }
    expected = [each for picture in bench.pictures for each in eager_detections(bench, eager, [picture])]
    detector = FasterRcnnDetector(
        bench.file("fasterrcnn_resnet50_fpn_v2"), str(bench.device), bench.precision, **bench.scale.options
    )
    result: dict[str, Any] = {}
    print(f"  {'batch':>5} {'torchvision/s':>14} {'ours/s':>8} {'over its loop':>14} {'over its batch':>15}")
    for size, part in batches.items():
        ours = bench.rate(lambda part=part: detector.detect(part), size)  # type: ignore[misc]
        row = {
            "eager_fps": loops[size],
            "fps": ours,
            "ratio": ours / loops[1],
            "of_batch": ours / loops[size],
        }
        print(f"  {size:5} {loops[size]:14.2f} {ours:8.2f} {row['ratio']:14.2f} {row['of_batch']:15.2f}")
        result[str(size)] = row
    found = [
        each
        for first in range(0, len(bench.pictures), bench.scale.staged)
        for each in detector.detect(bench.pictures[first : first + bench.scale.staged])
    ]
    same, count = alike(expected, found)
    print(f"  {same} of {count} detections above {SURE} are the same (IoU {SAME_IOU}, score {SAME_SCORE})")
    return {"batches": result, "same": same, "sure": count, "counts": dict(detector.counts)}


def measure_embedder(bench: Bench) -> dict[str, float]:
    """Crops a second, and how alike the vectors are."""
    network = torchvision.models.resnet50(weights=None)
    network.fc = torch.nn.Identity()
    load_into(network, bench.file("resnet50"))
    network = network.eval().to(bench.device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=bench.device).reshape(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], device=bench.device).reshape(3, 1, 1)

    def eager(crops: Sequence[Image]) -> Float32:
        scaled = [
            tensor(np.asarray(cv2.resize(each, CROP_SIZE), np.uint8)).to(bench.device) for each in crops
        ]
        with torch.inference_mode():
            features = network(torch.stack([(each - mean) / deviation for each in scaled]))
        vectors: Float32 = torch.nn.functional.normalize(features).cpu().numpy()
        return vectors

    some = bench.crops[: bench.scale.crops]
    one_by_one = bench.rate(lambda: [eager([each]) for each in some], len(some))
    batched = bench.rate(lambda: eager(some), len(some))
    expected = eager(some)
    embedder = ResNetEmbedder(bench.file("resnet50"), str(bench.device), bench.precision)
    ours = bench.rate(lambda: embedder.embed(some), len(some))
    cosine = float((embedder.embed(some) * expected).sum(axis=1).min())
    singly, together = f"one by one {one_by_one:.1f}/s", f"{len(some)} at once {batched:.1f}/s"
    print(f"  torchvision {singly}, {together}; ours {ours:.1f}/s")
    print(f"  {ours / one_by_one:.2f} and {ours / batched:.2f} times as many; least cosine {cosine:.5f}")
    return {
        "eager_one_by_one": one_by_one,
        "eager_batch": batched,
        "ours": ours,
        "ratio": ours / one_by_one,
        "of_batch": ours / batched,
        "least_cosine": cosine,
    }


@contextmanager
def busy_share(samples: list[float]) -> Iterator[None]:
    """Let nvidia-smi note, five times a second, how much of the time the GPU was busy, 0-1."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield
        return
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        for line in process.stdout or ():
            if line.strip().isdigit():
                samples.append(int(line) / 100)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        reader.join()


def measure_service(bench: Bench) -> dict[str, float | None]:
    """The whole service on recorded cameras, and what it made of the device."""
    scale = bench.scale
    config = Config(
        models=str(bench.models),
        family="torch",
        device=str(bench.device),
        precision=bench.precision,
        performance="throughput",
        batch_size=max(scale.batches) // 2 or 1,
        input_size=int(scale.options.get("min_size", 0)),
    )
    jpegs = encoded((bench.pictures * scale.frames)[: scale.frames])
    recordings = {
        camera: frames_of(camera, jpegs, scale.picture[::-1], SECOND_NS // 30)
        for camera in range(1, scale.cameras + 1)
    }
    total = scale.cameras * scale.frames
    samples: list[float] = []
    marks: list[tuple[float, float, int]] = []
    arrived = 0
    with service(config, scale.cameras) as (endpoints, process), busy_share(samples):

        def count(_: object) -> None:
            nonlocal arrived
            arrived += 1
            # The first quarter warms up: algorithms are tried and graphs recorded.
            if arrived in (total // 4, total):
                marks.append((time.perf_counter(), cpu_s(process), len(samples)))

        through_service(endpoints, recordings, count)
    (began_s, began_cpu_s, first), (ended_s, ended_cpu_s, last) = marks
    frames = total - total // 4
    busy = statistics.mean(samples[first:last]) if samples[first:last] else None
    row = {
        "fps": frames / (ended_s - began_s),
        "cpu_ms": (ended_cpu_s - began_cpu_s) * 1000 / frames,
        "gpu_busy": busy,
    }
    told = "no GPU" if busy is None else f"the GPU busy {busy:.0%} of the time"
    print(f"  {scale.cameras} cameras: {row['fps']:.2f} frames/s, {row['cpu_ms']:.1f} CPU ms a frame, {told}")
    return row


def seed(folder: Path, scale: Scale) -> None:
    """Put seeded weights into the folder."""
    pictures = noise_pictures(CALIBRATION, *scale.picture)
    detector = seeded_detector(pictures, **scale.options)
    torch.save(detector.state_dict(), folder / "fasterrcnn_resnet50_fpn_v2.pth")
    torch.save(seeded_embedder(noise_pictures(8, 256, 128)).state_dict(), folder / "resnet50.pth")


def measured(
    device: str = "auto", precision: str = "auto", models: Path | None = None, *, quick: bool = False
) -> dict[str, Any]:
    """Measure everything and print its tables; the figures."""
    scale = QUICK if quick else Scale()
    with tempfile.TemporaryDirectory(prefix="torch-networks-") as folder:
        if models is None:
            seed(Path(folder), scale)
        bench = Bench(scale, device, precision, models or Path(folder))
        name = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "the CPU"
        print(f"{name}, torch {torch.__version__}, torchvision {torchvision.__version__}")
        result: dict[str, Any] = {"device": name, "quick": quick}
        for title, measure in (
            ("detector", measure_detector),
            ("embedder", measure_embedder),
            ("stages", measure_stages),
            ("service", measure_service),
        ):
            print(title)
            result[title] = measure(bench)
    return result


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    parser.add_argument(
        "--models", type=Path, help="a folder with torchvision's weights (default: seeded ones)"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: that it runs, not how fast")
    options = parser.parse_args()
    result = measured(options.device, options.precision, options.models, quick=options.quick)
    print(json.dumps({"benchmark": "torch_networks", **result}))


if __name__ == "__main__":
    main()
