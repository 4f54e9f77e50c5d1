"""Garbage to every bound socket: counted and dropped, and a well-behaved peer gets everything, once."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import msgpack
import pytest
import zmq

from shared.codec import encode
from shared.envelope import Envelope, Kind
from shared.feed import FeedPublisher, FeedRelay, FeedSubscriber, _topic_bytes
from shared.link_receiver import Delivered, LinkReceiver, Opened
from shared.link_sender import LinkSender
from shared.messages import PROTOCOL_VERSION, Message
from shared.request import Fields, Responder, integer
from tests.shared.samples import index_of, numbered, one_of_each
from tests.shared.wire import Context, free_port, pump_until

MESSAGES = 10_000
ROUND = 50
"""Garbage sent between two looks of the victim."""


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    yield context
    context.destroy(linger=0)


def mutated(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    """The frames with some damage done to them."""
    damaged = [bytearray(frame) for frame in frames]
    for _ in range(rng.randint(1, 3)):
        frame = rng.choice(damaged)
        match rng.randrange(5):
            case 0 | 1 if frame:
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            case 2:
                del frame[rng.randint(0, len(frame)) :]
            case 3:
                frame.extend(rng.randbytes(rng.randint(1, 9)))
            case _:
                rng.shuffle(damaged)
    return [bytes(frame) for frame in damaged]


def noise(rng: random.Random) -> list[bytes]:
    """A message of random parts."""
    return [rng.randbytes(rng.choice((0, 1, 4, 8, 40, 41, 200))) for _ in range(rng.randint(1, 5))]


def bad_link_message(rng: random.Random, samples: list[list[bytes]]) -> list[bytes]:
    """Noise, or an envelope of any kind for any stream but the good one, with a damaged message in it."""
    if rng.random() < 0.3:
        return noise(rng)
    stream = rng.choice((2, 3, rng.randrange(2, 1 << 32)))
    numbers = [rng.choice((0, 1, 7, rng.getrandbits(63), -1)) for _ in range(4)]
    envelope = Envelope(rng.choice(list(Kind)), stream, *numbers).pack()
    header, *buffers = rng.choice(samples)
    frames = [envelope + header, *buffers]
    return mutated(rng, frames) if rng.random() < 0.6 else frames


def bad_request(rng: random.Random) -> list[bytes]:
    """Noise, or a damaged request."""
    if rng.random() < 0.3:
        return noise(rng)
    fields: dict[str, object] = {"value": rng.choice((1, "x", None, 1 << 63, [[]], {}))}
    operation: object = rng.choice(("double", "x", 5, [[[]]], None))
    body = msgpack.packb({"v": rng.choice((PROTOCOL_VERSION, 9)), "op": operation, "f": fields})
    return mutated(rng, [rng.randbytes(8), body])


def raw_garbage(port: int, rng: random.Random) -> None:
    """Connections that do not even speak ZeroMQ's protocol, or only begin to."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    for beginning in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff", greeting[:20], greeting, b"\x00" * 64):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(beginning + rng.randbytes(rng.randint(0, 500)))


def insist(attacker: zmq.Socket[bytes], frames: list[bytes], let_it_read: Callable[[], object]) -> None:
    """Send, and let the victim read where its queue is full; what it answers is thrown away."""

    def sent() -> bool:
        try:
            attacker.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    pump_until(sent, let_it_read)
    while attacker.poll(0):
        attacker.recv_multipart()


def samples() -> list[list[bytes]]:
    return [[bytes(frame) for frame in encode(message)] for message in one_of_each()]


def test_a_links_receiver_drops_and_counts_garbage_and_its_good_stream_arrives_once(context: Context) -> None:
    rng, port = random.Random(1), free_port()
    receiver = LinkReceiver(context, f"tcp://127.0.0.1:{port}")
    sender = LinkSender(context, f"tcp://127.0.0.1:{port}", name="the victim")
    sender.open(1, 7, live=False)
    arrived: list[int] = []

    def receive() -> None:
        for event in receiver.receive():
            if isinstance(event, Opened):
                if event.stream in (1, 2, 3):
                    receiver.accept(event.stream, min(event.first, 1 << 62), 8)
                else:
                    receiver.refuse(event.stream, "not configured")
            elif isinstance(event, Delivered) and event.stream == 1:
                arrived.append(index_of(event.message))
                receiver.acknowledge(event.stream, event.session, event.seq)
        receiver.flush()

    def work() -> None:
        sender.poll()
        while sender.room(1) and (at := sender.position(1)) is not None:
            sender.send(1, numbered(at), at)
        receive()

    attackers = [context.socket(zmq.DEALER) for _ in range(4)]
    for attacker in attackers:
        attacker.connect(f"tcp://127.0.0.1:{port}")
    good = samples()
    for number in range(MESSAGES):
        insist(rng.choice(attackers), bad_link_message(rng, good), work)
        if number % ROUND == 0:
            work()
        if number % 1000 == 0:
            raw_garbage(port, rng)
    for attacker in attackers:
        attacker.close(linger=0)
    during = len(arrived)
    pump_until(lambda: len(arrived) >= during + 1000, work)
    assert receiver.rejected > MESSAGES // 4
    assert arrived == list(range(len(arrived)))


