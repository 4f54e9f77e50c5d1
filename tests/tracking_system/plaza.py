"""Short recordings of the plaza, and runs of the real command on them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2

from services.store.history import History
from shared.errors import StorageError

PATIENCE_S = 240.0

SETTINGS = "family: openvino\ndetector: person-detection-0200\nthreads: 1\nreport_every_s: 0.5\n"


def record(video: Path, path: Path, frames: int, columns: slice, fps: float = 10.0) -> Path:
    """Write the first frames of a video, some columns of each, as a video of its own."""
    capture = cv2.VideoCapture(str(video))
    writer = None
    for _ in range(frames):
        decoded, frame = capture.read()
        assert decoded
        picture = frame[:, columns]
        if writer is None:
            size = (picture.shape[1], picture.shape[0])
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        writer.write(picture)
    assert writer is not None
    writer.release()
    capture.release()
    return path


def configured(folder: Path, models: Path, sources: Iterable[Path | str], more: str = "") -> Path:
    """Write a configuration for these sources, in the folder."""
    cameras = "".join(
        f"  {number}: {{source: {source}, start: 2024-05-01T12:00:00}}\n"
        for number, source in enumerate(sources, 1)
    )
    path = folder / "cameras.yaml"
    path.write_text(f"cameras:\n{cameras}models: {models}\n{SETTINGS}{more}")
    return path


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "tracking_system", *map(str, words)]


def tracking_system(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def await_condition(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until a condition holds; fails after a long while."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        time.sleep(0.01)


def frames_on_disk(data: Path) -> dict[int, int]:
    """How many frames of each camera the database holds, each counted once."""
    try:
        with History(data) as history:
            return dict(
                history.select(
                    "SELECT s.camera, count(DISTINCT f.frame_index) FROM sessions s "
                    "JOIN frames f USING (session_key) GROUP BY s.camera"
                )
            )
    except StorageError:
        return {}
