"""What the whole pipeline costs over its unavoidable parts, how late it is live, and what memory does.

Three measurements, each of real processes started by `tracking-system run`:

cost     CPU seconds a frame of all processes together, from start to end of a recorded run, over the sum
         of what no such system can avoid: video decoding, JPEG encoding, JPEG decoding and the networks
         (on every frame, and on as many crops as the run embedded), each measured alone, on the same
         frames, just before and just after the run.  What an installation does once, compiling networks
         and the tracker's loops into the cache folder, is done before.
memory   resident memory of every service in the same run, sampled all along: growth over its second half.
latency  from capture to the live track, with live cameras that bring frames faster than the detector
         takes them: p50 and p95 of the first and of the last third.

    python -m benchmarks.pipeline VIDEO [VIDEO ...] [--models DIR] [--frames N] [--live-s S]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
import yaml
import zmq
from numpy.typing import NDArray

from services.detector.families import build
from services.detector.quality import crop
from services.ingest.jpeg import JpegEncoder
from services.store.history import History
from services.store.statistics import statistics as run_statistics
from services.tracker.warming import warm
from shared.config import Config
from shared.endpoints import Endpoints
from shared.feed import FeedSubscriber
from shared.messages import Tracks

PARTS_FRAMES = 150
SAMPLE_S = 1.0
LIVE_FPS = 60
WARM_UP_S = 5.0
BATCH = 8


@dataclass(slots=True)
class Parts:
    """CPU milliseconds of each unavoidable part, a frame (an embedding: a crop)."""

    decode_video_ms: float
    encode_jpeg_ms: float
    decode_jpeg_ms: float
    detect_ms: float
    embed_ms: float


@dataclass(slots=True)
class Recorded:
    """One recorded run.

    embeddings: crops that went through the network.  rss: per service, (frames done, bytes) samples.
    service_cpu_s: per service, CPU seconds up to its last sample.
    """

    frames: int
    cpu_s: float
    wall_s: float
    embeddings: int
    rss: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    service_cpu_s: dict[str, float] = field(default_factory=dict)


def looped(video: Path, frames: int, out: Path, fps: float | None = None) -> None:
    """Write `frames` frames to a video, reading another one over and over.

    fps: a multiple of the source's rate; frames are shown so often that people walk as fast as they did.
    """
    capture = cv2.VideoCapture(str(video))
    source_fps = capture.get(cv2.CAP_PROP_FPS)
    times = max(1, round((fps or source_fps) / source_fps))
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), source_fps * times, size)
    written = 0
    while written < frames:
        ok, image = capture.read()
        if not ok:
            capture.release()
            capture = cv2.VideoCapture(str(video))
            continue
        for _ in range(times):
            writer.write(image)
        written += times
    writer.release()
    capture.release()


def write_config(path: Path, videos: list[Path], settings: dict[str, object], delivery: str) -> None:
    """A configuration with one camera a video."""
    cameras = {number: {"source": str(video), "delivery": delivery} for number, video in enumerate(videos, 1)}
    path.write_text(yaml.safe_dump({"cameras": cameras, **settings}))


def _cpu_ms(began_s: float, count: int) -> float:
    return (time.process_time() - began_s) * 1000 / count


def measure_parts(videos: list[Path], config: Config) -> Parts:
    """Each part alone, in this process, on the first frames of the videos."""
    each = PARTS_FRAMES // len(videos)
    images: list[NDArray[np.uint8]] = []
    decode_s = 0.0
    for video in videos:
        capture = cv2.VideoCapture(str(video))
        began_s = time.process_time()
        for _ in range(each):
            images.append(np.asarray(capture.read()[1], np.uint8))
        decode_s += time.process_time() - began_s
        capture.release()
    encoder = JpegEncoder(config.jpeg_quality)
    began_s = time.process_time()
    jpegs = [bytes(encoder.encode(image)) for image in images]
    encode_ms = _cpu_ms(began_s, len(images))
    began_s = time.process_time()
    for jpeg in jpegs:
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    decode_jpeg_ms = _cpu_ms(began_s, len(images))
    networks = build(config)
    networks.detector.detect(images[:BATCH])
    began_s = time.process_time()
    found = [
        boxes
        for start in range(0, len(images), BATCH)
        for boxes in networks.detector.detect(images[start : start + BATCH])
    ]
    detect_ms = _cpu_ms(began_s, len(images))
    crops = [crop(image, box) for image, one in zip(images, found, strict=True) for box in one.boxes[:2]]
    networks.embedder.embed(crops[:BATCH])
    began_s = time.process_time()
    for start in range(0, len(crops), BATCH):
        networks.embedder.embed(crops[start : start + BATCH])
    embed_ms = _cpu_ms(began_s, len(crops))
    return Parts(decode_s * 1000 / len(images), encode_ms, decode_jpeg_ms, detect_ms, embed_ms)


def _start(config: Path, data: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tracking_system", "run", str(config), "--headless", "--data", str(data)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _services(supervisor: int) -> Iterator[tuple[str, psutil.Process]]:
    for child in psutil.Process(supervisor).children(recursive=True):
        words = child.cmdline()
        if "tracking_system" in words:
            name = words[words.index("tracking_system") + 1]
            camera = words[words.index("--camera") + 1] if "--camera" in words else ""
            yield f"{name} {camera}".strip(), child


def _frames_done(data: Path) -> int:
    with closing(History(data)) as history:
        return int(history.select("SELECT COUNT(*) FROM frames")[0][0])


def recorded_run(config: Path, data: Path) -> Recorded:
    """Run to the end, sampling memory; CPU time is that of all processes from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.monotonic()
    process = _start(config, data)
    rss: dict[str, list[tuple[int, int]]] = {}
    service_cpu_s: dict[str, float] = {}
    while process.poll() is None:
        try:
            done = _frames_done(data) if (data / "tracking.db").exists() else 0
            for name, child in _services(process.pid):
                rss.setdefault(name, []).append((done, child.memory_info().rss))
                service_cpu_s[name] = sum(child.cpu_times()[:2])
        except Exception as error:  # noqa: BLE001 - processes end and a database begins between two looks
            print(f"(a sample was missed: {error})", file=sys.stderr)
        try:
            process.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"the run failed with code {process.returncode}: see {data}/tracker.log")
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    with closing(History(data)) as history:
        reports = run_statistics(history).reports
        embeddings = next(r.readings.get("embeddings", 0) for r in reports if r.service == "detector")
    return Recorded(
        _frames_done(data), cpu_s, time.monotonic() - began_s, int(embeddings), rss, service_cpu_s
    )


