"""Feeds: whoever listens gets what passes, and nobody waits for anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from shared.errors import LinkError
from shared.feed import EVERYONE, FEED_HIGH_WATER_MARK, FeedPublisher, FeedRelay, FeedSubscriber, _topic_bytes
from shared.messages import Followed, Message
from tests.shared.samples import index_of, numbered
from tests.shared.wire import Context, pump_until


@pytest.fixture
def relay(context: Context, tmp_path: Path) -> Iterator[FeedRelay]:
    relay = FeedRelay(context, f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out")
    yield relay
    relay.close()


def collect(subscriber: FeedSubscriber, into: list[Message]) -> None:
    subscriber.socket.poll(1)
    into.extend(subscriber.receive())


def test_only_the_topics_asked_for_arrive(context: Context, ipc: str) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    subscriber = FeedSubscriber(context, ipc, [2, EVERYONE])
    everything = FeedSubscriber(context, ipc)
    pump_until(lambda: publisher.watched(2) and publisher.watched(1) and publisher.watched(EVERYONE))
    for camera in (1, 2, 3):
        publisher.publish(camera, numbered(camera, camera))
    publisher.publish(EVERYONE, Followed())
    some: list[Message] = []
    all_: list[Message] = []
    pump_until(lambda: len(all_) == 4, lambda: collect(everything, all_))
    pump_until(lambda: len(some) == 2, lambda: collect(subscriber, some))
    assert index_of(some[0]) == 2
    assert some[1] == Followed()
    assert [index_of(message) for message in all_[:3]] == [1, 2, 3]


def test_a_topic_is_watched_from_the_first_subscriber_to_the_last(context: Context, ipc: str) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    assert not publisher.watched(1)
    first, second = (FeedSubscriber(context, ipc, [1]) for _ in range(2))
    pump_until(lambda: publisher.watched(1))
    assert not publisher.watched(2)
    first.close()
    second_alone = FeedSubscriber(context, ipc, [2])
    pump_until(lambda: publisher.watched(2))
    assert publisher.watched(1)
    second.close()
    pump_until(lambda: not publisher.watched(1))
    assert publisher.watched(2)
    second_alone.close()
    pump_until(lambda: not publisher.watched(2))


def test_every_newcomer_is_told_of_once(context: Context, ipc: str) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    for _ in range(3):
        FeedSubscriber(context, ipc, [EVERYONE, 5])
        seen: set[int] = set()

        def look(seen: set[int] = seen) -> None:
            seen |= publisher.newcomers()

        pump_until(lambda seen=seen: seen == {EVERYONE, 5}, look)  # type: ignore[misc]
        assert publisher.newcomers() == set()


def test_subscriptions_and_messages_pass_through_a_relay(
    context: Context, tmp_path: Path, relay: FeedRelay
) -> None:
    publishers = [FeedPublisher(context, f"ipc://{tmp_path}/in", bind=False) for _ in range(2)]
    subscriber = FeedSubscriber(context, f"ipc://{tmp_path}/out", [1])
    pump_until(lambda: all(publisher.watched(1) for publisher in publishers))
    assert not publishers[0].watched(2)
    publishers[0].publish(1, numbered(8))
    publishers[1].publish(2, numbered(9, 2))
    publishers[0].publish(1, numbered(10))
    got: list[Message] = []
    pump_until(lambda: len(got) == 2, lambda: collect(subscriber, got))
    assert [index_of(message) for message in got] == [8, 10]
    subscriber.close()
    pump_until(lambda: not any(publisher.watched(1) for publisher in publishers))


def test_nothing_is_watched_any_more_when_the_relay_has_gone(context: Context, tmp_path: Path) -> None:
    relay = FeedRelay(context, f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out")
    publisher = FeedPublisher(context, f"ipc://{tmp_path}/in", bind=False)
    subscriber = FeedSubscriber(context, f"ipc://{tmp_path}/out")
    pump_until(lambda: publisher.watched(1))
    subscriber.close()
    relay.close()
    pump_until(lambda: not publisher.watched(1))


def test_a_relay_that_restarts_is_found_again_by_both_sides(context: Context, tmp_path: Path) -> None:
    relay = FeedRelay(context, f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out")
    publisher = FeedPublisher(context, f"ipc://{tmp_path}/in", bind=False)
    subscriber = FeedSubscriber(context, f"ipc://{tmp_path}/out", [1])
    pump_until(lambda: publisher.watched(1))
    relay.close()
    pump_until(lambda: not publisher.watched(1))
    relays: list[FeedRelay] = []

    def start() -> None:
        try:
            relays.append(FeedRelay(context, f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"))
        except LinkError:
            return  # the addresses are given back by another thread, in its own time

    pump_until(lambda: bool(relays), start)
    pump_until(lambda: publisher.watched(1), subscriber.receive)
    publisher.publish(1, numbered(5))
    got: list[Message] = []
    pump_until(lambda: len(got) == 1, lambda: collect(subscriber, got))
    relays[0].close()


def test_a_relay_that_cannot_have_its_second_address_gives_back_the_first(
    context: Context, tmp_path: Path
) -> None:
    with pytest.raises(LinkError, match="cannot bind tcp://nowhere"):
        FeedRelay(context, f"ipc://{tmp_path}/in", "tcp://nowhere")
    relays: list[FeedRelay] = []

    def start() -> None:
        try:
            relays.append(FeedRelay(context, f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"))
        except LinkError:
            return

    pump_until(lambda: bool(relays), start)
    relays[0].close()


def test_a_subscriber_that_does_not_read_holds_up_neither_publisher_nor_the_others(
    context: Context, ipc: str
) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    slow = FeedSubscriber(context, ipc, [1])
    pump_until(lambda: publisher.watched(1))
    quick = FeedSubscriber(context, ipc, [1])
    pump_until(lambda: publisher.newcomers() == {1})
    total, got = 8 * FEED_HIGH_WATER_MARK, []  # type: tuple[int, list[Message]]
    jpeg = bytes(10_000)
    for index in range(total):
        publisher.publish(1, numbered(index, jpeg=jpeg))
        if index % 50 == 0:
            collect(quick, got)
    pump_until(lambda: bool(got) and index_of(got[-1]) == total - 1, lambda: collect(quick, got))
    late: list[Message] = []
    pump_until(lambda: bool(late), lambda: collect(slow, late))
    while (more := slow.receive()) or slow.socket.poll(50):
        late.extend(more)
    assert index_of(late[0]) == 0
    assert len(late) < total


def test_malformed_messages_are_left_out_and_counted(context: Context, ipc: str) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    subscriber = FeedSubscriber(context, ipc, [1])
    pump_until(lambda: publisher.watched(1))
    topic = _topic_bytes(1)
    for garbage in ([topic], [topic, b"garbage"], [topic, b"", b""], [topic + b"more", b"x"]):
        publisher.socket.send_multipart(garbage)
    publisher.publish(1, numbered(3))
    got: list[Message] = []
    pump_until(lambda: len(got) == 1, lambda: collect(subscriber, got))
    assert index_of(got[0]) == 3
    assert subscriber.rejected == 4


def test_subscriptions_to_what_is_no_topic_take_no_memory(context: Context, ipc: str) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    stranger = context.socket(zmq.XSUB)
    stranger.connect(ipc)
    for number in range(500):
        stranger.send(b"\x01" + b"TSFx%d" % number)
    stranger.send(b"\x01" + _topic_bytes(4))
    pump_until(lambda: publisher.watched(4))
    assert publisher.rejected == 500
    assert len(publisher._watched) == 1
    assert not publisher.watched(5)
