"""`tracking-system` at a simulated site, for `benchmarks.crashes` to kill.

    python -m benchmarks.crash_service COMMAND ...      as `tracking-system COMMAND ...`

The environment variable `CRASH_SITE` contains "recorded" or "live", the world's seed, and its origin in UTC
nanoseconds.  With recorded cameras only the two networks are replaced: they read the people off the painted
pictures.  With live cameras the detector sends the people who would be in view now, and the ingests do
nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from unittest import mock

import zmq

from benchmarks.crash_world import FPS, HEIGHT, WIDTH, World
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.link_sender import LinkSender
from shared.messages import End, FrameStamp
from shared.progress_signal import ProgressSignal
from tracking_system.__main__ import main as tracking_system

VARIABLE = "CRASH_SITE"
COMMAND = (sys.executable, "-m", "benchmarks.crash_service")

_GOODBYE_S = 10.0


class LiveDetector:
    """Sends who is in view of the live cameras now, in the detector's place."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(
        self,
        cameras: Mapping[int, CameraConfig],
        _: Config,
        endpoints: Endpoints,
        stop: threading.Event,
    ) -> int:
        """Send until `stop` is set, then the ends of the streams, and wait until they are answered."""
        with zmq.Context() as context:
            link = LinkSender(context, endpoints.people, name="the tracker")
            try:
                self._send(link, list(cameras), stop)
            finally:
                link.close()
        return 0

    def _send(self, link: LinkSender, cameras: list[int], stop: threading.Event) -> None:
        session, index, progress = time.time_ns(), 0, ProgressSignal()
        for camera in cameras:
            link.open(camera, session, live=True)
        stamps: list[FrameStamp] = []
        while not stop.wait(1 / FPS):
            stamps = [FrameStamp(each, session, index, time.time_ns(), WIDTH, HEIGHT) for each in cameras]
            for stamp in stamps:
                link.send(stamp.camera, self._world.people(stamp))
            index += 1
            link.poll()
            if link.acknowledged:
                progress.give()
        for stamp in stamps:
            link.send(stamp.camera, End(stamp, "stopped", frames=index))
        until_s = time.monotonic() + _GOODBYE_S
        while time.monotonic() < until_s and any(map(link.unacknowledged, cameras)):
            link.poll()
            time.sleep(0.01)


def wait(_: CameraConfig, __: Config, ___: Endpoints, stop: threading.Event, **____: object) -> int:
    """In the place of a live camera's ingest: do nothing until `stop` is set."""
    stop.wait()
    return 0


def replace_parts(command: str, kind: str, world: World) -> None:
    """Put what the site has in the place of cameras and networks.

    Only modules that the command needs are loaded: a service has to start as fast as it does otherwise.
    """
    if command == "run":
        mock.patch("tracking_system.local_run.python_command", lambda: COMMAND).start()
    elif command == "models" or (command == "detector" and kind == "recorded"):
        networks = importlib.import_module("benchmarks.crash_networks")
        mock.patch("services.detector.families.build", networks.painted_networks).start()
    elif command == "detector":
        mock.patch("services.detector.service.run", LiveDetector(world).run).start()
    elif command == "ingest" and kind == "live":
        mock.patch("services.ingest.service.run", wait).start()


def main() -> int:
    """Run a command at the site that the environment names; the exit code."""
    kind, seed, origin_ns = os.environ[VARIABLE].split()
    replace_parts(sys.argv[1], kind, World(int(seed), int(origin_ns)))
    return tracking_system()


if __name__ == "__main__":
    sys.exit(main())
