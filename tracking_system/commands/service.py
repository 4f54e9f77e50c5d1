"""`tracking-system ingest | detector | tracker | store | viewer`: one service in this process."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import threading
from pathlib import Path
from typing import Any

from shared import logs
from shared.config_file import Setup, is_recorded
from shared.endpoints import Endpoints
from shared.errors import ConfigError, TrackingError
from tracking_system.commands.arguments import add_data, add_hosts, add_settings, endpoints, setup_of
from tracking_system.parent import die_with_parent

log = logging.getLogger(__name__)

START_AGAIN, GIVE_UP = 1, 2
"""Exit codes of a service that failed."""

_EXAMPLES = {
    "ingest": "--camera 2 --detector-host gpu",
    "detector": "--detector-host 0.0.0.0 --tracker-host hub",
    "tracker": "--tracker-host 0.0.0.0 --store-host hub",
    "store": "--store-host 0.0.0.0 --data /var/lib/tracking",
    "viewer": "--detector-host gpu --tracker-host hub --store-host hub",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a service; which one, the parser's name tells."""
    service = parser.prog.split()[-1]
    parser.epilog = (
        f"example:\n  {parser.prog} --config cameras.yaml {_EXAMPLES[service]}\n\n"
        "SIGTERM or Ctrl-C ends it cleanly."
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the YAML file with the cameras"
    )
    if service == "ingest":
        parser.add_argument(
            "--camera", metavar="ID", type=int, required=True, help="the camera's id in the file"
        )
    if service == "viewer":
        parser.add_argument("--record", metavar="FILE", type=Path, help="write what is shown to an MP4")
        parser.add_argument("--headless", action="store_true", help="no window; only with --record")
    add_data(parser)
    add_hosts(parser)
    add_settings(parser)
    # How `tracking-system run` starts its children.
    parser.add_argument("--supervised-by", metavar="PID", type=int, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run the service until it is done or asked to end; the exit code.

    An error that may pass ends it with `START_AGAIN`, for a supervisor to start it again; a permanent one
    with `GIVE_UP`, which says that this would be of no use.
    """
    if arguments.supervised_by is not None:
        die_with_parent(arguments.supervised_by)
    setup = setup_of(arguments, arguments.config)
    camera = arguments.camera if arguments.command == "ingest" else None
    if camera is not None and camera not in setup.cameras:
        known = ", ".join(map(str, setup.cameras))
        raise ConfigError(f"{arguments.config}: there is no camera {camera}; known are {known}")
    try:
        return _serve(arguments, setup, camera)
    except TrackingError as error:
        log.error("%s", error)
        return GIVE_UP if error.permanent else START_AGAIN
    except Exception:
        log.exception("%s stopped unexpectedly", arguments.command)
        return START_AGAIN
    finally:
        logging.shutdown()


def _serve(arguments: argparse.Namespace, setup: Setup, camera: int | None) -> int:
    logs.configure(
        arguments.command,
        arguments.data,
        setup.config.log_level,
        camera,
        console_level="warning" if arguments.supervised_by is not None else None,
    )
    addresses = endpoints(arguments, arguments.data, setup)
    addresses.prepare()
    return _call(arguments, setup, addresses, _stop_on_signals())


def _call(arguments: argparse.Namespace, setup: Setup, addresses: Endpoints, stop: threading.Event) -> int:
    """Hand over to the service's own shell, the only one that is imported."""
    shell: Any = importlib.import_module(f"services.{arguments.command}.service")
    cameras, config = setup.cameras, setup.config
    if arguments.command == "ingest":
        camera = cameras[arguments.camera]
        recording: Any = importlib.import_module("services.ingest.recording")
        start_ns = recording.start_of(camera, cameras, arguments.data) if is_recorded(camera) else 0
        return int(shell.run(camera, config, addresses, stop, start_ns=start_ns))
    if arguments.command == "store":
        supervised = arguments.supervised_by is not None
        return int(shell.run(cameras, arguments.data, config, addresses, stop, supervised=supervised))
    if arguments.command == "viewer":
        record, window = arguments.record, not arguments.headless
        if record is None and not window:
            raise ConfigError("a viewer without a window needs --record FILE")
        return int(shell.run(cameras, config, addresses, stop, record=record, window=window))
    return int(shell.run(cameras, config, addresses, stop))


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop
