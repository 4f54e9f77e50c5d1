"""`tracking-system follow | unfollow | name | merge | split | forget`: decisions about people.

They are told to the running tracker, act at once, are kept over restarts, and outrank what the tracker
would decide.
"""

from __future__ import annotations

import argparse

import zmq

from shared.request import Requester
from shared.text import printable
from tracking_system.commands.arguments import add_data, add_hosts, endpoints

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
        "The system must be running. `tracking-system last-seen` lists people, `tracking-system explain` a\n"
        f"person's tracks.\n\nexample:\n  {_EXAMPLES[command]}"
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
    """Tell the tracker."""
    fields: dict[str, object] = {"identity": arguments.identity}
    for name in ("name", "other", "tracks"):
        if hasattr(arguments, name):
            fields[name] = getattr(arguments, name)
    with zmq.Context() as context:
        requester = Requester(context, endpoints(arguments, arguments.data).control)
        try:
            reply = requester.ask(arguments.command, fields)
        finally:
            requester.close()
    print(printable(_told(arguments, int(reply["identity"]))))
    return 0


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
