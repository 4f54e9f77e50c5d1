"""`tracking-system demo`: the whole system on a sample video."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from services.store.connection import DATABASE_NAME
from services.store.history import History
from services.store.summary import summary_table
from shared import logs
from shared.config import CameraConfig
from shared.config_file import Setup, dump
from shared.errors import StorageError
from shared.folder_lock import FolderLock
from tracking_system.commands.arguments import add_settings, settings_of
from tracking_system.commands.run import run_setup
from tracking_system.demo.sample_video import sample_video
from tracking_system.demo.scene import PLAZA, cut

log = logging.getLogger(__name__)

_EPILOG = """\
Fetches the networks and the video once, cuts the video into three cameras that look at one plaza, and runs
the five services on them as separate processes. It leaves in the folder: mosaic.mp4 (what an operator would
have seen), tracking.db (everything), people.txt (who was where) and cameras.yaml (to run it again).

example:
  tracking-system demo --out demo-output
"""

_NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
"""When the recordings begin: any fixed time, so that two demonstrations tell the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `demo`."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("demo-output"),
        help="where the results go (default: ./demo-output)",
    )
    parser.add_argument("--video", metavar="FILE", type=Path, help="the sample video, or the folder it is in")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fetch, cut, run, tell."""
    began_s = time.monotonic()
    config = settings_of(arguments)
    out = arguments.out
    _clear(out)
    logs.configure("demo", out, config.log_level)
    paths = cut(sample_video(arguments.video), out)
    setup = Setup(_cameras(paths), config)
    # Sources beside the file are named as such, so that the folder can be moved.
    beside = {
        number: replace(camera, source=Path(camera.source).name) for number, camera in setup.cameras.items()
    }
    (out / "cameras.yaml").write_text(dump(Setup(beside, config), absolute=False), encoding="utf-8")
    mosaic = out / "mosaic.mp4"
    code = run_setup(setup, out, window=False, record=mosaic)
    with History(out) as history:
        table = summary_table(history)
    (out / "people.txt").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}\n")
    for path, about in (
        (mosaic, "what an operator would have seen"),
        (out / DATABASE_NAME, f"everything: tracking-system last-seen {out}, stats, replay, export"),
        (out / "people.txt", "the table above"),
    ):
        print(f"{path}: {about}")
    print(f"took {time.monotonic() - began_s:.0f} s")
    return code


def _cameras(paths: Sequence[Path]) -> dict[int, CameraConfig]:
    start_ns = int(_NOON.timestamp()) * 10**9
    return {
        number: CameraConfig(number, str(path.absolute()), window.name, start_ns=start_ns)
        for number, (path, window) in enumerate(zip(paths, PLAZA, strict=True), 1)
    }


def _clear(out: Path) -> None:
    """Remove what an earlier demonstration found out, so that this one does the work again."""
    with FolderLock(out, "tracking-system demo"):
        try:
            for path in [*out.glob(f"{DATABASE_NAME}*"), out / "mosaic.mp4", out / "people.txt"]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{out} cannot be cleared: {error.strerror}") from None
