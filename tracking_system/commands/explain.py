"""`tracking-system explain`: why tracks were taken for one person's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from services.store.history import History, title
from services.tracker.person import Stay
from services.tracker.reason import Candidate
from shared.errors import TrackingError
from shared.text import printable
from tracking_system.commands.arguments import DEFAULT_DATA
from tracking_system.commands.last_seen import add_folder_and_identity, understood
from tracking_system.remembered import remembered
from tracking_system.table import utc_text

_EPILOG = f"""\
For each of a person's latest tracks: which earlier one it continues, how strong the evidence is, what it
is made of, and what was second best. Evidence is given as natural logarithms of likelihood ratios: above 0
speaks for the same person, 3 is twenty to one. Works while a run is going on (then it is up to two seconds
old), and afterwards.

terms:
  appearance, face, clothing   how alike they look
  time                         how usual the time between the two is
  place, movement, size        where they were, how they walked and how large they were
  elsewhere                    that somebody may have been anywhere in between
  decided before               what was decided is kept where evidence is equal

examples:
  tracking-system explain out 7
  tracking-system explain 7              in the folder ./{DEFAULT_DATA}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `explain`."""
    parser.epilog = _EPILOG
    add_folder_and_identity(parser, "the person's number")


def run(arguments: argparse.Namespace) -> int:
    """Print the person's tracks with their reasons."""
    folder, identity = understood(arguments.what, arguments.data)
    if identity is None:
        raise TrackingError(f"which person? `tracking-system last-seen {folder}` lists everybody")
    with History(folder) as history:
        cameras = {camera: title(camera, each.name) for camera, each in history.cameras().items()}
        core = remembered(history, identity)
    stays = core.explain(identity)
    print(f"person {identity}, {len(stays)} track{'s' * (len(stays) != 1)}")
    for stay in stays:
        print("\n".join(map(printable, _lines(stay, cameras))))
    return 0


def _lines(stay: Stay, cameras: Mapping[int, str]) -> list[str]:
    where = cameras.get(stay.camera, f"camera {stay.camera}")
    lines = [f"track {stay.track}, {where}, {utc_text(stay.first_ns)} to {utc_text(stay.last_ns)}"]
    reason = stay.reason
    if reason is None:
        return [*lines, "  not decided yet"]
    if reason.operator:
        lines.append("  an operator has said so")
    if reason.continues is None:
        lines.append("  begins this person")
    else:
        lines.append(f"  continues {_candidate(reason.continues, cameras)}")
    if reason.second is not None:
        lines.append(f"  second best {_candidate(reason.second, cameras)}")
    lines.append(f"  a link needs {reason.threshold:+.1f}; this is right with {reason.sureness:.0%}")
    return lines


def _candidate(candidate: Candidate, cameras: Mapping[int, str]) -> str:
    where = cameras.get(candidate.camera, f"camera {candidate.camera}")
    terms = ", ".join(f"{name} {value:+.1f}" for name, value in candidate.terms.items())
    whose = f"person {candidate.identity}" if candidate.identity else "nobody yet"
    return f"track {candidate.track} ({whose}, {where}): {candidate.ratio:+.1f} = {terms}"
