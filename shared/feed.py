"""Best-effort feeds: whoever listens gets what passes, and nobody waits for anybody.

A topic is a camera's id, or `EVERYONE`.  The publisher knows what is being watched, so that nothing
needs to be made for topics nobody listens to.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Iterable

import zmq

from shared.codec import decode, encode
from shared.errors import MessageError
from shared.limits import MAX_TOPICS
from shared.messages import Message
from shared.sockets import open_socket

log = logging.getLogger(__name__)

EVERYONE = 0
"""The topic of messages that do not belong to one camera."""

FEED_HIGH_WATER_MARK = 512
MOST_AT_ONCE = 256

_TOPIC = struct.Struct(">4sI")
_MAGIC = b"TSF1"


def _topic_bytes(topic: int) -> bytes:
    return _TOPIC.pack(_MAGIC, topic)


def _could_be_topic(prefix: bytes) -> bool:
    return len(prefix) <= _TOPIC.size and _MAGIC.startswith(prefix[: len(_MAGIC)])


class FeedPublisher:
    """The sending end of a feed; used from one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, bind: bool) -> None:
        # Immediate: when a relay goes, its subscriptions go with it.
        self.socket = open_socket(
            context, zmq.XPUB, address, bind=bind, high_water_mark=FEED_HIGH_WATER_MARK, immediate=True
        )
        # Every subscription is seen, not only each topic's first: newcomers are sent the last state.
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.rejected = 0
        self._unsendable = False
        self._watched: set[bytes] = set()
        self._newcomers: set[int] = set()

    def publish(self, topic: int, message: Message) -> None:
        """Send to whoever subscribed to the topic; dropped for those whose queue is full.

        A message that no subscriber would take is counted in `rejected`, and the first one is logged.
        """
        try:
            frames = encode(message)
        except MessageError as error:
            if not self._unsendable:
                log.error("viewers are not sent %s", error)
            self._unsendable = True
            self.rejected += 1
            return
        self.socket.send_multipart([_topic_bytes(topic), *frames], copy=False)

    def watched(self, topic: int) -> bool:
        """Whether anybody listens to this topic now."""
        self._read_subscriptions()
        wanted = _topic_bytes(topic)
        return any(wanted[:length] in self._watched for length in range(len(wanted) + 1))

    def newcomers(self) -> set[int]:
        """Topics that somebody subscribed to since the last call."""
        self._read_subscriptions()
        newcomers, self._newcomers = self._newcomers, set()
        return newcomers

    def _read_subscriptions(self) -> None:
        while True:
            try:
                note = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            prefix = note[1:]
            too_many = len(self._watched) >= MAX_TOPICS and prefix not in self._watched
            if too_many or not _could_be_topic(prefix):
                self.rejected += 1
            elif note.startswith(b"\x01"):
                self._watched.add(prefix)
                if len(prefix) == _TOPIC.size and len(self._newcomers) < MAX_TOPICS:
                    self._newcomers.add(_TOPIC.unpack(prefix)[1])
            elif note.startswith(b"\x00"):
                self._watched.discard(prefix)

    def close(self) -> None:
        """Drop what is still queued and close."""
        self.socket.close()


class FeedSubscriber:
    """The receiving end of a feed; used from one thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topics: Iterable[int] | None = None,
    ) -> None:
        self.socket = open_socket(context, zmq.SUB, address, bind=False, high_water_mark=FEED_HIGH_WATER_MARK)
        self.rejected = 0
        for prefix in [_MAGIC] if topics is None else [_topic_bytes(topic) for topic in topics]:
            self.socket.subscribe(prefix)

    def receive(self) -> list[Message]:
        """What has arrived, oldest first, at most `MOST_AT_ONCE`; never waits.

        Malformed messages are left out and counted in `rejected`.
        """
        messages: list[Message] = []
        for _ in range(MOST_AT_ONCE):
            try:
                _, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                messages.append(decode(frames))
            except MessageError:
                self.rejected += 1
        return messages

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class FeedRelay:
    """Where many publishers and many subscribers meet: both connect, this binds.

    Subscriptions travel through to the publishers, so those still know what is watched.  Runs in a
    thread of its own until closed.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], publishers: str, subscribers: str) -> None:
        self._inward = _bound(context, zmq.XSUB, publishers)
        try:
            self._outward = _bound(context, zmq.XPUB, subscribers)
        except BaseException:
            self._inward.close()
            raise
        self.rejected = 0
        stop_address = f"inproc://feed-relay-{id(self)}"
        self._stop = context.socket(zmq.PAIR)
        self._stop.bind(stop_address)
        self._stopped = context.socket(zmq.PAIR)
        self._stopped.connect(stop_address)
        self._thread = threading.Thread(target=self._run, name="feed-relay", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                zmq.proxy_steerable(self._inward, self._outward, control=self._stopped)
            except zmq.Again:
                # A stranger's message whose last part is a repeated subscription: XPUB swallows that part,
                # and the proxy, which was promised one more, gives up.
                self.rejected += 1
            else:
                return

    def close(self) -> None:
        """End the thread and close the sockets."""
        self._stop.send(b"TERMINATE")
        self._thread.join()
        for socket in (self._stop, self._stopped, self._inward, self._outward):
            socket.close(linger=0)


def _bound(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str) -> zmq.Socket[bytes]:
    return open_socket(context, kind, address, bind=True, high_water_mark=FEED_HIGH_WATER_MARK)
