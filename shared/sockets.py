"""ZeroMQ sockets with every limit set, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import socket as socketlib
from collections.abc import Sequence
from pathlib import Path

import zmq

from shared.errors import LinkError
from shared.heap import keep_freed_memory
from shared.limits import MAX_IPC_PATH_BYTES, MAX_MESSAGE_BYTES, MAX_TOPICS
from shared.messages import Buffer

HEARTBEAT_MS = 1000
SILENCE_MS = 5000
_PROBE_S = 1.0


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    address: str,
    *,
    bind: bool,
    high_water_mark: int = 1000,
    immediate: bool = False,
) -> zmq.Socket[bytes]:
    """A socket of this kind, bound or connected, with bounded queues and no lingering.

    immediate: nothing is queued for, or remembered of, a peer that is not there.
    Raises LinkError where the address cannot be bound or is none.
    """
    keep_freed_memory()
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = high_water_mark
    if kind in (zmq.SUB, zmq.XSUB):
        # These send subscriptions only, and drop those that do not fit without a word.
        socket.sndhwm = 2 * MAX_TOPICS
    socket.maxmsgsize = MAX_MESSAGE_BYTES
    socket.reconnect_ivl = 100
    socket.reconnect_ivl_max = 500
    socket.immediate = immediate
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = SILENCE_MS
    if kind == zmq.ROUTER:
        socket.router_mandatory = 1
    try:
        if bind:
            _make_room_for(address)
            socket.bind(address)
        else:
            socket.connect(address)
    except (zmq.ZMQError, OSError) as error:
        socket.close()
        permanent = error.errno not in _PASSING
        raise LinkError(_explain(address, bind, error), permanent=permanent) from None
    return socket


def _make_room_for(address: str) -> None:
    """Make the folder of an ipc address, and see that no living program and no file has its place.

    ZeroMQ itself takes the path over from whatever is there, unasked.
    """
    if not address.startswith("ipc://"):
        return
    path = Path(address.removeprefix("ipc://"))
    if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_socket():
        raise OSError(errno.EEXIST, "a file of this name is there and no socket")
    with socketlib.socket(socketlib.AF_UNIX, socketlib.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        # Refused: a killed program left the path behind.  A full queue is a living program's.
        if probe.connect_ex(os.fspath(path)) in (0, errno.EAGAIN, errno.ETIMEDOUT):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _explain(address: str, bind: bool, error: OSError | zmq.ZMQError) -> str:
    what = f"cannot {'bind' if bind else 'connect to'} {address}: {error.strerror or error}"
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{what}; {remedy}" if remedy else what


_CHOOSE_ANOTHER = "stop that one, or set another address under `endpoints:`"
_MAY_NOT = "this user may not: choose a port above 1023 or a folder that can be written"
_NOT_OURS = "a hub binds an address of its own machine, such as tcp://0.0.0.0:5550"
_FORM = "an address is like tcp://192.168.1.5:5550 or ipc:///run/tracking-system/frames"
_REMEDIES = {
    errno.EADDRINUSE: f"another program uses it: {_CHOOSE_ANOTHER}",
    errno.EEXIST: "it would be overwritten: set another address under `endpoints:`",
    errno.EACCES: _MAY_NOT,
    errno.EPERM: _MAY_NOT,
    errno.EROFS: _MAY_NOT,
    errno.EADDRNOTAVAIL: _NOT_OURS,
    errno.ENODEV: _NOT_OURS,
    errno.EINVAL: _FORM,
    errno.EPROTONOSUPPORT: _FORM,
    errno.ENOTDIR: "a part of the path is a file: set another address under `endpoints:`",
    errno.ENAMETOOLONG: f"the path of a socket has at most {MAX_IPC_PATH_BYTES} bytes: choose a shorter one",
}


_PASSING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENODEV)
"""What ends by itself: a predecessor that has not quite ended, a network that is not up yet."""


# pyzmq's flags are enumerations, whose `|` costs as much as a send: plain numbers here.
_NOBLOCK = int(zmq.NOBLOCK)
_COPY_BELOW_BYTES = 131_072
"""Lending a buffer to ZeroMQ costs as much as copying one of about this size."""

_MORE_NOBLOCK = int(zmq.NOBLOCK) | int(zmq.SNDMORE)


def send_frames(socket: zmq.Socket[bytes], frames: Sequence[Buffer]) -> None:
    """Send one multipart message, or nothing of it; never waits.

    Raises zmq.Again where the queue is full, zmq.ZMQError where a ROUTER knows no such peer.
    """
    for frame in frames[:-1]:
        socket.send(frame, _MORE_NOBLOCK)
    socket.send(frames[-1], _NOBLOCK, copy=len(frames[-1]) < _COPY_BELOW_BYTES)


def receive_frames(socket: zmq.Socket[bytes], small: int) -> list[Buffer]:
    """Receive one multipart message; raises zmq.Again where none waits.

    The first `small` frames come as bytes, the others as views of ZeroMQ's own memory, not copied.
    """
    frames: list[Buffer] = [socket.recv(_NOBLOCK)]
    more = socket.get(zmq.RCVMORE)
    while more:
        if len(frames) < small:
            frames.append(socket.recv(_NOBLOCK))
            more = socket.get(zmq.RCVMORE)
        else:
            frame = socket.recv(_NOBLOCK, copy=False)
            frames.append(frame.buffer)
            more = frame.more
    return frames
