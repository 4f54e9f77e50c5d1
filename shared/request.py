"""Questions and answers: one request, one reply.

A request names an operation and carries plain fields (msgpack); a reply carries fields, and one message
of `shared.messages` where the operation returns one, or the text of an error.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack
import zmq

from shared.codec import decode, encode
from shared.errors import LinkError, MessageError, TrackingError
from shared.limits import MAX_HEADER_BYTES, MAX_NAME_LENGTH
from shared.messages import PROTOCOL_VERSION, Message
from shared.packing import shown, unpack_header
from shared.sockets import open_socket

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64

_LOOK_FOR_STOP_S = 0.2

_NUMBER = struct.Struct(">Q")
_INT64_MAX = (1 << 63) - 1

Fields = Mapping[str, Any]
Handler = Callable[[Fields], "Reply | Fields | Deferred"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation returns when it returns more than fields."""

    fields: Fields
    message: Message | None = None


class Deferred:
    """What an operation returns that replies later: call `answer` or `refuse` once, from the same thread."""

    def __init__(self) -> None:
        self._send: Callable[[list[Any]], None] | None = None
        self._frames: list[Any] | None = None

    def answer(self, fields: Fields) -> None:
        """Send the reply."""
        self._reply(_answer_frames(Reply(fields), "a decision"))

    def refuse(self, reason: str) -> None:
        """Send an error instead; `reason` is its text."""
        self._reply(_error_frames(reason))

    def send_with(self, send: Callable[[list[Any]], None]) -> None:
        """Send the reply with this function, at once if there is one already."""
        self._send = send
        if self._frames is not None:
            send(self._frames)

    def _reply(self, frames: list[Any]) -> None:
        self._frames = frames
        if self._send is not None:
            self._send(frames)


