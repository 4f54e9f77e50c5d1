"""`tracking-system last-seen`: where people were, and where last."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.store.history import History, Place, crossings, title
from services.store.summary import summary_table
from shared.errors import TrackingError
from shared.text import printable
from tracking_system.commands.arguments import DEFAULT_DATA
from tracking_system.remembered import remembered
from tracking_system.table import utc_text

_EPILOG = """\
Works while a run is going on, and afterwards. Times are UTC.

examples:
  tracking-system last-seen out        everybody
  tracking-system last-seen out 7      person 7
"""

_PEOPLE_SHOWN = 1000
"""Of more people the table has those who were seen last: it is for reading."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `last-seen`."""
    parser.epilog = _EPILOG
    add_folder_and_identity(parser, "the person's number (default: everybody)")


def add_folder_and_identity(parser: argparse.ArgumentParser, identity: str) -> None:
    """A data folder and a person, in any order."""
    parser.add_argument(
        "what",
        metavar="[DIR] [IDENTITY]",
        nargs="*",
        help=f"the data folder (default: ./{DEFAULT_DATA}), and {identity}",
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="the data folder, said otherwise")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or one person's."""
    folder, identity = understood(arguments.what, arguments.data)
    with History(folder) as history:
        if identity is None:
            print(summary_table(history, _PEOPLE_SHOWN))
            people = history.people_count()
            if people > _PEOPLE_SHOWN:
                print(
                    f"only the {_PEOPLE_SHOWN} of {people} people who were seen last, and who is named or "
                    "followed; `tracking-system export --format json` writes everybody"
                )
            return 0
        place = history.last_seen(identity)
        if place is None:
            raise TrackingError(f"person {identity} was never seen: `last-seen {folder}` lists everybody")
        x, y = place.box.foot
        who = f"person {identity}" + (f" ({place.name})" if place.name else "")
        where = f"{place.camera_name} at {utc_text(place.t_ns)}, at ({x:.0f}, {y:.0f})"
        print(printable(f"{who} was last seen in {where}"))
        print(printable(_knowledge(history, place)))
        for each in crossings(history.sightings(identity)):
            print(printable(f"  {each.camera_name}: {utc_text(each.first_ns)} to {utc_text(each.last_ns)}"))
    return 0


def _knowledge(history: History, place: Place) -> str:
    """How stale and how sure that is, and where the person may appear next."""
    newest_ns = history.newest_ns()
    assert newest_ns is not None  # whoever has a place was seen in a frame
    identity = place.identity
    known = history.checkpoint(identity) is not None
    seen = remembered(history, identity).last_seen(identity) if known else None
    text = f"  {(newest_ns - place.t_ns) / 1e9:.1f} s before the newest frame"
    if seen is None:
        return text
    cameras = history.cameras()
    expected = [
        f"{title(each.camera, cameras[each.camera].name if each.camera in cameras else '')} "
        f"({each.probability:.0%}, after {each.after_s:.0f} s)"
        for each in seen.expected
    ]
    return (
        text + f", {seen.sureness:.0%} sure" + (f"; next probably {', '.join(expected)}" if expected else "")
    )


def understood(words: list[str], data: Path | None) -> tuple[Path, int | None]:
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
