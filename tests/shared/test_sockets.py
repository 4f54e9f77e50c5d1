"""Sockets that cannot be had are one clear error; what a killed program left behind is no obstacle."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from shared.errors import LinkError
from shared.limits import MAX_MESSAGE_BYTES, MAX_TOPICS
from shared.sockets import HEARTBEAT_MS, open_socket, receive_frames, send_frames
from tests.shared.wire import Context, free_port


def test_a_port_in_use_is_an_error_that_names_it_and_the_remedy(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(LinkError) as caught:
            open_socket(context, zmq.ROUTER, address, bind=True)
    assert address in str(caught.value)
    assert "another program uses it" in str(caught.value)
    assert "`endpoints:`" in str(caught.value)


def test_an_ipc_address_of_a_living_program_is_not_taken_from_it(context: Context, ipc: str) -> None:
    first = open_socket(context, zmq.ROUTER, ipc, bind=True)
    with pytest.raises(LinkError, match="another program uses it"):
        open_socket(context, zmq.ROUTER, ipc, bind=True)
    dealer = open_socket(context, zmq.DEALER, ipc, bind=False)
    dealer.send(b"still there")
    assert first.poll(5000)


def test_the_socket_file_of_a_killed_program_is_no_obstacle(context: Context, ipc: str) -> None:
    program = (
        "import sys, zmq; s = zmq.Context().socket(zmq.ROUTER); s.bind(sys.argv[1]);"
        "print('bound', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, ipc], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bound\n"
        with pytest.raises(LinkError, match="another program uses it"):
            open_socket(context, zmq.ROUTER, ipc, bind=True)
        process.send_signal(signal.SIGKILL)
    assert Path(ipc.removeprefix("ipc://")).is_socket()
    router = open_socket(context, zmq.ROUTER, ipc, bind=True)
    dealer = open_socket(context, zmq.DEALER, ipc, bind=False)
    dealer.send(b"hello")
    assert router.poll(5000)


def test_a_file_in_the_place_of_an_ipc_address_is_kept(context: Context, tmp_path: Path) -> None:
    precious = tmp_path / "video.mp4"
    precious.write_bytes(b"precious")
    with pytest.raises(LinkError, match="it would be overwritten"):
        open_socket(context, zmq.ROUTER, f"ipc://{precious}", bind=True)
    assert precious.read_bytes() == b"precious"


def test_the_folder_of_an_ipc_address_is_made(context: Context, tmp_path: Path) -> None:
    open_socket(context, zmq.ROUTER, f"ipc://{tmp_path}/some/folder/hub", bind=True)
    assert (tmp_path / "some/folder/hub").is_socket()


@pytest.mark.parametrize(
    "address", ["tcp://nonsense", "nonsense", "", "tcp://1.2.3.4:x", "smoke://x", "tcp://"]
)
@pytest.mark.parametrize("bind", [True, False])
def test_an_address_that_is_none_is_an_error_with_an_example(
    context: Context, address: str, bind: bool
) -> None:
    with pytest.raises(
        LinkError, match=r"an address is like tcp://|a hub binds an address of its own"
    ) as caught:
        open_socket(context, zmq.DEALER, address, bind=bind)
    assert f"cannot {'bind' if bind else 'connect to'} {address}: " in str(caught.value)


def test_an_address_of_another_machine_cannot_be_bound(context: Context) -> None:
    with pytest.raises(LinkError, match="a hub binds an address of its own machine"):
        open_socket(context, zmq.ROUTER, "tcp://192.0.2.1:5550", bind=True)


def test_a_path_that_is_too_long_is_an_error_that_tells_the_limit(context: Context, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="at most 107 bytes"):
        open_socket(context, zmq.ROUTER, f"ipc://{tmp_path}/{'x' * 150}", bind=True)


def test_a_path_below_a_file_is_an_error(context: Context, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LinkError, match="cannot bind"):
        open_socket(context, zmq.ROUTER, f"ipc://{tmp_path}/file/hub", bind=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_error_with_the_remedy(
    context: Context, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LinkError, match="a folder that can be written"):
        open_socket(context, zmq.ROUTER, f"ipc://{tmp_path}/hub", bind=True)
    with pytest.raises(LinkError, match="a folder that can be written"):
        open_socket(context, zmq.ROUTER, f"ipc://{tmp_path}/new/hub", bind=True)


def test_a_system_that_forbids_an_address_is_an_error_with_the_remedy(
    context: Context, ipc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise zmq.ZMQError(errno.EACCES)

    monkeypatch.setattr(zmq.Socket, "bind", forbidden)
    with pytest.raises(LinkError, match="Permission denied; this user may not: choose a port above 1023"):
        open_socket(context, zmq.ROUTER, ipc, bind=True)


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.DEALER, zmq.SUB, zmq.XPUB, zmq.XSUB])
def test_every_limit_is_set(context: Context, kind: int) -> None:
    made = open_socket(context, kind, f"tcp://127.0.0.1:{free_port()}", bind=False, high_water_mark=77)
    sent = 2 * MAX_TOPICS if kind in (zmq.SUB, zmq.XSUB) else 77  # those send subscriptions only
    assert (made.linger, made.sndhwm, made.rcvhwm, made.maxmsgsize) == (0, sent, 77, MAX_MESSAGE_BYTES)
    assert made.heartbeat_ivl == HEARTBEAT_MS


def test_a_router_says_that_a_peer_is_not_there(context: Context, ipc: str) -> None:
    router = open_socket(context, zmq.ROUTER, ipc, bind=True)
    with pytest.raises(zmq.ZMQError):
        send_frames(router, [b"nobody", b"hello"])


def test_frames_arrive_as_they_went_the_small_ones_as_bytes(context: Context, ipc: str) -> None:
    router = open_socket(context, zmq.ROUTER, ipc, bind=True)
    dealer = open_socket(context, zmq.DEALER, ipc, bind=False)
    send_frames(dealer, [b"one", memoryview(b"two"), bytes(100_000), b""])
    assert router.poll(5000)
    peer, *frames = receive_frames(router, small=2)
    assert [bytes(frame) for frame in frames] == [b"one", b"two", bytes(100_000), b""]
    assert [type(frame) for frame in (peer, frames[0])] == [bytes, bytes]
    assert isinstance(frames[2], memoryview)
    with pytest.raises(zmq.Again):
        receive_frames(router, small=2)
