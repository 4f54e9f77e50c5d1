"""The receiving end of a link: streams from any number of senders, each message once and in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import zmq

from shared import envelope
from shared.clock import bounded_offset_ns, now_ns
from shared.codec import decode
from shared.envelope import HAS_END, LIVE, Envelope, Kind, Refusal
from shared.errors import LinkError, MessageError
from shared.limits import MAX_PEERS, MAX_STREAMS
from shared.messages import Buffer, End, Message, Report
from shared.sockets import open_socket, receive_frames, send_frames
from shared.window import Arrival, ReceiveWindow

log = logging.getLogger(__name__)

SILENCE_S = 5.0
MOST_AT_ONCE = 16
"""A quarter of an ordinary window: answered for so often, the sender never waits for credit."""

FORGET_REPORT_S = 60.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A sender asks to send a stream; answer with `LinkReceiver.accept` once you know from where.

    first: the oldest message the sender still has.
    """

    stream: int
    session: int
    live: bool
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """The next message of a stream."""

    stream: int
    session: int
    seq: int
    message: Message


@dataclass(frozen=True, slots=True)
class Resumed:
    """A stream whose end was delivered goes on: forget the end, whose number will be used again."""

    stream: int
    session: int


@dataclass(frozen=True, slots=True)
class Silent:
    """A stream's sender has not been heard for `SILENCE_S`; it may come back."""

    stream: int
    session: int


@dataclass(frozen=True, slots=True)
class Reported:
    """A report, to be passed on."""

    report: Report


Event: TypeAlias = Opened | Delivered | Resumed | Silent | Reported


_NOTHING = (-1, -1)


@dataclass(slots=True)
class _Stream:
    peer: bytes
    session: int
    live: bool
    began_ns: int  # when its sender began, on the sender's clock
    window: ReceiveWindow | None = None
    told: tuple[int, int] = _NOTHING
    silent: bool = False
    ended: bool = False  # its end was delivered
    delivered: bool = False  # any message was
    used_at_s: float = 0.0  # it was last opened, or brought a message


@dataclass(slots=True)
class _Peer:
    heard_at_s: float
    clock_offset_ns: int = 0


