"""Waking a capture that hangs: only its own connection is shut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.capture import _shut


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """The near end of a TCP connection; a byte that can be sent through it shows that it is open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            yield near


def ends(connection: socket.socket) -> dict[str, tuple[str, int]]:
    return {"local": connection.getsockname(), "remote": connection.getpeername()}


def is_shut(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
    except OSError:
        return True
    return False


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_connection_that_was_listed_is_shut(connection: socket.socket) -> None:
    _shut(connection.fileno(), **ends(connection))
    assert is_shut(connection)


def test_another_connection_that_has_got_its_number_since_is_left_alone(connection: socket.socket) -> None:
    listed = ends(connection)
    _shut(connection.fileno(), local=("127.0.0.1", listed["local"][1] ^ 1), remote=listed["remote"])
    assert not is_shut(connection)


def test_a_file_or_nothing_that_has_got_its_number_since_is_left_alone(
    connection: socket.socket, tmp_path: Path
) -> None:
    before = open_descriptors()
    with (tmp_path / "file").open("w") as file:
        _shut(file.fileno(), **ends(connection))
        file.write("still open")
    _shut(1 << 20, **ends(connection))
    assert (tmp_path / "file").read_text() == "still open"
    assert open_descriptors() == before