def test_a_responder_drops_and_counts_garbage_and_answers_the_good_request(context: Context) -> None:
    rng, port = random.Random(2), free_port()

    def double(fields: Fields) -> Fields:
        return {"value": 2 * integer(fields, "value")}

    responder = Responder(context, f"tcp://127.0.0.1:{port}", {"double": double})
    attacker = context.socket(zmq.DEALER)
    attacker.connect(f"tcp://127.0.0.1:{port}")
    for number in range(MESSAGES):
        insist(attacker, bad_request(rng), responder.serve)
        if number % ROUND == 0:
            responder.serve()
        if number % 1000 == 0:
            raw_garbage(port, rng)
    attacker.close(linger=0)
    while responder.socket.poll(50):
        responder.serve()
    assert responder.rejected > MESSAGES // 2
    good = context.socket(zmq.DEALER)
    good.connect(f"tcp://127.0.0.1:{port}")
    for value in range(100):
        body = msgpack.packb({"v": PROTOCOL_VERSION, "op": "double", "f": {"value": value}})
        good.send_multipart([b"%d" % value, body])
    answers: list[list[bytes]] = []

    def read() -> None:
        responder.serve()
        if good.poll(1):
            answers.append(good.recv_multipart())

    pump_until(lambda: len(answers) == 100, read)
    assert [(int(n), msgpack.unpackb(b)["f"]["value"]) for n, b in answers] == [
        (n, 2 * n) for n in range(100)
    ]


def bad_feed_message(rng: random.Random, good: list[list[bytes]]) -> list[bytes]:
    """Noise, or a damaged message under a topic that is watched or none."""
    if rng.random() < 0.3:
        return noise(rng)
    return [_topic_bytes(rng.choice((1, 9))), *mutated(rng, rng.choice(good))]


def bad_subscription(rng: random.Random) -> list[bytes]:
    """Subscriptions to and from anything, and what is none."""
    prefix = rng.choice((b"", b"T", b"TSF1", _topic_bytes(rng.randrange(1 << 32)), rng.randbytes(9)))
    return [
        rng.choice((b"\x00", b"\x01", b"\x02", b"")) + prefix,
        *(noise(rng) if rng.random() < 0.2 else []),
    ]


def good_frames_arrive(publisher: FeedPublisher, subscriber: FeedSubscriber) -> None:
    """The marked frames, published one by one, arrive once and in order among whatever else does."""
    got: list[Message] = []

    def read() -> None:
        subscriber.socket.poll(1)
        got.extend(subscriber.receive())

    def marked() -> list[int]:
        return [i for m in got if type(m) is type(numbered(0)) and (i := index_of(m)) >= 1_000_000]

    pump_until(lambda: publisher.watched(1), read)
    for index in range(1_000_000, 1_000_100):
        publisher.publish(1, numbered(index))
    pump_until(lambda: len(marked()) >= 100, read)
    assert marked() == list(range(1_000_000, 1_000_100))


def test_a_relay_outlives_garbage_on_both_sides(context: Context) -> None:
    rng, inward, outward = random.Random(3), free_port(), free_port()
    relay = FeedRelay(context, f"tcp://127.0.0.1:{inward}", f"tcp://127.0.0.1:{outward}")
    try:
        subscriber = FeedSubscriber(context, f"tcp://127.0.0.1:{outward}", [1])
        publisher = FeedPublisher(context, f"tcp://127.0.0.1:{inward}", bind=False)
        pump_until(lambda: publisher.watched(1))
        forger, stranger = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
        forger.connect(f"tcp://127.0.0.1:{inward}")
        stranger.connect(f"tcp://127.0.0.1:{outward}")
        pump_until(lambda: bool(forger.poll(1)))
        good = samples()
        for number in range(MESSAGES):
            insist(forger, bad_feed_message(rng, good), subscriber.receive)
            insist(stranger, bad_subscription(rng), subscriber.receive)
            if number % ROUND == 0:
                subscriber.receive()
                publisher.watched(1)
            if number % 1000 == 0:
                raw_garbage(inward, rng)
                raw_garbage(outward, rng)
        pump_until(lambda: subscriber.rejected > 0, subscriber.receive)
        good_frames_arrive(publisher, subscriber)
        newcomer = FeedSubscriber(context, f"tcp://127.0.0.1:{outward}", [77])
        pump_until(lambda: publisher.watched(77), newcomer.receive)
    finally:
        relay.close()


def test_a_relay_outlives_a_message_that_promises_a_part_which_never_comes(context: Context) -> None:
    inward, outward = free_port(), free_port()
    relay = FeedRelay(context, f"tcp://127.0.0.1:{inward}", f"tcp://127.0.0.1:{outward}")
    try:
        subscriber = FeedSubscriber(context, f"tcp://127.0.0.1:{outward}", [1])
        publisher = FeedPublisher(context, f"tcp://127.0.0.1:{inward}", bind=False)
        pump_until(lambda: publisher.watched(1))
        for round_ in range(1, 4):
            stranger = context.socket(zmq.XSUB)
            stranger.connect(f"tcp://127.0.0.1:{outward}")
            stranger.send_multipart([b"\x02", b"\x01" + _topic_bytes(1)])
            pump_until(lambda round_=round_: relay.rejected >= round_)  # type: ignore[misc]
        good_frames_arrive(publisher, subscriber)
    finally:
        relay.close()


def test_a_bound_publisher_outlives_garbage(context: Context) -> None:
    rng, port = random.Random(4), free_port()
    publisher = FeedPublisher(context, f"tcp://127.0.0.1:{port}", bind=True)
    subscriber = FeedSubscriber(context, f"tcp://127.0.0.1:{port}", [1])
    stranger = context.socket(zmq.XSUB)
    stranger.connect(f"tcp://127.0.0.1:{port}")
    for number in range(MESSAGES):
        insist(stranger, bad_subscription(rng), publisher.newcomers)
        if number % ROUND == 0:
            publisher.watched(1)
        if number % 1000 == 0:
            raw_garbage(port, rng)
    stranger.close(linger=0)
    pump_until(lambda: publisher.rejected > 1000 and not publisher.watched(5))
    good_frames_arrive(publisher, subscriber)
    assert len(publisher._watched) == 1