class Requester:
    """The asking side; used from one thread.

    stop: ends a request early that waits, with LinkError.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, stop: threading.Event | None = None
    ) -> None:
        self._address = address
        self._stop = stop
        # Immediate: while nobody is there, a request fails instead of waiting to be answered too late.
        self._socket = open_socket(context, zmq.DEALER, address, bind=False, immediate=True)
        self._number = 0

    def ask(self, operation: str, fields: Fields | None = None, timeout_s: float = 5.0) -> dict[str, Any]:
        """The reply's fields.

        Raises LinkError when nobody answers in time, TrackingError with the answer's text when refused,
        MessageError for fields that cannot be sent.
        """
        return dict(self.ask_for_message(operation, fields, timeout_s).fields)

    def ask_for_message(
        self,
        operation: str,
        fields: Fields | None = None,
        timeout_s: float = 5.0,
        connect_timeout_s: float = math.inf,
    ) -> Reply:
        """The whole reply; raises as `ask` does.

        connect_timeout_s: how long to wait for a connection, where that is less than for the reply.
        """
        self._number += 1
        number = _NUMBER.pack(self._number)
        request = _packed({"v": PROTOCOL_VERSION, "op": operation, "f": dict(fields or {})}, operation)
        deadline = time.monotonic() + timeout_s
        frames: list[bytes] = []
        try:
            self._await(zmq.POLLOUT, min(deadline, time.monotonic() + connect_timeout_s))
            self._socket.send_multipart([number, request], zmq.NOBLOCK)
            while len(frames) < 2 or frames[0] != number:  # others answer what was given up earlier
                self._await(zmq.POLLIN, deadline)
                frames = self._socket.recv_multipart()
        except (TimeoutError, zmq.Again):
            raise LinkError(
                f"nobody answered at {self._address} within {timeout_s:g} s: is it running?"
            ) from None
        header = unpack_header(frames[1])
        error = header.get("error")
        if error is not None:
            raise TrackingError(str(error))
        answer = header.get("f")
        if not isinstance(answer, dict):
            raise MessageError(f"{self._address} sent a reply without fields")
        return Reply(answer, decode(frames[2:]) if len(frames) > 2 else None)

    def _await(self, event: int, deadline: float) -> None:
        while (left_s := deadline - time.monotonic()) > 0:
            if self._stop is not None:
                if self._stop.is_set():
                    break
                left_s = min(left_s, _LOOK_FOR_STOP_S)
            if self._socket.poll(math.ceil(left_s * 1000), event):
                return
        raise TimeoutError

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Responder:
    """The answering side: operations by name; used from one thread.

    A handler returns fields (or a Reply) and refuses by raising TrackingError; what it needs to know of
    bad fields it learns from `integer`, `number` and `text`.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, operations: Mapping[str, Handler]
    ) -> None:
        self.socket = open_socket(context, zmq.ROUTER, address, bind=True)
        self.rejected = 0
        self._operations = dict(operations)

    def serve(self) -> None:
        """Answer requests that wait, at most `MOST_AT_ONCE`; never blocks."""
        for _ in range(MOST_AT_ONCE):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) != 3:
                self.rejected += 1
                continue
            peer, number, body = frames
            answer = self._answer(body)
            if isinstance(answer, Deferred):
                answer.send_with(partial(self._send, peer, number))
            else:
                self._send(peer, number, answer)

    def _send(self, peer: bytes, number: bytes, answer: list[Any]) -> None:
        try:
            self.socket.send_multipart([peer, number, *answer], zmq.NOBLOCK)
        except zmq.ZMQError:
            self.rejected += 1  # the asker has gone, or does not read

    def _answer(self, body: bytes) -> list[Any] | Deferred:
        try:
            header = unpack_header(body)
            if header.get("v") != PROTOCOL_VERSION:
                raise MessageError(f"this is protocol version {PROTOCOL_VERSION}")
            name, fields = header.get("op"), header.get("f")
            handler = self._operations.get(name) if isinstance(name, str) else None
            if handler is None or not isinstance(fields, dict):
                raise MessageError(
                    f"unknown operation {shown(name)}; known: {', '.join(sorted(self._operations))}"
                )
            result = handler(fields)
            if isinstance(result, Deferred):
                return result
            return _answer_frames(result if isinstance(result, Reply) else Reply(result), str(name))
        except TrackingError as error:
            self.rejected += isinstance(error, MessageError)
            return _error_frames(str(error))
        except Exception as error:
            log.exception("a request failed")
            return _error_frames(
                f"the request failed ({type(error).__name__}); the log of this service says why"
            )

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _packed(header: Mapping[str, Any], what: str) -> bytes:
    """A header as it is sent; raises MessageError for one that the other side would not take.

    what: the operation, for the text of the error.
    """
    try:
        packed: bytes = msgpack.packb(header)
    except (OverflowError, ValueError, TypeError) as error:
        # A whole number of more than 64 bits, or a text that UTF-8 cannot write.
        raise MessageError(f"{what} cannot be sent: {error}") from None
    if len(packed) > MAX_HEADER_BYTES:
        raise MessageError(
            f"{what} cannot be sent: it takes {len(packed)} bytes, at most {MAX_HEADER_BYTES} are allowed"
        )
    return packed


def _answer_frames(reply: Reply, operation: str) -> list[Any]:
    fields = {"v": PROTOCOL_VERSION, "f": dict(reply.fields)}
    answer: list[Any] = [_packed(fields, f"the answer to {operation}")]
    return answer if reply.message is None else [*answer, *encode(reply.message)]


def _error_frames(reason: str) -> list[Any]:
    return [msgpack.packb({"v": PROTOCOL_VERSION, "error": reason})]


def integer(fields: Fields, name: str) -> int:
    """An integer of a request; raises MessageError naming it where it is none."""
    value = fields.get(name)
    if type(value) is not int or not -_INT64_MAX <= value <= _INT64_MAX:
        raise MessageError(f"{name} must be a whole number of 64 bits, not {shown(value)}")
    return value


def number(fields: Fields, name: str) -> float:
    """A number of a request; raises MessageError naming it where it is none."""
    value = fields.get(name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise MessageError(f"{name} must be a number, not {shown(value)}")
    return float(value)


def text(fields: Fields, name: str, longest: int = MAX_NAME_LENGTH) -> str:
    """A text of a request; raises MessageError naming it where it is none or too long."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise MessageError(f"{name} must be a text of at most {longest} letters")
    return value
