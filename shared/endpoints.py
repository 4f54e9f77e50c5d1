"""The addresses of the hubs; everyone else connects to them.

On one machine they are `ipc://` files in one folder; across machines `tcp://` ports on the detector's,
tracker's and store's hosts.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from shared.errors import ConfigError

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

_LONGEST_IPC_PATH = 100
"""Unix allows 107 bytes for a socket's path; some stay free for ZeroMQ's own use."""


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

        The folder of the sockets depends on `data` alone, so that any command finds a running system.
        """
        folder = data.resolve() / "run"
        path = os.fsencode(folder)
        if len(path) + 12 > _LONGEST_IPC_PATH or not _is_utf8(path):
            digest = hashlib.sha256(path).hexdigest()[:16]
            folder = Path(tempfile.gettempdir()) / f"tracking-system-{digest}"
        return cls(**{each.name: f"ipc://{folder}/{each.name}" for each in fields(cls)})

    @classmethod
    def network(cls, detector: str, tracker: str, store: str) -> Endpoints:
        """Addresses for services on other machines, by host name; the ports are `TCP_PORTS`."""
        hosts = dict.fromkeys(("frames", "view_in", "view_out"), detector)
        hosts |= dict.fromkeys(("people", "live", "control"), tracker)
        hosts |= dict.fromkeys(("tracks", "history"), store)
        return cls(**{name: f"tcp://{host}:{TCP_PORTS[name]}" for name, host in hosts.items()})

    def with_addresses(self, addresses: dict[str, str]) -> Endpoints:
        """The same with some addresses replaced; raises ConfigError for a name that is none of them."""
        known = {each.name for each in fields(self)}
        for name, address in addresses.items():
            if name not in known:
                raise ConfigError(f"unknown endpoint {name!r}: known are {', '.join(sorted(known))}")
            if not address.startswith(("tcp://", "ipc://")):
                raise ConfigError(f"endpoint {name} must begin with tcp:// or ipc://, not {address!r}")
        return Endpoints(**{name: addresses.get(name, getattr(self, name)) for name in sorted(known)})

    def prepare(self) -> None:
        """Make the folders that `ipc://` addresses lie in."""
        for each in fields(self):
            address = getattr(self, each.name)
            if address.startswith("ipc://"):
                Path(address.removeprefix("ipc://")).parent.mkdir(parents=True, exist_ok=True)


def _is_utf8(path: bytes) -> bool:
    """Whether ZeroMQ, which takes addresses as text, can be told this path."""
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
