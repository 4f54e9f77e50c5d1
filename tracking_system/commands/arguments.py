"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.config import Config
from shared.config_file import Setup, load, load_settings
from shared.endpoints import Endpoints
from shared.errors import ConfigError

DEFAULT_DATA = Path("tracking-data")
_HOSTS = ("detector", "tracker", "store")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """`--models` and `--set`."""
    parser.add_argument(
        "--models", metavar="DIR", help="a folder with weights, looked into before the cache and the network"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="flags",
        help="a setting, over those of the file and the environment, as in --set confidence=0.4",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data`."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=DEFAULT_DATA,
        help=f"the folder of the database and the log (default: ./{DEFAULT_DATA})",
    )


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The data folder of a run, as an argument."""
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=DEFAULT_DATA,
        help=f"the data folder of the run (default: ./{DEFAULT_DATA})",
    )


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Where the hubs are, when they are on other machines."""
    group = parser.add_argument_group(
        "several machines",
        "Without these all services run on this machine and meet in the data folder.\n"
        "A service listens on its own address, 0.0.0.0 being every interface.",
    )
    for service in _HOSTS:
        group.add_argument(f"--{service}-host", metavar="HOST", help=f"where the {service} runs")


def endpoints(arguments: argparse.Namespace, data: Path, setup: Setup | None = None) -> Endpoints:
    """The hubs' addresses: by the hosts' names where one is given, else in the data folder.

    A host that is not named is the one that is.  The file's own `endpoints:` win.
    """
    hosts = {service: getattr(arguments, f"{service}_host", None) for service in _HOSTS}
    given = next((host for host in hosts.values() if host), None)
    if given is None:
        found = Endpoints.local(data)
    else:
        found = Endpoints.network(**{service: host or given for service, host in hosts.items()})
    return found.with_addresses(setup.addresses) if setup is not None else found


def setup_of(arguments: argparse.Namespace, path: Path) -> Setup:
    """The cameras and settings of a file, with the command line's over them.  Raises ConfigError."""
    return load(path, flags=_flags(arguments))


def settings_of(arguments: argparse.Namespace) -> Config:
    """The settings of a command that reads no file.  Raises ConfigError."""
    return load_settings(flags=_flags(arguments))


def _flags(arguments: argparse.Namespace) -> list[str]:
    flags = list(arguments.flags)
    if arguments.models is not None:
        if not Path(arguments.models).is_dir():
            raise ConfigError(f"--models {arguments.models}: there is no such folder")
        flags.append(f"models={Path(arguments.models).absolute()}")
    return flags
