"""Identities over several cameras, end to end: cut, run, export, score.

Cuts an annotated video into virtual cameras, starts `tracking-system run` on them, exports the identities,
as they are settled and as they were shown live ("online"), and scores both against the annotation, cameras
laid end to end, so that IDF1 rewards one identity a person over all of them.  The programs that cut and
score are not part of this project, so that nothing here can be fitted to them: TOOLS is a folder with
`virtual_cameras.py` and `score_cross_camera.py`.

    python -m benchmarks.cross_camera VIDEO GT.txt --tools TOOLS [--layout gap] [--models DIR]
        [--persons FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pipeline import write_config
from benchmarks.supervised_run import Run, exported

_SCORE = re.compile(r"cross-camera IDF1 ([\d.]+) HOTA ([\d.]+) AssA ([\d.]+)")
_COUNTS = re.compile(r"people (\d+), identities reported (\d+)")
WAYS = ("settled", "online")


def measured(
    video: Path, truth: Path, tools: Path, layout: str, settings: dict[str, object], *, persons: Path | None
) -> dict[str, dict[str, float]]:
    """What `scored` tells of one layout, settled and online."""
    with tempfile.TemporaryDirectory(prefix="cross-camera-") as name:
        folder = Path(name)
        cut(tools, video, truth, folder / "cut", layout)
        write_config(folder / "c.yaml", sorted((folder / "cut").glob("cam*.mp4")), settings, "recorded")
        run = Run(folder / "c.yaml", folder / "data")
        if run.finish().code:
            raise SystemExit(f"the run failed:\n{run.log.read_text()}")
        results = {}
        for way in WAYS:
            exported(folder / "data", folder / way, online=way == "online")
            results[way] = scored(tools, folder / "cut", folder / way, persons)
    return results


def cut(tools: Path, video: Path, truth: Path, folder: Path, layout: str) -> None:
    """Cut an annotated video into virtual cameras: camN.mp4 and camN/gt/gt.txt in a new folder."""
    command = [sys.executable, str(tools / "virtual_cameras.py"), str(video), str(truth), str(folder)]
    subprocess.run([*command, "--layout", layout], check=True, stdout=subprocess.DEVNULL)


def scored(tools: Path, truth: Path, result: Path, persons: Path | None = None) -> dict[str, float]:
    """IDF1, HOTA and AssA (percent), people and identities.

    truth: the folder of camN/gt/gt.txt.  result: the folder of camN.txt.  persons: which annotated identities
    are one person; each is a person of its own where it is None.
    """
    score = [sys.executable, str(tools / "score_cross_camera.py"), str(truth), str(result)]
    score += ["--persons", str(persons)] if persons else []
    told = subprocess.run(score, check=True, capture_output=True, text=True).stdout
    figures, counts = _SCORE.search(told), _COUNTS.search(told)
    if figures is None or counts is None:
        raise SystemExit(f"the score cannot be read:\n{told}")
    idf1, hota, assa = map(float, figures.groups())
    people, identities = map(int, counts.groups())
    return {"idf1": idf1, "hota": hota, "assa": assa, "people": people, "identities": identities}


def main() -> None:
    """Measure, print the table and the JSON line."""
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
    parser.add_argument("--models", type=os.path.abspath, help="folder with weights")
    parser.add_argument("--detector", default="person-detection-0202")
    options = parser.parse_args()
    settings: dict[str, object] = {
        "models": options.models or "",
        "family": "openvino",
        "detector": options.detector,
    }
    layouts = options.layout or ["gap", "overlap"]
    results = {
        layout: measured(
            options.video, options.truth, options.tools, layout, settings, persons=options.persons
        )
        for layout in layouts
    }
    print(f"{'layout':12} {'':8} {'IDF1':>6} {'HOTA':>6} {'AssA':>6} {'people':>7} {'identities':>10}")
    for layout, ways in results.items():
        for way, one in ways.items():
            print(
                f"{layout:12} {way:8} {one['idf1']:6.2f} {one['hota']:6.2f} {one['assa']:6.2f} "
                f"{one['people']:7} {one['identities']:10}"
            )
    print(json.dumps({"benchmark": "cross_camera", "detector": options.detector, "layouts": results}))


if __name__ == "__main__":
    main()
