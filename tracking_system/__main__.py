"""The command `tracking-system`."""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from shared.errors import TrackingError
from tracking_system.version import __version__

# Before numpy is loaded: its matrices here are small, and threads that wait for work burn more time than
# they save.  The networks have threads of their own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

log = logging.getLogger(__name__)

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_LONGEST_SHOWN = 300
"""Letters of a path in an error."""

COMMANDS = {
    # name: (module in tracking_system.commands, what it does)
    "run": ("run", "start all services on this machine for the cameras of a file"),
    "demo": ("demo", "the whole system on a sample video, with weights and video fetched"),
    "last-seen": ("last_seen", "where people were last seen"),
    "explain": ("explain", "why tracks were taken for one person's"),
    "follow": ("decide", "highlight a person in every viewer of a running system"),
    "unfollow": ("decide", "stop following a person"),
    "name": ("decide", "give a person a name"),
    "merge": ("decide", "say that two numbers are one person"),
    "split": ("decide", "say that some of a person's tracks are somebody else's"),
    "forget": ("decide", "erase a person, everywhere"),
    "replay": ("replay", "watch a stored run again, or make a video of it"),
    "export": ("export", "write a run as MOTChallenge, CSV or JSON files"),
    "track": ("track", "track a MOTChallenge file of detections, without pictures"),
    "stats": ("stats", "cameras, people and processes of a run"),
    "models": ("models", "list or fetch the networks' weights"),
    "ingest": ("service", "service: one camera in, JPEG frames out"),
    "detector": ("service", "service: frames in, people out"),
    "tracker": ("service", "service: people in, tracks and identities out"),
    "store": ("service", "service: keeps everything in one SQLite database"),
    "viewer": ("service", "service: a window, or a video file, to watch"),
}

_DESCRIPTION = """\
Follow people across many cameras: video in, stable identities, history and a clickable live view out.
"""

_EPILOG = """\
examples:
  tracking-system demo                                    see it work, without a camera
  tracking-system run cameras.yaml                        watch; s, then a click, follows a person
  tracking-system run cameras.yaml --headless --data out  process recordings on a server
  tracking-system last-seen out                           who was where, and when last
  tracking-system export out --format csv --out tables

a configuration, cameras.yaml:
  cameras:
    1: {source: entrance.mp4, name: Entrance}
    2: {source: "rtsp://user:password@10.0.0.7/stream"}

`tracking-system COMMAND --help` tells more of each.
Exit codes: 0 fine, 1 something failed on the way, 2 wrong use or configuration, 3 (ingest) the source
cannot be read, 130 interrupted: a recording was cut short. Ctrl-C ends a run of live cameras with 0.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    A TrackingError becomes one line on stderr.  What nobody expected is logged with its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse_args(words)
    if arguments.command is None:
        _parser(words).print_help()
        return WRONG_USE
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except TrackingError as error:
        # To the log as well where a command has one; a console line either way.
        print(f"tracking-system {arguments.command}: {error}", file=sys.stderr)
        log.debug("%s", error, exc_info=error)
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        path = str(error.filename or "")
        shown = path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}..."
        print(f"tracking-system {arguments.command}: {shown}: {error.strerror}", file=sys.stderr)
        return WRONG_USE


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the chosen command's module is loaded, so that a service starts with its own alone."""
    parser = argparse.ArgumentParser(
        prog="tracking-system",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, (module_name, about) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            module = importlib.import_module(f"tracking_system.commands.{module_name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
