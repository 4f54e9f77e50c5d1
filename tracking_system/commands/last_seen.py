"""`tracking-system last-seen`: where people were, and where last."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.store.history import History, crossings
from services.store.summary import summary_table
from shared.errors import TrackingError
from tracking_system.commands.arguments import DEFAULT_DATA
from tracking_system.table import utc_text

_EPILOG = """\
Works while a run is going on, and afterwards. Times are UTC.

examples:
  tracking-system last-seen out        everybody
  tracking-system last-seen out 7      person 7
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `last-seen`."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "what",
        metavar="[DIR] [IDENTITY]",
        nargs="*",
        help=f"the data folder (default: ./{DEFAULT_DATA}), and the person's number (default: everybody)",
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="the data folder, said otherwise")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or one person's."""
    folder, identity = _understood(arguments.what, arguments.data)
    with History(folder) as history:
        if identity is None:
            print(summary_table(history))
            return 0
        place = history.last_seen(identity)
        if place is None:
            raise TrackingError(f"person {identity} was never seen: `last-seen {folder}` lists everybody")
        x, y = place.box.foot
        who = f"person {identity}" + (f" ({place.name})" if place.name else "")
        print(f"{who} was last seen in {place.camera_name} at {utc_text(place.t_ns)}, at ({x:.0f}, {y:.0f})")
        for each in crossings(history.sightings(identity)):
            print(f"  {each.camera_name}: {utc_text(each.first_ns)} to {utc_text(each.last_ns)}")
    return 0


def _understood(words: list[str], data: Path | None) -> tuple[Path, int | None]:
    """The folder and the identity, whichever were given: the last word that is a number is the identity."""
    rest = list(words)
    # A lone number that names a folder is meant as the folder.
    identity = (
        int(rest.pop())
        if rest and rest[-1].isdecimal() and not (len(rest) == 1 and Path(rest[0]).is_dir())
        else None
    )
    if len(rest) > 1 or (rest and data is not None):
        raise TrackingError(f"one folder and one number are enough, not {' '.join(words)}")
    return (Path(rest[0]) if rest else data or DEFAULT_DATA), identity
