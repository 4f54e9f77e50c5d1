"""Where the hubs are: on this machine, on others, or where the configuration says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import zmq

from shared.endpoints import TCP_PORTS, Endpoints
from shared.errors import ConfigError, LinkError
from shared.sockets import open_socket
from tests.shared.wire import Context


def test_local_addresses_are_all_different_and_depend_on_the_folder_alone(tmp_path: Path) -> None:
    addresses = asdict(Endpoints.local(tmp_path))
    assert set(addresses) == set(TCP_PORTS)
    assert len(set(addresses.values())) == len(addresses)
    assert Endpoints.local(tmp_path / "x" / "..") == Endpoints.local(tmp_path)
    assert Endpoints.local(tmp_path / "x") != Endpoints.local(tmp_path)


@pytest.mark.parametrize(
    "name", ["data", "with space", "x" * 150, "ü" * 60, "日本" * 20, "a/" * 50, os.fsdecode(b"\xff\xfe")]
)
def test_every_data_folder_has_addresses_that_can_be_bound(
    context: Context, tmp_path: Path, name: str
) -> None:
    endpoints = Endpoints.local(tmp_path / name)
    endpoints.prepare()
    for address in asdict(endpoints).values():
        open_socket(context, zmq.ROUTER, address, bind=True)
        open_socket(context, zmq.DEALER, address, bind=False)


def test_different_long_folders_have_different_addresses(tmp_path: Path) -> None:
    one, other = (Endpoints.local(tmp_path / ("x" * 150 + end)) for end in "ab")
    assert not set(asdict(one).values()) & set(asdict(other).values())


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose path is too long for sockets; the folder for temporary files is the test's own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(mode=0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return tmp_path / ("x" * 150)


def folder_of(endpoints: Endpoints) -> Path:
    return Path(endpoints.frames.removeprefix("ipc://")).parent


def test_folders_of_sockets_are_closed_to_other_users(tmp_path: Path, deep: Path) -> None:
    for data in (tmp_path / "data", deep):
        endpoints = Endpoints.local(data)
        endpoints.prepare()
        assert folder_of(endpoints).stat().st_mode & 0o077 == 0
    assert folder_of(Endpoints.local(deep)).parent.stat().st_mode & 0o077 == 0


def test_the_folder_for_sockets_is_the_data_folders_owners(tmp_path: Path, deep: Path) -> None:
    assert f"tracking-system-{os.geteuid()}" in folder_of(Endpoints.local(deep)).parts
    deep.mkdir()
    assert folder_of(Endpoints.local(deep)).parent == tmp_path / "tmp" / f"tracking-system-{os.geteuid()}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_a_folder_for_sockets_that_another_user_has_made_is_refused(tmp_path: Path, deep: Path) -> None:
    theirs = tmp_path / "tmp" / "tracking-system-0"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(LinkError, match=r"belongs to another user \(number 12345\).*shorter path") as refused:
        Endpoints.local(deep)
    assert refused.value.permanent


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(mode=0o755), r"is open to other users \(mode 0755, not 0700\)"),
        (lambda path: path.symlink_to(path.parent), "is no folder"),
        (lambda path: path.touch(), "File exists"),
    ],
)
def test_a_folder_for_sockets_that_others_could_use_is_refused(
    tmp_path: Path, deep: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "tmp" / f"tracking-system-{os.geteuid()}")
    with pytest.raises(LinkError, match=said):
        Endpoints.local(deep)


def test_network_addresses_are_the_hubs_hosts_and_fixed_ports() -> None:
    endpoints = Endpoints.network("gpu", "brain", "disk")
    assert endpoints.frames == "tcp://gpu:5550"
    assert endpoints.view_out == "tcp://gpu:5552"
    assert endpoints.control == "tcp://brain:5562"
    assert endpoints.history == "tcp://disk:5571"
    assert len(set(TCP_PORTS.values())) == len(TCP_PORTS)


def test_single_addresses_can_be_replaced(tmp_path: Path) -> None:
    local = Endpoints.local(tmp_path)
    changed = local.with_addresses({"control": "tcp://127.0.0.1:5562"})
    assert changed.control == "tcp://127.0.0.1:5562"
    assert changed.with_addresses({"control": local.control}) == local


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        ({"kontrol": "tcp://x:1"}, "unknown endpoint 'kontrol': known are control, frames"),
        ({"control": "127.0.0.1:5562"}, "endpoint control must begin with tcp:// or ipc://"),
        ({"control": "udp://x:1"}, "endpoint control must begin with tcp:// or ipc://"),
        ({"control": ""}, "endpoint control must begin with tcp:// or ipc://"),
    ],
)
def test_a_wrong_endpoint_is_an_error_that_names_it(
    tmp_path: Path, addresses: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoints.local(tmp_path).with_addresses(addresses)
    assert said in str(caught.value)


def test_preparing_makes_the_folders_and_may_be_repeated(tmp_path: Path) -> None:
    endpoints = Endpoints.local(tmp_path / "data")
    endpoints.prepare()
    endpoints.prepare()
    assert Path(endpoints.frames.removeprefix("ipc://")).parent.is_dir()
    Endpoints.network("a", "b", "c").prepare()