class LinkReceiver:
    """Receives the streams of any number of senders; used from one thread.

    Call `receive` whenever `socket` is readable and at least every 100 ms; `acknowledge` what is safe
    for good; `flush` once at the end of each round of work.

    At most `MAX_STREAMS` streams and `MAX_PEERS` senders are known.  Beyond that those are forgotten that
    were idle for longest, first the streams of which nothing was ever delivered.  Whoever is still there
    opens its stream again and goes on where it was.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.socket = open_socket(context, zmq.ROUTER, address, bind=True, high_water_mark=4096)
        self.rejected = 0
        self.repeated = 0
        self._incarnation = now_ns()
        self._monotonic_s = monotonic_s
        self._streams: dict[int, _Stream] = {}
        self._peers: dict[bytes, _Peer] = {}
        self._pings: list[tuple[bytes, int]] = []

    def receive(self) -> list[Event]:
        """What has happened, oldest first; never waits.

        Bytes that are no message of ours are counted in `rejected` and dropped.
        """
        events: list[Event] = []
        for _ in range(MOST_AT_ONCE):
            try:
                peer, *frames = receive_frames(self.socket, small=2)
            except zmq.Again:
                break
            try:
                if not frames:
                    raise MessageError("nothing behind the address")
                got, frames[0] = envelope.unpack(bytes(frames[0]))
                event = self._take_in(bytes(peer), got, frames)
            except MessageError as error:
                self.rejected += 1
                log.debug("rejected a message: %s", error)
                continue
            if event is not None:
                events.append(event)
        events.extend(self._silences())
        return events

    def accept(self, stream: int, first: int, window: int) -> None:
        """Let the sender of a stream go on at `first`, with `window` messages unacknowledged at most.

        Nothing happens where the stream was refused in the meantime.
        """
        state = self._streams.get(stream)
        if state is None:
            return
        state.window, state.ended = ReceiveWindow(first, window), False
        self._tell(stream, state, Kind.ACCEPT)

    def forget(self, stream: int) -> None:
        """Take nothing more of a stream until its sender opens it again, which is an `Opened`."""
        self._streams.pop(stream, None)

    def refuse(self, stream: int, reason: str, *, permanent: bool = True) -> None:
        """Tell a stream's sender that it will not be heard, and forget it.

        permanent: False where another process in the sender's place will be heard.
        """
        state = self._streams.pop(stream, None)
        if state is not None:
            what = Refusal.FOR_GOOD if permanent else Refusal.START_AGAIN
            self._put(state.peer, Envelope(Kind.REFUSE, stream, state.session, a=what), reason.encode())

    def acknowledge(self, stream: int, session: int, seq: int) -> None:
        """Answer for everything of the stream up to `seq`; told to the sender by `flush`."""
        state = self._streams.get(stream)
        if state is not None and state.session == session and state.window is not None:
            state.window.acknowledge(seq)

    def flush(self) -> None:
        """Tell the senders how far their streams are, and then answer their pings.

        The order matters: a sender takes what is not reported before the answer for lost.
        """
        for stream, state in self._streams.items():
            window = state.window
            if window is not None and state.told != (window.durable, window.arrived):
                self._tell(stream, state, Kind.ACK)
        for peer, sent_ns in self._pings:
            self._put(peer, Envelope(Kind.PONG, session=self._incarnation, seq=sent_ns, a=now_ns()))
        self._pings.clear()

    def clock_offset_ns(self, stream: int) -> int:
        """Our clock minus that of the stream's sender, nanoseconds."""
        state = self._streams.get(stream)
        peer = self._peers.get(state.peer) if state is not None else None
        return peer.clock_offset_ns if peer is not None else 0

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _take_in(self, peer: bytes, got: Envelope, frames: list[Buffer]) -> Event | None:
        if got.kind is Kind.DATA:
            return self._data(peer, got, frames)
        if got.kind is Kind.OPEN:
            self._hear(peer)
            return self._open(peer, got)
        if got.kind is Kind.PING:
            self._hear(peer).clock_offset_ns = bounded_offset_ns(got.a)
            self._pings.append((peer, got.seq))
            for state in self._streams.values():
                if state.peer == peer:
                    state.told = _NOTHING  # what was told may have been lost with a connection
            return None
        if got.kind is Kind.REPORT:
            message = decode(frames)
            if not isinstance(message, Report):
                raise MessageError("only a report may come outside a stream")
            return Reported(message)
        raise MessageError("an envelope that only a receiver sends")

    def _open(self, peer: bytes, got: Envelope) -> Event | None:
        known = self._streams.get(got.stream)
        if known is not None and known.peer != peer:
            if got.b < known.began_ns and not known.silent:
                # Left over from a sender that restarted, read behind the new one's; or one of two senders;
                # or the successor of a killed one, begun after its machine's clock was set back.  The last
                # is heard as soon as its predecessor is known to be silent.
                self._displace(got.stream, got.session, peer, Refusal.ASK_LATER)
                return None
            self._displace(got.stream, known.session, known.peer, Refusal.FOR_GOOD)
        if known is not None and known.session == got.session and known.window is not None:
            # It asks where it stands, or goes on after a restart of its own or of the network.
            known.peer, known.began_ns, known.used_at_s = peer, got.b, self._monotonic_s()
            resumed = known.ended and not got.a & HAS_END
            if resumed:
                known.window.take_back_last()
                known.ended = False
            self._tell(got.stream, known, Kind.ACCEPT)
            return Resumed(got.stream, got.session) if resumed else None
        self._make_room_for_stream(got.stream)
        live = bool(got.a & LIVE)
        used_at_s = self._monotonic_s()
        self._streams[got.stream] = _Stream(peer, got.session, live, got.b, used_at_s=used_at_s)
        return Opened(got.stream, got.session, live, got.seq)

    def _displace(self, stream: int, session: int, peer: bytes, what: Refusal) -> None:
        reason = f"stream {stream} is sent by another process now; is the same camera started twice?"
        self._put(peer, Envelope(Kind.REFUSE, stream, session, a=what), reason.encode())

    def _data(self, peer: bytes, got: Envelope, frames: list[Buffer]) -> Event | None:
        state = self._streams.get(got.stream)
        if state is None or state.peer != peer or state.session != got.session:
            self._put(peer, Envelope(Kind.REOPEN, got.stream, got.session))
            return None
        self._hear(peer)
        if state.window is None:
            return None  # sent before it was accepted; it will be sent again
        arrival = state.window.arrive(got.seq)
        if arrival is not Arrival.NEXT:
            self.repeated += arrival is Arrival.REPEATED
            state.told = _NOTHING  # the sender is behind our knowledge: tell it again
            return None
        try:
            message = decode(frames)
        except MessageError as error:
            self.refuse(got.stream, f"message {got.seq} is malformed: {error}")
            raise
        state.ended = isinstance(message, End) and not state.live
        state.delivered, state.used_at_s = True, self._monotonic_s()
        return Delivered(got.stream, got.session, got.seq, message)

    def _hear(self, peer: bytes) -> _Peer:
        heard = self._peers.get(peer)
        if heard is None:
            self._make_room_for_peer()
            heard = self._peers[peer] = _Peer(0.0)
        heard.heard_at_s = self._monotonic_s()
        return heard

    def _make_room_for_stream(self, stream: int) -> None:
        if stream in self._streams or len(self._streams) < MAX_STREAMS:
            return
        idle = sorted((state.delivered, state.used_at_s, number) for number, state in self._streams.items())
        for _, _, number in idle[: MAX_STREAMS // 8]:  # several at once, so that it is seldom done
            del self._streams[number]
        log.warning(
            "%d streams are open, more than any system has: those that were idle for longest are forgotten; "
            "does a stranger reach this address?",
            len(idle),
        )

    def _make_room_for_peer(self) -> None:
        if len(self._peers) < MAX_PEERS:
            return
        owners = {state.peer for state in self._streams.values()}
        idle = sorted((heard.heard_at_s, peer) for peer, heard in self._peers.items() if peer not in owners)
        for _, peer in idle[: MAX_PEERS // 8]:
            del self._peers[peer]

    def _silences(self) -> list[Event]:
        now_s = self._monotonic_s()
        events: list[Event] = []
        for number, state in self._streams.items():
            peer = self._peers.get(state.peer)
            silent = peer is None or now_s - peer.heard_at_s > SILENCE_S
            if silent and not state.silent:
                events.append(Silent(number, state.session))
            state.silent = silent
        owners = {state.peer for state in self._streams.values()}
        for peer_id, peer in list(self._peers.items()):
            if peer_id not in owners and now_s - peer.heard_at_s > FORGET_REPORT_S:
                del self._peers[peer_id]
        return events

    def _tell(self, stream: int, state: _Stream, kind: Kind) -> None:
        window = state.window
        if window is None:
            raise LinkError(f"stream {stream} was not accepted")
        told = (window.durable, window.arrived)
        if self._put(
            state.peer,
            Envelope(kind, stream, state.session, seq=window.durable, a=window.arrived, b=window.limit),
        ):
            state.told = told

    def _put(self, peer: bytes, what: Envelope, text: bytes = b"") -> bool:
        try:
            send_frames(self.socket, [peer, what.pack() + text])
        except zmq.ZMQError:
            return False  # it has gone, or does not read: it will ask when it is back
        return True
