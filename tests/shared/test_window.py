"""The two windows driven through a channel that loses, repeats and reorders, and restarts of both ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.errors import LinkError
from shared.window import Arrival, ReceiveWindow, SendWindow


class LossyLink(RuleBasedStateMachine):
    """A source of numbered messages, a window on each side, and a channel that does what it likes.

    The source can make any message again (a recording); `disk` survives the receiver's restarts.
    """

    TOTAL = 40

    @initialize(size=st.integers(1, 8))
    def start(self, size: int) -> None:
        self.size = size
        self.disk: list[int] = []
        self.delivered: list[int] = []
        self.channel: list[tuple[int, int]] = []
        self.answers: list[tuple[int, int, int]] = []
        self.sender: SendWindow[int] = SendWindow()
        self.receiver = ReceiveWindow(0, size)
        self.open()

    def open(self) -> None:
        self.sender.accepted(self.receiver.durable, self.receiver.arrived, self.receiver.limit)

    @rule(count=st.integers(1, 10))
    def make_messages(self, count: int) -> None:
        for _ in range(count):
            if self.sender.next < self.TOTAL and self.sender.room:
                self.sender.push(self.sender.next * 10, self.sender.next)

    @rule()
    def transmit(self) -> None:
        self.channel.extend(self.sender.sendable())

    @rule(data=st.data())
    def arrive_in_any_order(self, data: Any) -> None:
        if not self.channel:
            return
        place = data.draw(st.integers(0, len(self.channel) - 1))
        seq, message = self.channel[place]
        if data.draw(st.booleans()):  # otherwise it stays and arrives again
            del self.channel[place]
        if self.receiver.arrive(seq) is Arrival.NEXT:
            assert message == seq * 10
            self.delivered.append(seq)

    @rule(data=st.data())
    def lose_some(self, data: Any) -> None:
        self.channel = [m for m in self.channel if data.draw(st.booleans())]

    @rule(count=st.integers(1, 10))
    def write_to_disk(self, count: int) -> None:
        for seq in self.delivered[:count]:
            self.disk.append(seq)
            self.receiver.acknowledge(seq)
        del self.delivered[:count]
        self.answers.append((self.receiver.durable, self.receiver.arrived, self.receiver.limit))

    @rule(data=st.data())
    def hear_an_answer(self, data: Any) -> None:
        if self.answers:
            self.sender.acknowledged(*self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1))))

    @rule()
    def ask_where_the_receiver_stands(self) -> None:
        self.open()

    @rule()
    def restart_the_receiver(self) -> None:
        self.delivered.clear()
        self.answers.clear()  # the connection they would have come on is gone
        self.channel.clear()
        self.receiver = ReceiveWindow(len(self.disk), self.size)
        self.open()

    @rule()
    def restart_the_sender(self) -> None:
        self.answers.clear()
        self.channel.clear()
        self.sender = SendWindow()
        self.open()

    @invariant()
    def every_message_is_on_disk_once_and_in_order(self) -> None:
        if hasattr(self, "disk"):
            assert self.disk == list(range(len(self.disk)))

    @invariant()
    def the_sender_never_exceeds_its_credit(self) -> None:
        if hasattr(self, "sender"):
            assert self.sender.unacknowledged <= self.size
            assert self.sender.next <= self.sender.limit

    def teardown(self) -> None:
        if not hasattr(self, "disk"):
            return
        for _ in range(self.TOTAL * 4):  # once the channel is good again, all of it arrives
            self.make_messages(self.TOTAL)
            self.sender.unsend(self.sender.arrived)
            for seq, _ in self.sender.sendable():
                if self.receiver.arrive(seq) is Arrival.NEXT:
                    self.delivered.append(seq)
            self.write_to_disk(self.TOTAL)
            self.open()
        assert self.disk == list(range(self.TOTAL))


TestLossyLink = LossyLink.TestCase
TestLossyLink.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_sender_that_lost_its_memory_goes_on_where_the_receiver_stands() -> None:
    window: SendWindow[str] = SendWindow()
    window.accepted(durable=7, arrived=9, limit=12)
    assert window.next == 7
    assert window.room == 5


def test_a_message_made_again_after_a_restart_is_not_sent_twice() -> None:
    window: SendWindow[str] = SendWindow(5)
    window.accepted(5, 5, 10)
    assert window.push("again", 3) == 3
    assert list(window.sendable()) == []


def test_a_gap_in_what_is_pushed_is_an_error() -> None:
    window: SendWindow[str] = SendWindow()
    with pytest.raises(LinkError, match="message 2 pushed where 0 is next"):
        window.push("too far", 2)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 10))
def test_a_receiver_delivers_each_number_once_and_in_order_whatever_comes(
    numbers: list[int], size: int
) -> None:
    window = ReceiveWindow(0, size)
    delivered = []
    for seq in numbers:
        if window.arrive(seq) is Arrival.NEXT:
            delivered.append(seq)
            window.acknowledge(seq)
    assert delivered == list(range(len(delivered)))


@given(st.integers(0, 10**18), st.integers(0, 10**18), st.integers(0, 10**18))
def test_an_acknowledgement_of_what_was_never_sent_loses_nothing(
    durable: int, arrived: int, limit: int
) -> None:
    window: SendWindow[int] = SendWindow()
    window.accepted(0, 0, 4)
    for seq in range(3):
        window.push(seq, seq)
    window.acknowledged(durable, arrived, limit)
    window.unsend(window.arrived)
    assert [seq for seq, _ in window.sendable()] == [0, 1, 2]


def test_the_oldest_unsent_message_makes_place_and_what_is_on_its_way_stays() -> None:
    window: SendWindow[str] = SendWindow()
    window.accepted(0, 0, 1)
    for message in "abcd":
        window.push(message)
    assert list(window.sendable()) == [(0, "a")]
    assert window.drop_oldest_unsent()
    window.acknowledged(1, 1, 10)
    assert list(window.sendable()) == [(1, "c"), (2, "d")]
    assert not window.drop_oldest_unsent()


def ended() -> SendWindow[str]:
    """Two messages and the end, all durable."""
    window: SendWindow[str] = SendWindow()
    window.accepted(0, 0, 8)
    for message in ("a", "b"):
        window.push(message)
    window.push("end", 2, end=True)
    list(window.sendable())
    window.acknowledged(3, 3, 11)
    return window


def test_an_end_is_answered_for_and_does_not_use_up_its_number() -> None:
    window = ended()
    assert (window.durable, window.unacknowledged, window.oldest) == (3, 0, 2)
    window.take_back_end()
    assert (window.durable, window.next, window.oldest, window.has_end) == (2, 2, 2, False)
    window.accepted(2, 2, 10)
    assert window.push("c", 2) == 2
    assert list(window.sendable()) == [(2, "c")]


def test_an_end_that_is_on_its_way_can_be_taken_back() -> None:
    window: SendWindow[str] = SendWindow()
    window.accepted(0, 0, 8)
    window.push("a")
    window.push("end", end=True)
    list(window.sendable())
    window.take_back_end()
    window.accepted(0, 1, 8)
    window.push("b", 1)
    assert list(window.sendable()) == [(1, "b")]


def test_a_receiver_that_has_lost_the_end_is_sent_it_again() -> None:
    window = ended()
    window.accepted(2, 2, 10)
    assert list(window.sendable()) == [(2, "end")]
    assert window.acknowledged(3, 3, 11)
    assert window.unacknowledged == 0
