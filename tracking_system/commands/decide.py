"""`tracking-system follow | unfollow | name | merge | split | forget`: decisions about people.

A running tracker is told; where nothing runs on the data folder the database is changed.  A decision acts at
once, is on the disk when the command returns, and outranks what the tracker would decide.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import zmq

from services.store.connection import DATABASE_NAME
from shared.config import Config
from shared.errors import FolderInUseError, LinkError, StorageError
from shared.request import Requester
from tracking_system.commands.arguments import add_data, add_hosts, endpoints
from tracking_system.journal import Journal
from tracking_system.operator_decision import decide

_EXAMPLES = {
    "follow": "tracking-system follow 7 --data out",
    "unfollow": "tracking-system unfollow 7 --data out",
    "name": 'tracking-system name 7 "Ada Lovelace" --data out',
    "merge": "tracking-system merge 7 12 --data out      12 was person 7 all along",
    "split": "tracking-system split 7 31 --data out      track 31 is not person 7 but somebody new",
    "forget": "tracking-system forget 7 --data out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of all of them; which one, the parser's name tells."""
    command = parser.prog.split()[-1]
    parser.epilog = (
        "Works during a run and afterwards. `tracking-system last-seen` lists people, `tracking-system\n"
        f"explain` a person's tracks.\n\nexample:\n  {_EXAMPLES[command]}"
    )
    parser.add_argument("identity", metavar="IDENTITY", type=int, help="the person's number")
    if command == "name":
        parser.add_argument("name", metavar="NAME", help="what to call the person from now on")
    elif command == "merge":
        parser.add_argument("other", metavar="OTHER", type=int, help="the number that is the same person")
    elif command == "split":
        parser.add_argument(
            "tracks", metavar="TRACK", type=int, nargs="+", help="a track that is somebody else's"
        )
    add_data(parser)
    add_hosts(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tell the running tracker; where none runs, decide in the database."""
    fields: dict[str, Any] = {"identity": arguments.identity}
    for name in ("name", "other", "tracks"):
        if hasattr(arguments, name):
            fields[name] = getattr(arguments, name)
    if any((arguments.detector_host, arguments.tracker_host, arguments.store_host)):
        identity = _ask(arguments, fields)
    else:
        identity = _decide_here(arguments, fields)
    print(_told(arguments, identity))
    return 0


def _decide_here(arguments: argparse.Namespace, fields: dict[str, Any]) -> int:
    folder: Path = arguments.data
    if not (folder / DATABASE_NAME).is_file():
        raise StorageError(f"{folder} holds no run: name its data folder with --data DIR", permanent=True)
    try:
        journal = Journal(folder, Config(), f"tracking-system {arguments.command}")
    except FolderInUseError as error:
        return _ask(arguments, fields, holder=str(error))
    try:
        return decide(journal, arguments.command, fields).identity
    finally:
        journal.close()


def _ask(arguments: argparse.Namespace, fields: dict[str, Any], holder: str = "") -> int:
    with zmq.Context() as context:
        requester = Requester(context, endpoints(arguments, arguments.data).control)
        try:
            return int(requester.ask(arguments.command, fields)["identity"])
        except LinkError as error:
            raise LinkError(f"{holder}; {error}" if holder else str(error)) from None
        finally:
            requester.close()


def _told(arguments: argparse.Namespace, identity: int) -> str:
    who = f"person {arguments.identity}"
    if arguments.command == "name":
        return f"{who} is called {arguments.name}"
    if arguments.command == "merge":
        return f"person {arguments.other} is {who} from now on"
    if arguments.command == "split":
        tracks = arguments.tracks
        return (
            f"track{'s' * (len(tracks) > 1)} {', '.join(map(str, tracks))} are person {identity} from now on"
        )
    done = {"follow": "is followed", "unfollow": "is no longer followed", "forget": "is forgotten"}
    return f"{who} {done[arguments.command]}"
