"""Where the hubs are: on this machine, on others, or where the configuration says."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest
import zmq

from shared.endpoints import TCP_PORTS, Endpoints
from shared.errors import ConfigError
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
