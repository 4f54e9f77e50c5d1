"""`tracking-system track`: a MOTChallenge file of detections into one of tracks."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from services.tracker.camera_tracker import Detections
from shared.errors import ConfigError, StorageError
from tracking_system.detection_file import DetectionFile, FileTracker, result_lines

_EPILOG = """\
A row of DET.txt is `frame, id, x, y, width, height, score`, a row of RESULT.txt `frame, id, x, y, width,
height, score, -1, -1, -1`; frames count from 1. Scores may be on any scale. Rows that are no detections are
skipped, counted, and the first of them named with their lines.

Without --settle each frame has the tracks as they are believed at once; with it as they turn out to have
been so many seconds later: identities corrected, boxes smoothed, short gaps filled.

examples:
  tracking-system track det.txt --fps 30 --size 1920x1080 --out result.txt
  tracking-system track det.txt --fps 30 --size 1920x1080 --settle 2 --out result.txt
"""

_NAMED = 5
_LONGEST_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `track`."""
    parser.epilog = _EPILOG
    parser.add_argument("detections", metavar="DET.txt", type=Path, help="the detections of one camera")
    parser.add_argument("--fps", metavar="F", type=float, required=True, help="frames a second")
    parser.add_argument(
        "--size", metavar="WxH", required=True, help="pixels of the pictures, as in 1920x1080"
    )
    parser.add_argument(
        "--settle",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="settle tracks after so long (default: online)",
    )
    parser.add_argument("--out", metavar="RESULT.txt", type=Path, required=True, help="the file to write")


def run(arguments: argparse.Namespace) -> int:
    """Track the file and say what came out."""
    if not 0.01 <= arguments.fps <= 1000:
        raise ConfigError(f"--fps must be from 0.01 to 1000, not {arguments.fps:g}")
    if not 0 <= arguments.settle <= _LONGEST_S:
        raise ConfigError(f"--settle must be from 0 to {_LONGEST_S:g} seconds, not {arguments.settle:g}")
    size = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", arguments.size)
    if size is None:
        raise ConfigError(f"--size must be like 1920x1080, not {arguments.size!r}")
    file = DetectionFile.read(arguments.detections)
    for line, complaint in file.skipped[:_NAMED]:
        print(f"{arguments.detections}:{line}: skipped: {complaint}", file=sys.stderr)
    tracker = FileTracker(arguments.fps, (int(size[1]), int(size[2])), arguments.settle)
    tracks: set[int] = set()
    count = 0
    try:
        with arguments.out.open("w", encoding="utf-8") as out:
            bar = tqdm(file.per_frame(), total=file.frames, unit="frame", disable=None)
            for frame, rows in _tracked(tracker, bar):
                out.write(result_lines(frame, rows))
                tracks.update(rows[:, 0].astype(int).tolist())
                count += len(rows)
    except OSError as error:
        raise StorageError(f"{arguments.out} cannot be written: {error.strerror or error}") from None
    print(
        f"{arguments.out}: {file.frames} frames, {len(tracks)} tracks, {count} rows; "
        f"{len(file.skipped)} lines of {arguments.detections} skipped"
    )
    return 0


def _tracked(tracker: FileTracker, frames: Iterable[Detections]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    for found in frames:
        yield from tracker.add(found)
    yield from tracker.finish()
