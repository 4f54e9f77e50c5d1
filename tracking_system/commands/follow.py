"""`tracking-system follow | unfollow | name`: decisions about people, told to the running tracker."""

from __future__ import annotations

import argparse

import zmq

from shared.request import Requester
from tracking_system.commands.arguments import add_data, add_hosts, endpoints

_EXAMPLES = {
    "follow": "tracking-system follow 7 --data out",
    "unfollow": "tracking-system unfollow 7 --data out",
    "name": 'tracking-system name 7 "Ada Lovelace" --data out',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of all three; which one, the parser's name tells."""
    command = parser.prog.split()[-1]
    parser.epilog = (
        "The system must be running. `tracking-system last-seen` lists people.\n\n"
        f"example:\n  {_EXAMPLES[command]}"
    )
    parser.add_argument("identity", metavar="IDENTITY", type=int, help="the person's number")
    if command == "name":
        parser.add_argument("name", metavar="NAME", help="what to call the person from now on")
    add_data(parser)
    add_hosts(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tell the tracker."""
    fields: dict[str, object] = {"identity": arguments.identity}
    if arguments.command == "name":
        fields["name"] = arguments.name
    with zmq.Context() as context:
        requester = Requester(context, endpoints(arguments, arguments.data).control)
        try:
            requester.ask(arguments.command, fields)
        finally:
            requester.close()
    done = {"follow": "is followed", "unfollow": "is no longer followed"}
    print(f"person {arguments.identity} {done.get(arguments.command) or f'is called {arguments.name}'}")
    return 0
