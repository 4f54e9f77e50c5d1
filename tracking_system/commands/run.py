"""`tracking-system run`: all services of a run on this machine."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2

from services.ingest.recording import recorded_session
from services.ingest.source import check_delivery, kind_of, local_path
from services.store.history import History
from services.store.statistics import statistics
from shared import logs
from shared.config_file import Setup, is_recorded
from shared.errors import ConfigError, SourceError, TrackingError
from shared.folder_lock import FolderLock
from tracking_system.commands.arguments import add_data, add_settings, setup_of
from tracking_system.continuation import continue_folder
from tracking_system.local_run import (
    FINISHED,
    INTERRUPTED,
    LocalRun,
    child_environment,
    python_command,
    write_snapshot,
)
from tracking_system.missing_frames import missing_text
from tracking_system.progress import Progress

log = logging.getLogger(__name__)

_EPILOG = """\
Recordings: the run ends when every frame of every camera is in the database; the same command again goes
on where an interrupted one stopped, and says so where nothing is left.
Live cameras: the run ends with Ctrl-C, and exits with 0.
A second Ctrl-C ends the run at once.

examples:
  tracking-system run cameras.yaml
  tracking-system run cameras.yaml --headless --data out --set confidence=0.4
  tracking-system run cameras.yaml --headless --record mosaic.mp4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `run`."""
    parser.epilog = _EPILOG
    parser.add_argument("config", metavar="FILE", type=Path, help="the YAML file with the cameras")
    parser.add_argument("--headless", action="store_true", help="without a window")
    parser.add_argument("--record", metavar="FILE", type=Path, help="write the annotated mosaic to an MP4")
    add_data(parser)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check everything, run, and tell how it went."""
    setup = setup_of(arguments, arguments.config)
    return run_setup(setup, arguments.data, window=not arguments.headless, record=arguments.record)


def run_setup(setup: Setup, data: Path, *, window: bool, record: Path | None) -> int:
    """Run a configuration on the data folder; the exit code."""
    totals = check_sources(setup)
    _check_display(window=window)
    _check_record(record)
    with FolderLock(data, "tracking-system run", "supervisor"):
        logs.configure("run", data, setup.config.log_level)
        if not continue_folder(setup, data):
            log.info("nothing was left to do: every frame of every camera is in %s already", data)
            _tell_numbers(data)
            log.info("to see it: tracking-system replay %s; to do it again, choose another --data", data)
            return FINISHED
        snapshot = write_snapshot(setup, data)
        # What was chosen is named, so that no service looks again for what is not to be had.
        detector, embedder = _checked_models(snapshot)
        setup = replace(setup, config=replace(setup.config, detector=detector, embedder=embedder))
        snapshot = write_snapshot(setup, data)
        local_run = LocalRun(setup, snapshot, data, window=window, record=record)
        sessions = {number: recorded_session(setup.cameras[number]) for number in totals}
        with Progress(data, totals, sessions) as progress:
            code = local_run.run(progress)
        _tell(local_run, data, code)
    return code


def check_sources(setup: Setup) -> dict[int, int]:
    """Raise for every source that cannot be used, all in one text; frames of each recorded camera."""
    problems = []
    totals = {}
    for number, camera in setup.cameras.items():
        try:
            kind = kind_of(camera)
            check_delivery(camera, kind)
            if kind == "file" and is_recorded(camera):
                totals[number] = _frames_of(local_path(camera.source))
        except SourceError as error:
            problems.append(f"camera {number}: {error}")
    if problems:
        raise SourceError("; ".join(problems))
    return totals


def _frames_of(path: Path) -> int:
    """How many frames a video file says it has; raises SourceError where it is no video."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SourceError(f"{path} cannot be read as a video: is it complete, and a format FFmpeg knows?")
        return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()


def _check_display(*, window: bool) -> None:
    if (
        window
        and sys.platform == "linux"
        and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    ):
        raise ConfigError(
            "there is no display for the viewer's window: use --headless, with --record FILE to see something"
        )


def _check_record(record: Path | None) -> None:
    if record is not None and not record.absolute().parent.is_dir():
        raise ConfigError(f"--record {record}: there is no folder {record.absolute().parent}")


def _checked_models(snapshot: Path) -> tuple[str, str]:
    """Have the networks on this machine, and loadable, before anything starts; the detector and embedder."""
    log.info("checking the networks")
    command = (*python_command(), "models", "check", "--config", str(snapshot))
    done = subprocess.run(command, env=child_environment(), check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise TrackingError("the networks cannot be used, see above")
    named = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    return named["detector"], named["embedder"]


def _tell(local_run: LocalRun, data: Path, code: int) -> None:
    """How the run ended, on the console and in the log."""
    for name, reason in local_run.failed.items():
        log.error("%s failed: %s", name, reason)
    if not _tell_numbers(data):
        return
    if code == INTERRUPTED:
        log.info("the same command goes on where this run stopped")
    else:
        log.info("who was where: tracking-system last-seen %s", data)


def _tell_numbers(data: Path) -> bool:
    """What is in the database; False where it cannot be read."""
    try:
        with History(data) as history:
            numbers = statistics(history)
    except TrackingError as error:
        log.warning("%s", error)
        return False
    for camera in numbers.cameras:
        notes = [camera.ended or "not at its end"]
        if missing := missing_text(camera):
            notes.append(missing)
        if camera.detail:
            notes.append(camera.detail)
        log.info("%s: %d frames, %d people, %s", camera.name, camera.frames, camera.people, ", ".join(notes))
    log.info("%d people in %d frames; everything is in %s", numbers.people, numbers.frames, data)
    return True
