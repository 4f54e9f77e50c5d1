"""What each step of the torch family takes, beside what its arithmetic alone would take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.detector_process import encoded, frames_of
from benchmarks.plaza import SECOND_NS
from benchmarks.torch_bench import QUICK, Bench
from services.detector.failure import FrameFailure
from services.detector.torch_family import CROP_SIZE, FasterRcnnDetector, ResNetEmbedder, features_of
from services.detector.torch_picture import TorchPicture, sampled, uploaded
from services.detector.torch_rcnn import PeopleRcnn


def measure_stages(bench: Bench) -> dict[str, dict[str, float]]:
    """Milliseconds of each step of a batch, and of its arithmetic at the speed of a matrix product."""
    detector = FasterRcnnDetector(
        bench.file("fasterrcnn_resnet50_fpn_v2"), str(bench.device), bench.precision, **bench.scale.options
    )
    embedder = ResNetEmbedder(bench.file("resnet50"), str(bench.device), bench.precision)
    network = detector._run.half or detector._run.exact
    steps = PeopleRcnn(network, 1)
    described = features_of(embedder._run.half or embedder._run.exact)
    size = detector.size_of((*bench.scale.picture, 3))
    some = (bench.pictures * bench.scale.staged)[: bench.scale.staged]
    frames = frames_of(1, encoded(some), bench.scale.picture[::-1], SECOND_NS)
    decoder = detector.decoder(8)
    precision = next(network.parameters()).dtype
    peak = product_flops(bench, precision)
    values: dict[str, Any] = {}
    result: dict[str, dict[str, float]] = {}

    def stage(name: str, run: Callable[[], Any]) -> None:
        with torch.inference_mode():
            values[name] = run()
            repeats = []
            for _ in range(1 if bench.scale is QUICK else 10):
                bench.finish()
                began_s = time.perf_counter()
                run()
                bench.finish()
                repeats.append(time.perf_counter() - began_s)
            with FlopCounterMode(display=False) as counter:
                run()
        row = {"ms": statistics.median(repeats) * 1000, "limit_ms": counter.get_total_flops() / peak * 1000}
        result[name] = row
        print(f"  {name:12} {row['ms']:9.2f} ms   arithmetic {row['limit_ms']:9.2f} ms")

    def decoded() -> list[Any]:
        pictures = [each for each in decoder.decode(frames) if not isinstance(each, FrameFailure)]
        decoder.release(pictures)
        return pictures

    def parts() -> list[TorchPicture]:
        height, width = bench.scale.picture
        whole = values["copy"]
        return [
            TorchPicture(whole[n % len(whole)], (x, 0, x + 60, 150), lambda: some[0])
            for n, x in enumerate(np.linspace(0, width - 61, bench.scale.crops).astype(int))
            if height > 150
        ]

    kind = str(precision).removeprefix("torch.")
    print(f"  {len(some)} pictures, {bench.scale.crops} crops; limit {peak / 1e12:.2f} TFLOP/s in {kind}")
    stage("decode", decoded)
    stage("copy", lambda: torch.stack([uploaded(each, bench.device) for each in some]))
    stage("preprocess", lambda: steps.prepared(values["copy"], size))
    stage("backbone", lambda: steps.pyramid(values["preprocess"]))
    stage("proposals", lambda: steps.proposals(values["backbone"], size))
    stage("pooling", lambda: steps.pooled(values["backbone"], values["proposals"][0], size))
    stage("heads", lambda: steps.judged(values["pooling"]))
    boxes, valid = values["proposals"][:2]
    logits, deltas = values["heads"]
    stage("suppression", lambda: steps.people(logits, deltas, boxes, valid, size=size))
    stage("crops", lambda: sampled(parts(), CROP_SIZE, bench.device))
    stage("embedding", lambda: described(values["crops"]))
    return result


def product_flops(bench: Bench, precision: torch.dtype) -> float:
    """Operations a second of a large product of matrices."""
    side = bench.scale.product
    one = torch.randn((side, side), device=bench.device).to(precision)
    return bench.rate(lambda: one @ one, 2 * side**3)