def growth_bytes(samples: list[tuple[int, int]]) -> float:
    """Bytes gained over the second half of a run, by a straight line fitted to its samples."""
    last = samples[-1][0]
    half = [(frames, rss) for frames, rss in samples if frames >= last / 2]
    if len(half) < 3 or half[0][0] == half[-1][0]:
        return 0.0
    frames, rss = np.array(half, float).T
    return float(np.polyfit(frames, rss, 1)[0] * (frames[-1] - frames[0]))


def live_latencies(config: Path, data: Path, seconds: float, cameras: int) -> list[tuple[float, float]]:
    """(seconds since the first, latency in ms) of every live track message, after a warm-up."""
    process = _start(config, data)
    found: list[tuple[float, float]] = []
    try:
        with zmq.Context() as context:
            feed = FeedSubscriber(context, Endpoints.local(data).live)
            began_s = 0.0
            while process.poll() is None:
                feed.socket.poll(500)
                now_ns, now_s = time.time_ns(), time.monotonic()
                for message in feed.receive():
                    if isinstance(message, Tracks):
                        began_s = began_s or now_s
                        found.append((now_s - began_s, (now_ns - message.stamp.t_ns) / 1e6))
                if began_s and now_s - began_s > seconds + WARM_UP_S:
                    break
            feed.close()
    finally:
        process.terminate()
        process.wait(30)
    if len(found) < 10 * cameras:
        raise SystemExit(f"only {len(found)} live frames came through: see {data}/tracker.log")
    return [(at_s - WARM_UP_S, ms) for at_s, ms in found if at_s > WARM_UP_S]


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return float(np.quantile(values, share))


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", metavar="VIDEO", type=Path, nargs="+", help="one a camera")
    parser.add_argument("--models", type=os.path.abspath, help="folder with weights")
    parser.add_argument("--frames", type=int, default=10_000, help="frames of the recorded run, all cameras")
    parser.add_argument("--live-s", type=float, default=60.0, help="seconds of the live run")
    options = parser.parse_args()
    config = Config(models=options.models or "", family="openvino")
    settings: dict[str, object] = {
        "models": options.models or "",
        "family": "openvino",
        "report_every_s": 2.0,
    }
    with tempfile.TemporaryDirectory(prefix="pipeline-") as name:
        folder = Path(name)
        each = -(-options.frames // len(options.videos))
        videos = [folder / f"cam{number}.mp4" for number in range(1, len(options.videos) + 1)]
        for source, video in zip(options.videos, videos, strict=True):
            looped(source, each, video)
        write_config(folder / "recorded.yaml", videos, settings, "recorded")
        warm()
        before = measure_parts(videos, config)
        run = recorded_run(folder / "recorded.yaml", folder / "recorded")
        after = measure_parts(videos, config)
        fast = [folder / f"live{number}.mp4" for number in range(1, len(videos) + 1)]
        for source, video in zip(options.videos, fast, strict=True):
            looped(source, int((options.live_s + 2 * WARM_UP_S) * LIVE_FPS), video, LIVE_FPS)
        live = {**settings, "target_fps": LIVE_FPS}
        write_config(folder / "live.yaml", fast, live, "live")
        latencies = live_latencies(folder / "live.yaml", folder / "live", options.live_s, len(fast))
    report(run, before, after, latencies, options.live_s)


def report(
    run: Recorded, before: Parts, after: Parts, latencies: list[tuple[float, float]], live_s: float
) -> None:
    """Print what was found."""
    parts = {name: statistics.mean([getattr(before, name), getattr(after, name)]) for name in Parts.__slots__}
    embed_ms = parts.pop("embed_ms") * run.embeddings / run.frames
    unavoidable_ms = sum(parts.values()) + embed_ms
    whole_ms = run.cpu_s * 1000 / run.frames
    print(f"cost: {run.frames} frames in {run.wall_s:.0f} s, CPU milliseconds a frame")
    for title, value in (*parts.items(), ("embed_ms", embed_ms), ("unavoidable", unavoidable_ms)):
        print(f"  {title:18} {value:8.2f}")
    print(f"  {'whole pipeline':18} {whole_ms:8.2f}   ratio {whole_ms / unavoidable_ms:.3f}")
    for name, cpu_s in sorted(run.service_cpu_s.items()):
        print(f"    {name:16} {cpu_s * 1000 / run.frames:8.2f}")
    print("memory: resident MiB at the half and at the end, growth over the second half")
    growth = {}
    for name, samples in sorted(run.rss.items()):
        middle = samples[len(samples) // 2][1]
        growth[name] = growth_bytes(samples) / samples[-1][1]
        print(f"  {name:18} {middle / 2**20:8.1f} {samples[-1][1] / 2**20:8.1f} {growth[name]:+8.1%}")
    thirds = [
        [ms for at_s, ms in latencies if number * live_s / 3 <= at_s < (number + 1) * live_s / 3]
        for number in range(3)
    ]
    print(f"latency: capture to live track, ms, input at {LIVE_FPS} fps a camera, detector at capacity")
    for number, third in enumerate(thirds, 1):
        print(
            f"  third {number}            p50 {quantile(third, 0.5):7.1f}  p95 {quantile(third, 0.95):7.1f}  "
            f"({len(third) / (live_s / 3):.0f} frames/s)"
        )
    print(
        json.dumps(
            {
                "benchmark": "pipeline",
                "frames": run.frames,
                "frames_per_s": round(run.frames / run.wall_s, 1),
                "cpu_ms_per_frame": round(whole_ms, 2),
                "unavoidable_ms_per_frame": round(unavoidable_ms, 2),
                "cost_ratio": round(whole_ms / unavoidable_ms, 3),
                "cpu_ms_per_frame_by_service": {
                    name: round(cpu_s * 1000 / run.frames, 2) for name, cpu_s in run.service_cpu_s.items()
                },
                "rss_growth_second_half": {name: round(value, 4) for name, value in growth.items()},
                "latency_p50_ms": [round(quantile(third, 0.5), 1) for third in thirds],
                "latency_p95_ms": [round(quantile(third, 0.95), 1) for third in thirds],
            }
        )
    )


if __name__ == "__main__":
    main()
