"""How identities over cameras suffer when one camera gets worse: in light, colour, JPEG quality, frame rate.

Cuts an annotated video into virtual cameras, as `benchmarks/cross_camera.py` does, and changes one of them:
its gamma, the colour temperature of its light (Planck's law at 450, 550 and 610 nm against 6500 K, green
kept), its JPEG quality, its frame rate (fewer frames, evaluated on those that remain; beside it what all
frames give when evaluated on the same few).  The other cameras
stay as they are and are looked at once.  Scores are IDF1 over all cameras laid end to end, settled and
online, in this process with the services' own cores, by the program in TOOLS.

    python -m benchmarks.robustness VIDEO GT.txt --tools TOOLS --models DIR [--layout gap] [--camera 2]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks import cross_camera
from benchmarks.cross_camera import WAYS, scored
from benchmarks.recorded import Recording, people_of, tracked
from services.detector.extractor import FeatureExtractor
from services.detector.families import build
from services.detector.picture import Image
from shared.config import Config

GAMMAS = (0.4, 0.6, 1.6, 2.5)
TEMPERATURES_K = (3000, 4500, 9000, 15000)
QUALITIES = (70, 50, 30)
RATES_FPS = (5, 2)
WAVELENGTHS_M = np.array([450e-9, 550e-9, 610e-9])
"""Of blue, green and red."""

DAYLIGHT_K = 6500
SECOND_RADIATION_MK = 1.4388e-2
"""Planck's second radiation constant, metres times kelvin."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is done to the camera.

    gamma: exponent of the values.  fps, scored_fps: frames that are sent, and that are evaluated, 0 for all.
    """

    name: str
    gamma: float = 1.0
    temperature_k: float = DAYLIGHT_K
    quality: int = Config().jpeg_quality
    fps: float = 0.0
    scored_fps: float = 0.0

    @property
    def unchanged(self) -> bool:
        """Whether the camera sends what it always sends."""
        return self == Condition(self.name, scored_fps=self.scored_fps)

    def change(self, image: Image) -> Image:
        """The picture under this light."""
        radiance = 1 / np.expm1(SECOND_RADIATION_MK / WAVELENGTHS_M / self.temperature_k)
        gain = radiance * np.expm1(SECOND_RADIATION_MK / WAVELENGTHS_M / DAYLIGHT_K)
        values = (np.arange(256)[:, None] / 255) ** self.gamma * (gain / gain[1])
        table = (np.clip(values, 0, 1) * 255).round().astype(np.uint8).reshape(1, 256, 3)
        return np.asarray(cv2.LUT(image, table), np.uint8)


def conditions(quick: bool) -> list[Condition]:
    """The camera as it is, and each thing made worse step by step; quick: the worst of each only."""
    gammas = [Condition(f"gamma {value}", gamma=value) for value in GAMMAS]
    lights = [Condition(f"{value} K", temperature_k=value) for value in TEMPERATURES_K]
    jpegs = [Condition(f"JPEG {value}", quality=value) for value in QUALITIES]
    rates = []
    for value in RATES_FPS:
        rates.append(Condition(f"{value} fps", fps=value, scored_fps=value))
        rates.append(Condition(f"all for {value}", scored_fps=value))
    chosen = [gammas[-1], lights[0], jpegs[-1], *rates[-2:]] if quick else [*gammas, *lights, *jpegs, *rates]
    return [Condition("as it is"), *chosen]


def keep_every(path: Path, every: int) -> None:
    """Of a file in the format of MOTChallenge leave every so many frames only."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if (int(line.split(",")[0]) - 1) % every == 0))


@dataclass(frozen=True, slots=True)
class Setting:
    """What all conditions have in common.

    tools: the programs that cut and score.  kept: what the detector found.  camera: the one that is changed.
    persons: which annotated identities are one person.
    """

    tools: Path
    kept: Path
    camera: int
    config: Config
    persons: Path | None


def curve(cut: Path, setting: Setting, of: list[Condition]) -> dict[str, dict[str, float]]:
    """IDF1 by condition, settled and online, of the cameras in `cut`."""
    config, camera = setting.config, setting.camera
    extractor = FeatureExtractor(*build(config), config)
    results: dict[str, dict[str, float]] = {}
    for condition in of:
        recordings, every, wanted_fps = [], 1, condition.scored_fps
        for video in sorted(cut.glob("cam*.mp4")):
            number = int(video.stem.removeprefix("cam"))
            name = f"{cut.name}-{video.stem}"
            if number == camera and wanted_fps:
                every = max(1, round(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FPS) / wanted_fps))
            if number != camera or condition.unchanged:
                recordings.append(Recording(number, video, name))
                continue
            label = f"{name}-{condition.name.replace(' ', '-')}"
            sent = every if condition.fps else 1
            recordings.append(Recording(number, video, label, condition.change, condition.quality, sent))
        told = tracked([people_of(each, extractor, setting.kept) for each in recordings], config)
        with tempfile.TemporaryDirectory(prefix="robustness-") as temporary:
            folder = Path(temporary)
            for source in sorted(cut.glob("cam*/gt")):
                shutil.copytree(source, folder / "truth" / source.relative_to(cut))
            keep_every(folder / "truth" / f"cam{camera}" / "gt" / "gt.txt", every)
            results[condition.name] = {}
            for way in WAYS:
                told.write(folder / way, way)
                keep_every(folder / way / f"cam{camera}.txt", every)
                score = scored(setting.tools, folder / "truth", folder / way, setting.persons)
                results[condition.name][way] = score["idf1"]
    return results


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("truth", metavar="GT.txt", type=Path, help="MOTChallenge annotation of the video")
    parser.add_argument("--tools", type=Path, required=True, help="folder of the programs that cut and score")
    parser.add_argument(
        "--persons", type=Path, help="file `identity, person`: whoever leaves and returns is one person"
    )
    parser.add_argument("--layout", action="append", help="gap, overlap or a JSON file (default: both)")
    parser.add_argument("--camera", type=int, default=2, help="the one that is changed")
    parser.add_argument("--models", default="", help="folder with weights")
    parser.add_argument("--detector", default="person-detection-0202")
    parser.add_argument("--embedder", default="person-reidentification-retail-0287")
    parser.add_argument("--quick", action="store_true", help="the worst step of each alone")
    parser.add_argument("--kept", type=Path, help="folder for what the detector found, for the next time")
    options = parser.parse_args()
    config = Config(
        models=options.models, family="openvino", detector=options.detector, embedder=options.embedder
    )
    steps = conditions(options.quick)
    layouts = options.layout or ["gap", "overlap"]
    results = {}
    with tempfile.TemporaryDirectory(prefix="robustness-") as name:
        kept: Path = options.kept or Path(name)
        kept.mkdir(parents=True, exist_ok=True)
        for layout in layouts:
            cut = Path(name) / Path(layout).stem
            cross_camera.cut(options.tools, options.video, options.truth, cut, layout)
            setting = Setting(options.tools, kept, options.camera, config, options.persons)
            results[layout] = curve(cut, setting, steps)
            shutil.rmtree(cut)
    print(f"IDF1 over all cameras, camera {options.camera} changed")
    titles = [f"{layout}, {way}" for layout in layouts for way in WAYS]
    print(f"{'':12}" + "".join(f"{title:>18}" for title in titles))
    for step in steps:
        values = [results[layout][step.name][way] for layout in layouts for way in WAYS]
        print(f"{step.name:12}" + "".join(f"{value:18.2f}" for value in values))
    print(json.dumps({"benchmark": "robustness", "camera": options.camera, "idf1": results}))


if __name__ == "__main__":
    main()
