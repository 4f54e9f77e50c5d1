"""`tracking-system replay`: a stored run on the viewer, as if it were live."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import zmq
from tqdm import tqdm

from services.store.history import History
from services.viewer.pairing import Shown
from services.viewer.recorder import Recorder
from services.viewer.service import run as run_viewer
from shared import logs
from shared.config import Config
from shared.endpoints import Endpoints
from shared.errors import ConfigError
from shared.feed import EVERYONE, FeedPublisher
from shared.messages import End, FrameStamp
from tracking_system.commands.arguments import add_folder
from tracking_system.stored_run import StoredRun

_EPILOG = """\
Shows who is who as it is known now. Pictures of recordings are read again from their files; cameras that
were live are shown without.

examples:
  tracking-system replay out
  tracking-system replay out --speed 4
  tracking-system replay out --record mosaic.mp4      without a window, as fast as it goes
"""

_FOLLOWED_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `replay`."""
    parser.epilog = _EPILOG
    add_folder(parser)
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="write an MP4 instead of showing a window"
    )
    parser.add_argument(
        "--speed", metavar="X", type=float, default=1.0, help="times the speed of life, in the window"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the run, or record it."""
    if not 0 < arguments.speed <= 1000:
        raise ConfigError(f"--speed must be above 0 and at most 1000, not {arguments.speed:g}")
    logs.configure("replay", level="warning")
    with History(arguments.folder) as history:
        stored = StoredRun(history, Config())
        try:
            if arguments.record is not None:
                _record(stored, history, arguments.record)
                return 0
            return _show(stored, arguments.speed)
        finally:
            stored.close()


def _record(stored: StoredRun, history: History, path: Path) -> None:
    recorder = Recorder(path, {number: camera.title for number, camera in stored.cameras.items()})
    recorder.follow(stored.followed())
    ((frames,),) = history.select("SELECT coalesce(sum(frames), 0) FROM sessions")
    try:
        for frame, tracks in tqdm(stored, total=frames, unit="frame", disable=None):
            recorder.add([Shown(frame, tracks)])
            while recorder.write(most=1):
                pass
    finally:
        recorder.close()
    print(f"{path}: {recorder.frames} pictures")


def _show(stored: StoredRun, speed: float) -> int:
    """The viewer in this thread, which a window needs, and its feeds from another."""
    with tempfile.TemporaryDirectory(prefix="tracking-system-") as folder, zmq.Context() as context:
        endpoints = Endpoints.local(Path(folder))
        endpoints.prepare()
        stop = threading.Event()
        player = threading.Thread(
            target=_play, args=(stored, speed, endpoints, context, stop), name="player", daemon=True
        )
        player.start()
        try:
            return run_viewer(stored.cameras, Config(), endpoints, stop)
        finally:
            stop.set()
            player.join()


def _play(
    stored: StoredRun,
    speed: float,
    endpoints: Endpoints,
    context: zmq.Context[zmq.Socket[bytes]],
    stop: threading.Event,
) -> None:
    frames = FeedPublisher(context, endpoints.view_out, bind=True)
    live = FeedPublisher(context, endpoints.live, bind=True)
    try:
        while not all(frames.watched(c) and live.watched(c) for c in stored.cameras):
            if stop.wait(0.02):
                return
        origin_ns, began_s, told_s = None, time.monotonic(), 0.0
        for frame, tracks in stored:
            origin_ns = frame.stamp.t_ns if origin_ns is None else origin_ns
            due_s = began_s + (frame.stamp.t_ns - origin_ns) / 1e9 / speed
            if stop.wait(max(0.0, due_s - time.monotonic())):
                return
            if time.monotonic() - told_s > _FOLLOWED_EVERY_S:
                live.publish(EVERYONE, stored.followed())
                told_s = time.monotonic()
            frames.publish(frame.stamp.camera, frame)
            live.publish(frame.stamp.camera, tracks)
        for camera in stored.cameras:
            live.publish(camera, End(FrameStamp(camera, 0, 0, time.time_ns(), 0, 0), "finished"))
        print("the replay is over; q closes the window", flush=True)
    finally:
        frames.close()
        live.close()
