"""A service between two links: streams come in, are worked on, and go on under the same numbers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import zmq

from shared.clock import now_ns
from shared.errors import StreamRefusedError
from shared.link_receiver import Delivered, LinkReceiver, Opened, Reported, Resumed, Silent
from shared.link_sender import LinkSender

log = logging.getLogger(__name__)

WAIT_S = 0.05
BREATH_S = 0.002
"""What comes within so long of the first message is handled, and answered, in one round."""

GOODBYE_S = 5.0


@dataclass(slots=True)
class Passing:
    """A stream on its way through.

    first: the oldest message its sender still has.  accepted: the sender was told where to go on.
    """

    session: int
    live: bool
    first: int
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """A stream has begun; renewed: it was passing before, with another session."""

    stream: int
    live: bool
    renewed: bool


Event: TypeAlias = Delivered | Begun | Resumed | Silent


class Hop:
    """Takes streams from senders of one kind, and opens each towards the next service.

    A live stream begins at once; a recorded one when the next service has said where it goes on, for only
    then it is known what need not be done again.  Used from one thread; in each round call `receive`,
    `poll`, `accept`, and `flush` at the end.

    incoming, outgoing: the two links.  streams: those that pass.  refused: how many were turned away here.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        name: str,
        address: str,
        towards: tuple[str, str],
        known: Container[int],
        windows: tuple[int, int],
        outbox: int,
    ) -> None:
        """name: of this service.  towards: the next service's name and its address.

        known: the streams that are expected; others are refused.  windows: messages unacknowledged at
        most, of a recorded stream and of a live one.  outbox: messages of a live stream that wait while
        the next service is away.
        """
        self.incoming = LinkReceiver(context, address)
        self.outgoing = LinkSender(context, towards[1], name=f"the {towards[0]}")
        self.incarnation = now_ns()
        self.streams: dict[int, Passing] = {}
        self.refused = 0
        self._name = name
        self._next = towards[0]
        self._known = known
        self._windows = windows
        self._outbox = outbox

    def receive(self) -> Iterator[Event]:
        """What has come, oldest first; reports are passed on at once."""
        for event in self.incoming.receive():
            if isinstance(event, Reported):
                self.outgoing.report(event.report)
            elif not isinstance(event, Opened):
                if isinstance(event, Resumed):
                    self.outgoing.take_back_end(event.stream)
                yield event
            elif (begun := self._open(event)) is not None:
                yield begun

    def poll(self) -> list[int]:
        """Hear the next service; returns the streams that it refused, whose senders are told.

        Raises StreamRefusedError for a stream that is this service's own.
        """
        left_out: list[int] = []
        try:
            self.outgoing.poll()
        except StreamRefusedError as refusal:
            if refusal.stream not in self.streams:
                raise
            log.error("camera %d is left out: %s", refusal.stream, refusal)
            del self.streams[refusal.stream]
            self.incoming.refuse(refusal.stream, str(refusal), permanent=refusal.permanent)
            left_out.append(refusal.stream)
        return left_out

    def accept(self, position: Callable[[int, int], int]) -> None:
        """Let streams begin for which that is due.

        position: of a recorded stream and its session, the number to go on at.
        """
        for stream, state in self.streams.items():
            if state.accepted:
                continue
            if state.live:
                self.incoming.accept(stream, state.first, self._windows[1])
            elif self.outgoing.position(stream) is None:
                continue
            elif (first := position(stream, state.session)) < state.first:
                self.incoming.refuse(
                    stream,
                    f"camera {stream}: the history before frame {state.first} is gone from the {self._next}; "
                    "start the camera's ingest again to send it once more",
                    permanent=False,
                )
            else:
                self.incoming.accept(stream, first, self._windows[0])
            state.accepted = True

    def refuse(self, stream: int, reason: str) -> None:
        """Turn a stream away."""
        self.refused += 1
        self.incoming.refuse(stream, reason)

    def acknowledge(self, stream: int, seq: int) -> None:
        """Answer for a stream's messages up to this one."""
        self.incoming.acknowledge(stream, self.streams[stream].session, seq)

    def flush(self) -> None:
        """Tell the senders what was answered for."""
        self.incoming.flush()

    def unacknowledged(self) -> bool:
        """Whether the next service has not answered for something yet."""
        return any(self.outgoing.unacknowledged(stream) for stream in self.streams)

    def close(self) -> None:
        """Close both links."""
        self.incoming.close()
        self.outgoing.close()

    def _open(self, opened: Opened) -> Begun | None:
        stream = opened.stream
        if stream not in self._known:
            self.refuse(stream, f"camera {stream} is not in the configuration of this {self._name}")
            return None
        known = self.streams.get(stream)
        if known is not None and known.session == opened.session and not known.accepted:
            return None  # asked again while the next service has not answered yet
        if not opened.live and known is not None and known.session == opened.session:
            self.outgoing.reopen(stream)
        elif not opened.live:
            self.outgoing.open(stream, opened.session, live=False)
        elif known is None or not known.live:
            self.outgoing.open(stream, self.incarnation, live=True, outbox=self._outbox)
        self.streams[stream] = Passing(opened.session, opened.live, opened.first)
        return Begun(stream, opened.live, known is not None and known.session != opened.session)


def serve(
    sockets: Iterable[zmq.Socket[bytes]],
    stop: threading.Event,
    *,
    step: Callable[[], None],
    busy: Callable[[], bool],
    longest_ms: Callable[[], int] = lambda: int(WAIT_S * 1000),
) -> None:
    """Take a step whenever a socket has something to read, or a while has passed, until `stop` is set.

    Then go on for a moment, as long as there is something left to do.  busy: whether there is.
    longest_ms: when the next step is due at the latest.
    """
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    leave_at_s: float | None = None
    while leave_at_s is None or (time.monotonic() < leave_at_s and busy()):
        if poller.poll(max(0, min(int(WAIT_S * 1000), longest_ms()))):
            time.sleep(BREATH_S)
        step()
        if stop.is_set() and leave_at_s is None:
            leave_at_s = time.monotonic() + GOODBYE_S
