"""Driving sockets from one thread: pumps with deadlines, addresses, and a proxy that cuts connections."""

from __future__ import annotations

import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

DEADLINE_S = 8.0


class Context(zmq.Context[zmq.Socket[bytes]]):
    """Keeps its sockets, so that `destroy` closes those that a test has left open."""

    kept: list[zmq.Socket[bytes]] = []  # noqa: RUF012 - pyzmq only lets attributes of the class be set

    def socket(self, *args: Any, **kwargs: Any) -> zmq.Socket[bytes]:
        made = super().socket(*args, **kwargs)
        self.kept = [*self.kept, made]
        return made


def pump_until(
    done: Callable[[], bool], *steps: Callable[[], object], deadline_s: float = DEADLINE_S
) -> None:
    """Take the steps in turn until `done`; fails when that takes too long."""
    give_up_s = time.monotonic() + deadline_s
    while not done():
        assert time.monotonic() < give_up_s, "what was waited for did not come"
        for step in steps:
            step()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class CuttingProxy:
    """Carries TCP connections to a port, and cuts each after a random number of bytes."""

    def __init__(self, target: int, rng: random.Random, most_bytes: int) -> None:
        self._target = ("127.0.0.1", target)
        self._rng = rng
        self._most_bytes = most_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0
        self.stop_cutting = False
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._other: dict[socket.socket, socket.socket] = {}
        self._left: dict[socket.socket, int] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._other:
                    self._carry(key.fileobj)

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target, timeout=1)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.settimeout(1)
            self._other[one] = other
            self._left[one] = self._rng.randint(1, self._most_bytes)
            self._selector.register(one, selectors.EVENT_READ)

    def _carry(self, one: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
            if data and not self.stop_cutting:
                data = data[: self._left[one]]
                self._left[one] -= len(data)
            self._other[one].sendall(data)
        except OSError:
            data = b""
        if not data or (self._left[one] == 0 and not self.stop_cutting):
            self.cuts += bool(data)
            self._cut(one)

    def _cut(self, one: socket.socket) -> None:
        for end in (self._other[one], one):
            self._selector.unregister(end)
            end.close()
            del self._other[end], self._left[end]

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        for end in [self._listener, *self._other]:
            end.close()
        self._selector.close()
