"""Credit-based flow control with acknowledgement, without sockets or clocks.

The receiver grants a window; the sender never has more than that unacknowledged, keeps what is
unacknowledged, and sends it again when the other side cannot have got it.  Numbers run without gaps in
a stream's session.  Three positions matter, each the number of the first message *not* yet there:
*durable* (the receiver answers for it for good), *arrived* (delivered to the receiver's program, which
may still lose it) and *limit* (may not be sent yet).  Loss is mended go-back-N: a receiver takes only
the next message in order, a sender that suspects loss goes back to what has arrived (Tanenbaum,
Computer Networks, sliding windows); acknowledgement in two positions lets work take long without being
mistaken for loss.

The *end* of a stream has the number behind the last message, and does not use it up: a stream that is opened
again, with more to send, goes on at that number.  The sender keeps the end when it is durable, and sends it
again to a receiver that has restarted.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from shared.errors import LinkError

T = TypeVar("T")


class SendWindow(Generic[T]):
    """The sender's side of one session of one stream."""

    def __init__(self, first: int = 0) -> None:
        self.durable = first
        self.arrived = first
        self.limit = first
        self._sent = first  # everything below is on its way or further
        self._held: deque[T] = deque()  # messages durable .. next - 1
        self._end: tuple[int, T] | None = None  # its number and itself, also when it is durable

    @property
    def next(self) -> int:
        """The number that the next message will have."""
        return self.durable + len(self._held)

    @property
    def room(self) -> int:
        """How many more messages the receiver would take now."""
        return max(0, self.limit - self.next)

    @property
    def unacknowledged(self) -> int:
        """How many messages are held until the receiver answers for them."""
        return len(self._held)

    @property
    def unsent(self) -> int:
        """How many messages wait for the receiver's leave."""
        return self.next - self._sent

    @property
    def in_doubt(self) -> bool:
        """Whether something is on its way that has not been reported to have arrived."""
        return self._sent > self.arrived

    @property
    def oldest(self) -> int:
        """The number of the first message that could be sent again, or would be the next."""
        return self.durable - int(self._end is not None and self._end[0] < self.durable)

    def held(self, seq: int) -> T | None:
        """A message that is not acknowledged yet; None for any other number."""
        return self._held[seq - self.durable] if self.durable <= seq < self.next else None

    @property
    def has_end(self) -> bool:
        """Whether the end of the stream was pushed."""
        return self._end is not None

    def push(self, message: T, seq: int | None = None, *, end: bool = False) -> int:
        """Hold a message for sending; its number.  end: it is the end of the stream, and nothing follows it.

        A `seq` below `next` is a message made again after a restart: it is durable or held already, and
        dropped.  Raises LinkError for one above `next`: something before it is missing.
        """
        if seq is not None and seq < self.next:
            return seq
        if seq is not None and seq > self.next:
            raise LinkError(f"message {seq} pushed where {self.next} is next")
        self._held.append(message)
        if end:
            self._end = (self.next - 1, message)
        return self.next - 1

    def take_back_end(self) -> None:
        """Let the stream go on at the number of its end, if it has one: more messages will follow."""
        if self._end is None:
            return
        number, self._end = self._end[0], None
        if number < self.durable:
            self.durable = number
        else:
            self._held.pop()
        self.arrived = min(self.arrived, number)
        self._sent = min(self._sent, number)

    def drop_oldest_unsent(self) -> bool:
        """Give up the oldest message that was never sent, so that a newer one has place."""
        if not self.unsent:
            return False
        del self._held[self._sent - self.durable]
        return True

    def accepted(self, durable: int, arrived: int, limit: int) -> None:
        """The receiver took the stream up and says where it stands; sending goes on from there."""
        if durable > self.next:  # it has more than we ever made: this program restarted
            self._held.clear()
            self.durable = durable
        if durable == self.oldest < self.durable and self._end is not None:  # it has lost the end
            self.durable = durable
            self._held.append(self._end[1])
        self._forget_below(durable)
        self.arrived = min(max(arrived, self.durable), self.next)
        self._sent = self.arrived
        self.limit = limit

    def acknowledged(self, durable: int, arrived: int, limit: int) -> bool:
        """Take in an acknowledgement; whether it told anything new.

        Numbers that cannot be true (more than was sent) are clipped.
        """
        durable, arrived = min(durable, self._sent), min(arrived, self._sent)
        news = durable > self.durable or arrived > self.arrived or limit > self.limit
        self._forget_below(durable)
        self.arrived = max(self.arrived, arrived, self.durable)
        self.limit = max(self.limit, limit)
        return news

    def sendable(self) -> Iterator[tuple[int, T]]:
        """Messages that may be sent now, in order; each counts as sent once it is taken."""
        while self._sent < min(self.limit, self.next):
            seq = self._sent
            self._sent += 1
            yield seq, self._held[seq - self.durable]

    def unsend(self, seq: int) -> None:
        """The socket did not take this message after all."""
        self._sent = min(self._sent, seq)

    def _forget_below(self, durable: int) -> None:
        while self.durable < durable and self._held:
            self._held.popleft()
            self.durable += 1
        self._sent = max(self._sent, self.durable)


class Arrival(enum.Enum):
    """What the receiver makes of a message's number."""

    NEXT = "next"
    REPEATED = "repeated"
    GAP = "gap"


class ReceiveWindow:
    """The receiver's side of one session of one stream."""

    def __init__(self, first: int, size: int) -> None:
        self.durable = first
        self.arrived = first
        self.size = size

    @property
    def limit(self) -> int:
        """The number from which on nothing may be sent yet."""
        return self.durable + self.size

    def arrive(self, seq: int) -> Arrival:
        """Judge a message by its number; only NEXT is to be delivered."""
        if seq < self.arrived:
            return Arrival.REPEATED
        if seq > self.arrived or seq >= self.limit:
            return Arrival.GAP
        self.arrived += 1
        return Arrival.NEXT

    def take_back_last(self) -> None:
        """Forget the last message that arrived: another one comes under its number."""
        self.arrived -= 1
        self.durable = min(self.durable, self.arrived)

    def acknowledge(self, seq: int) -> None:
        """Answer for everything up to and including `seq`."""
        self.durable = max(self.durable, min(seq + 1, self.arrived))
