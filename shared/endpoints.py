"""The addresses of the hubs; everyone else connects to them.

On one machine they are `ipc://` files in one folder; across machines `tcp://` ports on the detector's,
tracker's and store's hosts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from shared.errors import ConfigError, LinkError
from shared.limits import MAX_IPC_PATH_BYTES
from shared.text import is_utf8

TCP_PORTS = {
    "frames": 5550,
    "view_in": 5551,
    "view_out": 5552,
    "people": 5560,
    "live": 5561,
    "control": 5562,
    "tracks": 5570,
    "history": 5571,
}

MAX_LOCAL_PATH_BYTES = 100
"""Longest path of a socket in the data folder; the bytes up to `MAX_IPC_PATH_BYTES` stay free."""


_ROOT = 0
_WHERE = "the folder {} for the sockets of {}"
_REMEDY = "remove it, set TMPDIR to a folder of your own, or choose a data folder with a shorter path"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """One address a hub.

    frames, view_in, view_out are bound by the detector; people, live, control by the tracker; tracks,
    history by the store.
    """

    frames: str
    view_in: str
    view_out: str
    people: str
    live: str
    control: str
    tracks: str
    history: str

    @classmethod
    def local(cls, data: Path) -> Endpoints:
        """Addresses for services that all run on this machine on the data folder `data`.

        The folder of the sockets depends on `data` alone, so that any command finds a running system.  Where
        its path would be too long it is one of the data folder's owner in the folder for temporary files,
        where everybody may make folders: raises LinkError where somebody else has made it.
        """
        folder = data.resolve() / "run"
        path = os.fsencode(folder)
        if len(path) + 12 > MAX_LOCAL_PATH_BYTES or not is_utf8(str(folder)):
            folder = _temporary_folder(data, path)
        return cls(**{each.name: f"ipc://{folder}/{each.name}" for each in fields(cls)})

    @classmethod
    def network(cls, detector: str, tracker: str, store: str) -> Endpoints:
        """Addresses for services on other machines, by host name; the ports are `TCP_PORTS`."""
        hosts = dict.fromkeys(("frames", "view_in", "view_out"), detector)
        hosts |= dict.fromkeys(("people", "live", "control"), tracker)
        hosts |= dict.fromkeys(("tracks", "history"), store)
        return cls(**{name: f"tcp://{host}:{TCP_PORTS[name]}" for name, host in hosts.items()})

    def with_addresses(self, addresses: dict[str, str]) -> Endpoints:
        """The same with some addresses replaced.

        Raises ConfigError for a name that is none of them, and for what cannot be an address.
        """
        known = {each.name for each in fields(self)}
        for name, address in addresses.items():
            if name not in known:
                raise ConfigError(f"unknown endpoint {name!r}: known are {', '.join(sorted(known))}")
            if not address.startswith(("tcp://", "ipc://")):
                raise ConfigError(f"endpoint {name} must begin with tcp:// or ipc://, not {address!r}")
            length = len(os.fsencode(address.removeprefix("ipc://")))
            if address.startswith("ipc://") and length > MAX_IPC_PATH_BYTES:
                raise ConfigError(
                    f"endpoint {name}: the path of a socket has at most {MAX_IPC_PATH_BYTES} bytes, this one "
                    f"has {length}: choose a shorter one"
                )
        return Endpoints(**{name: addresses.get(name, getattr(self, name)) for name in sorted(known)})

    def prepare(self) -> None:
        """Make the folders that `ipc://` addresses lie in, closed to other users.

        Raises LinkError where one cannot be made.
        """
        addresses = (getattr(self, each.name) for each in fields(self))
        paths = (Path(each.removeprefix("ipc://")) for each in addresses if each.startswith("ipc://"))
        for folder in {path.parent for path in paths}:
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise LinkError(
                    f"the folder {folder} of the sockets cannot be made: {error.strerror}",
                    permanent=error.errno != errno.ENOSPC,
                ) from None


def _temporary_folder(data: Path, path: bytes) -> Path:
    """The folder of the sockets of a data folder whose path is too long; its parent is made here.

    Its name can be foreseen, as any command has to find it; so it must not be somebody else's.  Raises
    LinkError.
    """
    owner = data.stat().st_uid if data.exists() else os.geteuid()
    users = Path(tempfile.gettempdir()) / f"tracking-system-{owner}"
    try:
        users.mkdir(mode=0o700, exist_ok=True)
        found = users.lstat()
    except OSError as error:
        raise LinkError(f"{_WHERE.format(users, data)} cannot be made: {error.strerror}; {_REMEDY}") from None
    if not stat.S_ISDIR(found.st_mode):
        problem = "is no folder"
    elif found.st_uid not in (owner, os.geteuid(), _ROOT):
        problem = f"belongs to another user (number {found.st_uid})"
    elif found.st_mode & 0o077:
        problem = f"is open to other users (mode {stat.S_IMODE(found.st_mode):04o}, not 0700)"
    else:
        return users / hashlib.sha256(path).hexdigest()[:16]
    raise LinkError(f"{_WHERE.format(users, data)} {problem}; {_REMEDY}", permanent=True)
