"""The sending end of a link: streams of messages, each delivered once and in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from shared import envelope
from shared.clock import NEGLIGIBLE_NS, OffsetEstimator, now_ns
from shared.codec import described, encode
from shared.envelope import HAS_END, LIVE, Envelope, Kind, Refusal
from shared.errors import LinkError, MessageError, StreamRefusedError
from shared.messages import Buffer, End, Message, Report
from shared.sockets import open_socket, receive_frames, send_frames
from shared.window import SendWindow

log = logging.getLogger(__name__)

PING_EVERY_S = 1.0
SILENCE_S = 5.0
ASK_AGAIN_S = 1.0
MOST_AT_ONCE = 256
LOSSES_OF_ONE = 5
"""A message that was lost so often in a row, about one second apart, is what breaks the connection."""


@dataclass(slots=True)
class _Stream:
    session: int
    live: bool
    window: SendWindow[list[Buffer]]
    outbox: int
    opened: bool = False
    put_off: bool = False  # the receiver has said to ask later, and that has been logged
    asked_at_s: float = 0.0
    told_at_ns: int = 0  # the receiver last said where the stream stands,
    news_at_ns: int = 0  # and that was not known before
    lost: tuple[int, int] = (-1, 0)  # the message that was lost last, and how often in a row
    reported: int = -1  # the message that was last said to break the connection
    dropped: int = 0


class LinkSender:
    """Sends the messages of any number of streams to one receiver; used from one thread.

    A recorded stream's messages keep the numbers their maker gives them, over restarts of both ends; a
    live stream's are numbered as they come, and when its outbox is full the oldest unsent one goes.
    The receiver may be absent at any time: everything unacknowledged is kept and sent when it is back.

    Call `poll` whenever `socket` is readable and at least every 100 ms.

    acknowledged: messages, over all streams, that the receiver has answered for since this end was made.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        *,
        name: str,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.socket = open_socket(context, zmq.DEALER, address, bind=False, high_water_mark=256)
        self.clock = OffsetEstimator()
        self.rejected = 0
        self.acknowledged = 0
        self._began_ns = now_ns()
        self._address = address
        self._name = name
        self._monotonic_s = monotonic_s
        self._streams: dict[int, _Stream] = {}
        self._receiver: int | None = None  # its incarnation
        self._heard_at_s = monotonic_s()
        self._pinged_at_s = float("-inf")
        self._silent = False

    def open(self, stream: int, session: int, *, live: bool, first: int = 0, outbox: int = 1) -> None:
        """Begin a stream, or a new session of it.

        The receiver says where to go on; until it has, `position` is None.
        outbox: most messages of a live stream that wait unsent, 1 or more.
        """
        self._streams[stream] = _Stream(session, live, SendWindow(first), outbox)
        self._ask(stream)

    def reopen(self, stream: int) -> None:
        """Go on with a recorded stream behind its end, if that was sent: it comes once more, from its start.

        What is unacknowledged is kept; until the receiver has said where it stands, `position` is None.
        """
        self._streams[stream].window.take_back_end()
        self._ask(stream)

    def take_back_end(self, stream: int) -> None:
        """Reopen a stream if its end was sent."""
        if self._streams[stream].window.has_end:
            self.reopen(stream)

    def position(self, stream: int) -> int | None:
        """The number the stream's next message will have, or None while the receiver has not said."""
        state = self._streams.get(stream)
        return state.window.next if state is not None and state.opened else None

    def room(self, stream: int) -> int:
        """How many messages the receiver would take now."""
        state = self._streams[stream]
        return state.window.room if state.opened else 0

    def durable(self, stream: int) -> int:
        """The receiver answers for every message of the stream below this number."""
        return self._streams[stream].window.durable

    def unacknowledged(self, stream: int) -> int:
        """Messages held until the receiver answers for them."""
        return self._streams[stream].window.unacknowledged

    def dropped(self, stream: int) -> int:
        """Messages given up because the outbox was full."""
        return self._streams[stream].dropped

    @property
    def connected(self) -> bool:
        """Whether the receiver has been heard lately."""
        return self._receiver is not None and not self._silent

    def send(self, stream: int, message: Message, seq: int | None = None) -> None:
        """Hand over a message; it goes out as soon as the receiver grants it.

        An `End` does not use up its number: `reopen`, here or after a restart, goes on at it.
        Raises LinkError where `seq` leaves a gap.
        """
        state = self._streams[stream]
        end = isinstance(message, End) and not state.live
        state.window.push(encode(message), None if state.live else seq, end=end)
        self._transmit(stream, state)
        while state.live and state.window.unsent > state.outbox and state.window.drop_oldest_unsent():
            state.dropped += 1

    def report(self, message: Report) -> None:
        """Send a report outside every stream, if the way is free."""
        self._put(Envelope(Kind.REPORT), encode(message))

    def clock_was_set(self) -> None:
        """Measure anew how far the receiver's clock is from ours, at once: ours was set."""
        self.clock.reset()
        self._pinged_at_s = float("-inf")

    def poll(self) -> None:
        """Take in what the receiver said, send what may be sent, ask where there is doubt.

        Raises StreamRefusedError when the receiver refuses a stream, which is then forgotten here: call again
        for the others.  Raises LinkError where the receiver wants what is no longer held.
        """
        for _ in range(MOST_AT_ONCE):
            try:
                frames = receive_frames(self.socket, small=1)
            except zmq.Again:
                break
            try:
                self._take_in(*envelope.unpack(bytes(frames[0])))
            except MessageError:
                self.rejected += 1
        now_s = self._monotonic_s()
        if now_s - self._pinged_at_s >= PING_EVERY_S:
            self._pinged_at_s = now_s
            self._put(Envelope(Kind.PING, seq=now_ns(), a=self.clock.offset_ns))
        self._note_silence(now_s)
        for number, state in self._streams.items():
            if not state.opened and now_s - state.asked_at_s > ASK_AGAIN_S:
                self._ask(number)
            self._transmit(number, state)

    def close(self) -> None:
        """Close the socket; what is unacknowledged is forgotten here."""
        self.socket.close()

    def _take_in(self, got: Envelope, rest: bytes) -> None:
        self._heard_at_s = self._monotonic_s()
        if got.kind is Kind.PONG:
            self._take_pong(got)
            return
        if got.kind is Kind.REFUSE:
            self._take_refusal(got, rest.decode(errors="replace"))
            return
        state = self._streams.get(got.stream)
        if state is None or state.session != got.session:
            return
        if got.kind is Kind.REOPEN:
            if self._monotonic_s() - state.asked_at_s > 0.1 or state.opened:
                self._ask(got.stream)
        elif got.kind is Kind.ACCEPT:
            if not state.opened:  # otherwise it answers an asking that was answered before
                self._go_on(got, state)
        elif got.kind is Kind.ACK:
            if state.opened:
                state.told_at_ns = now_ns()
                before = state.window.durable
                if state.window.acknowledged(got.seq, got.a, got.b):
                    state.news_at_ns = state.told_at_ns
                self.acknowledged += state.window.durable - before
        else:
            raise MessageError("an envelope that only a sender sends")

    def _take_refusal(self, got: Envelope, reason: str) -> None:
        state = self._streams.get(got.stream)
        if state is None or state.session != got.session:
            return
        if got.a == Refusal.ASK_LATER:
            state.opened = False
            if not state.put_off:
                log.warning("%s at %s: %s Asking again every second", self._name, self._address, reason)
            state.put_off = True
            return
        del self._streams[got.stream]
        raise StreamRefusedError(
            got.stream,
            f"{self._name} at {self._address} refused: {reason}",
            permanent=got.a != Refusal.START_AGAIN,
        )

    def _take_pong(self, got: Envelope) -> None:
        if got.a < 0:
            raise MessageError("a clock before 1970")
        before_ns = self.clock.offset_ns
        self.clock.add(got.seq, got.a, now_ns())
        if abs(self.clock.offset_ns - before_ns) > NEGLIGIBLE_NS:
            self._pinged_at_s = float("-inf")  # the receiver hears of it before the next message
        if self._receiver not in (None, got.session):
            log.info("%s restarted: sending again what it had not acknowledged", self._name)
            for number in self._streams:
                self._ask(number)
        self._receiver = got.session
        self._look_for_losses(pinged_at_ns=got.seq)

    def _go_on(self, got: Envelope, state: _Stream) -> None:
        if got.seq < state.window.oldest:
            raise LinkError(
                f"{self._name} at {self._address} wants stream {got.stream} from {got.seq} on, but has "
                f"answered for everything below {state.window.durable}: start this program again"
            )
        state.window.accepted(got.seq, got.a, got.b)
        state.opened = True
        state.put_off = False
        state.told_at_ns = state.news_at_ns = now_ns()

    def _look_for_losses(self, pinged_at_ns: int) -> None:
        # A receiver tells how far each stream of ours is before it answers a ping, and all keep their order
        # on the way.  So what was sent before the ping, and is not reported before its answer, is lost; and
        # a stream of which nothing is told is not known there as ours: the connection is a new one.
        for number, state in self._streams.items():
            lost = state.window.in_doubt and state.news_at_ns < pinged_at_ns
            if state.opened and lost:
                self._count_loss(number, state)
            if state.opened and (lost or state.told_at_ns < pinged_at_ns):
                self._ask(number)

    def _count_loss(self, stream: int, state: _Stream) -> None:
        seq, (last, times) = state.window.arrived, state.lost
        times = times + 1 if seq == last else 1
        state.lost = seq, times
        message = state.window.held(seq)
        if times >= LOSSES_OF_ONE and seq != state.reported and message is not None:
            state.reported = seq
            log.error(
                "message %d of stream %d (%s) was sent %d times to %s at %s and never arrived, because the "
                "connection breaks each time. Run the same release of tracking-system on both machines, and "
                "look whether anything between them (a proxy, a firewall) limits the size of messages. It is "
                "sent again until it arrives",
                seq,
                stream,
                described(message),
                times,
                self._name,
                self._address,
            )

    def _ask(self, stream: int) -> None:
        state = self._streams[stream]
        state.opened = False
        state.asked_at_s = self._monotonic_s()
        flags = LIVE * state.live | HAS_END * state.window.has_end
        self._put(
            Envelope(Kind.OPEN, stream, state.session, seq=state.window.oldest, a=flags, b=self._began_ns)
        )

    def _transmit(self, stream: int, state: _Stream) -> None:
        if not state.opened:
            return
        for seq, frames in state.window.sendable():
            if state.window.in_doubt and state.window.arrived == seq:
                state.news_at_ns = now_ns()  # the first in flight starts the wait for news
            if not self._put(Envelope(Kind.DATA, stream, state.session, seq), frames):
                state.window.unsend(seq)
                return

    def _put(self, what: Envelope, frames: list[Buffer] | None = None) -> bool:
        head = what.pack()
        try:
            send_frames(self.socket, [head + frames[0], *frames[1:]] if frames else [head])
        except zmq.Again:
            return False
        return True

    def _note_silence(self, now_s: float) -> None:
        silent = now_s - self._heard_at_s > SILENCE_S
        if silent != self._silent:
            self._silent = silent
            if silent:
                log.warning("%s at %s does not answer; trying on", self._name, self._address)
            else:
                log.info("%s at %s answers", self._name, self._address)
