"""`tracking-system export`: a run as files for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.store.export import FORMATS, export
from tracking_system.commands.arguments import add_folder

_EPILOG = """\
formats:
  mot   MOTChallenge text, one file a camera: frame, identity, x, y, width, height, score, -1, -1, -1
  csv   one row an observation
  json  people and their sightings

example:
  tracking-system export out --format mot --out results
  tracking-system export out --format mot --online --out live
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    parser.epilog = _EPILOG
    add_folder(parser)
    parser.add_argument("--format", choices=sorted(FORMATS), required=True, dest="file_format")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="the folder to write to; made if needed"
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="mot, csv: boxes and identities as they were shown live, without later corrections",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files and name them."""
    exported = export(arguments.folder, arguments.file_format, arguments.out, online=arguments.online)
    for file in exported.files:
        print(file)
    if exported.left_out:
        print(f"{exported.left_out} rows left out: their person was in the frame twice")
    return 0
