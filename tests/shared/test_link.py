"""Links over real sockets: every message once and in order, whatever restarts, breaks or is slow."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import shared.link_receiver
from shared import envelope, link_sender, sockets
from shared.clock import now_ns
from shared.envelope import LIVE, Envelope, Kind, Refusal
from shared.errors import LinkError, StreamRefusedError
from shared.limits import MAX_MESSAGE_BYTES, MAX_PEERS, MAX_STREAMS
from shared.link_receiver import Delivered, Event, LinkReceiver, Opened, Reported, Silent
from shared.link_sender import LinkSender
from shared.messages import Checkpoint, IdentityEvent, Message, Report
from tests.shared.samples import index_of, numbered, report, same
from tests.shared.wire import Context, CuttingProxy, free_port, pump_until


@pytest.fixture(params=["ipc", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/link" if request.param == "ipc" else f"tcp://127.0.0.1:{free_port()}"


class Time:
    """A monotonic clock that tests set forward."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Disk:
    """A receiving program: what is on its disk outlives it."""

    def __init__(self, context: Context, address: str, *, window: int = 8, clock: Time | None = None) -> None:
        self.context, self.address, self.window, self.clock = context, address, window, clock
        self.written: dict[int, list[int]] = {}
        self.reports: list[Report] = []
        self.events: list[Event] = []
        self.waiting: list[Delivered] = []
        self.most_waiting = 0
        self.keep = True
        self.start()

    def start(self) -> None:
        self.receiver = (
            LinkReceiver(self.context, self.address, monotonic_s=self.clock)
            if self.clock
            else LinkReceiver(self.context, self.address)
        )

    def restart(self) -> None:
        self.receiver.close()
        self.waiting.clear()
        pump_until(self._bound)

    def _bound(self) -> bool:
        try:
            self.start()
        except LinkError:  # the closed socket's address is given back by another thread, in its own time
            return False
        return True

    def pump(self) -> None:
        self.receiver.socket.poll(1)
        self.take_in()
        if self.keep:
            self.write()
        self.receiver.flush()

    def take_in(self) -> None:
        for event in self.receiver.receive():
            self.events.append(event)
            if isinstance(event, Opened):
                first = event.first if event.live else len(self.written.get(event.stream, ()))
                self.receiver.accept(event.stream, first, self.window)
            elif isinstance(event, Delivered):
                self.waiting.append(event)
                self.most_waiting = max(self.most_waiting, len(self.waiting))
            elif isinstance(event, Reported):
                self.reports.append(event.report)

    def write(self, most: int = 1000) -> None:
        for delivered in self.waiting[:most]:
            self.written.setdefault(delivered.stream, []).append(index_of(delivered.message))
            self.receiver.acknowledge(delivered.stream, delivered.session, delivered.seq)
        del self.waiting[:most]


class Recording:
    """A sending program that can make all its messages again."""

    def __init__(
        self, context: Context, address: str, total: int, *, camera: int = 1, jpeg: bytes = b""
    ) -> None:
        self.context, self.address, self.total, self.camera = context, address, total, camera
        self.jpeg = jpeg
        self.start()

    def start(self) -> None:
        self.sender = LinkSender(self.context, self.address, name="the disk")
        self.sender.open(self.camera, 7, live=False)

    def restart(self) -> None:
        self.sender.close()
        self.start()

    def pump(self) -> None:
        self.sender.socket.poll(1)
        self.sender.poll()
        while self.sender.room(self.camera) and (at := self.sender.position(self.camera)) is not None:
            if at >= self.total:
                return
            self.sender.send(self.camera, numbered(at, self.camera, self.jpeg), at)

    def safe(self) -> bool:
        return self.sender.durable(self.camera) == self.total


def test_every_message_arrives_once_and_in_order(context: Context, address: str) -> None:
    disk = Disk(context, address)
    recordings = [Recording(context, address, 100, camera=camera) for camera in (1, 2)]
    pump_until(lambda: all(r.safe() for r in recordings), *(r.pump for r in recordings), disk.pump)
    assert disk.written == {1: list(range(100)), 2: list(range(100))}
    assert disk.receiver.repeated == 0


def test_one_sender_carries_many_streams_each_with_its_own_window(context: Context, ipc: str) -> None:
    disk = Disk(context, ipc, window=3)
    sender = LinkSender(context, ipc, name="the disk")
    for camera in (1, 2, 3):
        sender.open(camera, 7, live=False)

    def pump() -> None:
        sender.poll()
        for camera in (1, 2, 3):
            while sender.room(camera) and (at := sender.position(camera)) is not None and at < 20:
                sender.send(camera, numbered(at, camera), at)

    pump_until(lambda: all(sender.durable(c) == 20 for c in (1, 2, 3)), pump, disk.pump)
    assert disk.written == {camera: list(range(20)) for camera in (1, 2, 3)}


def test_the_sender_may_be_there_first(context: Context, address: str) -> None:
    recording = Recording(context, address, 10)
    for _ in range(5):
        recording.pump()
    assert recording.sender.position(1) is None
    assert not recording.sender.connected
    disk = Disk(context, address)
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(10))}
    pump_until(lambda: recording.sender.connected, recording.pump, disk.pump)


def test_a_receiver_that_restarts_goes_on_where_its_disk_ends(context: Context, address: str) -> None:
    disk = Disk(context, address)
    recording = Recording(context, address, 60)
    for at in (10, 30, 45):
        disk.keep = False
        pump_until(lambda: len(disk.waiting) >= 5, recording.pump, disk.pump)
        disk.keep = True
        pump_until(lambda at=at: len(disk.written.get(1, ())) >= at, recording.pump, disk.pump)  # type: ignore[misc]
        disk.restart()
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(60))}


def test_a_sender_that_restarts_is_told_where_to_go_on(context: Context, address: str) -> None:
    disk = Disk(context, address)
    recording = Recording(context, address, 60)
    for at in (10, 30, 45):
        pump_until(lambda at=at: len(disk.written.get(1, ())) >= at, recording.pump, disk.pump)  # type: ignore[misc]
        recording.restart()
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(60))}
    assert sum(isinstance(event, Opened) for event in disk.events) == 1


def test_a_sender_that_restarts_before_its_messages_are_durable_sends_none_twice(
    context: Context, ipc: str
) -> None:
    disk = Disk(context, ipc)
    recording = Recording(context, ipc, 20)
    disk.keep = False
    pump_until(lambda: len(disk.waiting) == 8, recording.pump, disk.pump)
    recording.restart()
    pump_until(lambda: recording.sender.position(1) is not None, recording.pump, disk.pump)
    disk.keep = True
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(20))}


def test_both_ends_restart_at_once(context: Context, address: str) -> None:
    disk = Disk(context, address)
    recording = Recording(context, address, 60)
    for at in (10, 30):
        pump_until(lambda at=at: len(disk.written.get(1, ())) >= at, recording.pump, disk.pump)  # type: ignore[misc]
        recording.restart()
        disk.restart()
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(60))}


class RestartingLink(RuleBasedStateMachine):
    """Both ends restart at any moment; what is on the disk must be every message, once, in order."""

    TOTAL = 25

    @initialize(window=st.integers(1, 6))
    def begin(self, window: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.context = Context()
        address = f"ipc://{self.folder.name}/link"
        self.disk = Disk(self.context, address, window=window)
        self.disk.keep = False
        self.recording = Recording(self.context, address, self.TOTAL)

    @rule(times=st.integers(1, 5))
    def sender_works(self, times: int) -> None:
        for _ in range(times):
            self.recording.pump()

    @rule(times=st.integers(1, 5))
    def receiver_works(self, times: int) -> None:
        for _ in range(times):
            self.disk.pump()

    @rule(times=st.integers(1, 5))
    def both_work(self, times: int) -> None:
        for _ in range(times):
            self.recording.pump()
            self.disk.pump()

    @rule(most=st.integers(1, 4))
    def some_is_written(self, most: int) -> None:
        self.disk.write(most)

    @precondition(lambda self: self.recording is not None)
    @rule()
    def sender_restarts(self) -> None:
        self.recording.restart()

    @rule()
    def receiver_restarts(self) -> None:
        self.disk.restart()

    @rule()
    def sender_doubts(self) -> None:
        self.recording.sender._ask(1)

    @invariant()
    def nothing_is_lost_or_repeated(self) -> None:
        if hasattr(self, "disk"):
            written = self.disk.written.get(1, [])
            assert written == list(range(len(written)))
            assert self.disk.most_waiting <= self.disk.window
            assert self.recording.sender.durable(1) <= len(written)

    def teardown(self) -> None:
        if not hasattr(self, "disk"):
            return
        try:
            self.disk.keep = True
            pump_until(self.recording.safe, self.recording.pump, self.disk.pump)
            assert self.disk.written == {1: list(range(self.TOTAL))}
        finally:
            self.context.destroy(linger=0)
            self.folder.cleanup()


TestRestartingLink = RestartingLink.TestCase
TestRestartingLink.settings = settings(
    max_examples=12, stateful_step_count=10, deadline=None, derandomize=True
)


@pytest.mark.parametrize("seed", range(3))
def test_a_connection_that_is_cut_again_and_again_loses_nothing(
    context: Context, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_sender, "PING_EVERY_S", 0.05)
    port = free_port()
    proxy = CuttingProxy(port, random.Random(seed), most_bytes=20_000)
    try:
        disk = Disk(context, f"tcp://127.0.0.1:{port}")
        recording = Recording(context, f"tcp://127.0.0.1:{proxy.port}", 200, jpeg=bytes(300))

        def calm_down() -> None:
            proxy.stop_cutting = proxy.cuts >= 6

        pump_until(recording.safe, recording.pump, disk.pump, calm_down)
        assert disk.written == {1: list(range(200))}
        assert proxy.cuts >= 3
    finally:
        proxy.close()


def test_what_becomes_durable_while_the_connection_is_cut_is_told_on_the_next_one(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything has arrived, so nothing is sent that would show the receiver the new connection."""
    monkeypatch.setattr(link_sender, "PING_EVERY_S", 0.05)
    port = free_port()
    proxy = CuttingProxy(port, random.Random(0), most_bytes=1 << 30)
    disk = Disk(context, f"tcp://127.0.0.1:{port}", window=5)
    recording = Recording(context, f"tcp://127.0.0.1:{proxy.port}", 5)
    disk.keep = False
    pump_until(
        lambda: not recording.sender._streams[1].window.in_doubt and len(disk.waiting) == 5,
        recording.pump,
        disk.pump,
    )
    proxy.close()
    disk.keep = True
    disk.pump()
    recording.sender.socket.disconnect(recording.address)
    recording.sender.socket.connect(f"tcp://127.0.0.1:{port}")
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(5))}


def test_the_window_is_never_exceeded_on_the_wire(context: Context, ipc: str) -> None:
    disk = Disk(context, ipc, window=4)
    disk.keep = False
    recording = Recording(context, ipc, 50)
    pump_until(lambda: len(disk.waiting) == 4, recording.pump, disk.pump)
    for index in range(4, 30):  # the program sends more than it has room for: it waits on this side
        recording.sender.send(1, numbered(index), index)
    for _ in range(20):
        recording.sender.poll()
        disk.pump()
    assert disk.most_waiting == 4
    assert disk.receiver.repeated == 0
    disk.keep = True
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(50))}


def test_a_receiver_that_does_not_look_for_a_while_is_sent_nothing_twice(context: Context, ipc: str) -> None:
    clock = Time()
    disk = Disk(context, ipc, window=16)
    sender = LinkSender(context, ipc, name="the disk", monotonic_s=clock)
    sender.open(1, 7, live=False)

    def pump() -> None:
        sender.poll()

    pump_until(lambda: sender.position(1) is not None, pump, disk.pump)
    for index in range(10):
        sender.send(1, numbered(index), index)
    for _ in range(60):  # a minute of the sender's, in which the receiver is busy
        clock.now_s += 1.0
        sender.poll()
    pump_until(lambda: sender.durable(1) == 10, pump, disk.pump)
    for index in range(10, 16):
        sender.send(1, numbered(index), index)
    pump_until(lambda: sender.durable(1) == 16, pump, disk.pump)
    assert disk.written == {1: list(range(16))}
    assert disk.receiver.repeated == 0


def test_many_askings_that_were_waiting_cause_nothing_to_be_sent_twice(context: Context, ipc: str) -> None:
    clock = Time()
    sender = LinkSender(context, ipc, name="the disk", monotonic_s=clock)
    sender.open(1, 7, live=False)
    for _ in range(30):
        clock.now_s += 2.0
        sender.poll()
    disk = Disk(context, ipc, window=16)

    def pump() -> None:
        sender.poll()
        if sender.room(1) and (at := sender.position(1)) is not None and at < 40:
            sender.send(1, numbered(at), at)

    pump_until(lambda: sender.durable(1) == 40, pump, disk.pump)
    assert disk.written == {1: list(range(40))}
    assert disk.receiver.repeated == 0


def test_a_live_sender_drops_the_oldest_unsent_counts_it_and_goes_on(context: Context, ipc: str) -> None:
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(1, 7, live=True, outbox=3)
    for index in range(10):  # nobody is there
        sender.send(1, numbered(index))
    assert sender.unacknowledged(1) == 3
    assert sender.dropped(1) == 7
    disk = Disk(context, ipc)
    pump_until(lambda: disk.written.get(1) == [7, 8, 9], sender.poll, disk.pump)
    sender.send(1, numbered(10))
    pump_until(lambda: sender.durable(1) == 4, sender.poll, disk.pump)
    assert disk.written == {1: [7, 8, 9, 10]}
    assert sender.dropped(1) == 7


def test_a_live_sender_keeps_what_is_on_its_way_and_the_newest(context: Context, ipc: str) -> None:
    disk = Disk(context, ipc, window=2)
    disk.keep = False
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(1, 7, live=True)
    pump_until(lambda: sender.position(1) is not None, sender.poll, disk.pump)
    for index in range(100):
        sender.send(1, numbered(index))
        assert sender.unacknowledged(1) <= 3
    disk.keep = True
    pump_until(lambda: sender.unacknowledged(1) == 0, sender.poll, disk.pump)
    assert disk.written == {1: [0, 1, 99]}
    assert sender.dropped(1) == 97


def test_a_live_stream_of_a_sender_that_restarts_begins_a_new_session(context: Context, ipc: str) -> None:
    disk = Disk(context, ipc)
    for session in (7, 8):
        sender = LinkSender(context, ipc, name="the disk")
        sender.open(1, session, live=True)
        sender.send(1, numbered(session))
        pump_until(lambda: sender.unacknowledged(1) == 0, sender.poll, disk.pump)  # noqa: B023
        sender.close()
    assert disk.written == {1: [7, 8]}
    assert [e.session for e in disk.events if isinstance(e, Opened)] == [7, 8]


def test_an_acknowledgement_of_an_earlier_session_is_not_one_of_the_new_one(
    context: Context, ipc: str
) -> None:
    disk = Disk(context, ipc)
    disk.keep = False
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(1, 7, live=True)
    sender.send(1, numbered(0))
    pump_until(lambda: len(disk.waiting) == 1, sender.poll, disk.pump)
    sender.open(1, 8, live=True)
    sender.send(1, numbered(1))
    pump_until(lambda: len(disk.waiting) == 2, sender.poll, disk.pump)
    disk.receiver.acknowledge(1, 7, 0)
    for _ in range(10):
        disk.pump()
        sender.poll()
    assert sender.unacknowledged(1) == 1


def test_a_refusal_is_an_error_with_its_text(context: Context, ipc: str) -> None:
    receiver = LinkReceiver(context, ipc)
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(5, 7, live=False)

    def refuse() -> None:
        for event in receiver.receive():
            assert isinstance(event, Opened)
            receiver.refuse(event.stream, "camera 5 is not configured")

    with pytest.raises(LinkError, match=r"the disk at ipc://\S+ refused: camera 5 is not configured"):
        pump_until(lambda: False, sender.poll, refuse)
    receiver.accept(5, 0, 8)  # the program may have had it under way: nothing happens


def test_after_a_refusal_the_links_other_streams_go_on(context: Context, ipc: str) -> None:
    receiver = LinkReceiver(context, ipc)
    sender = LinkSender(context, ipc, name="the disk")
    for stream in (5, 6):
        sender.open(stream, 7, live=False)

    def refuse_one() -> None:
        for event in receiver.receive():
            if isinstance(event, Opened) and event.stream == 5:
                receiver.refuse(5, "not configured")
            elif isinstance(event, Opened):
                receiver.accept(6, 0, 8)
        receiver.flush()

    with pytest.raises(StreamRefusedError) as refusal:
        pump_until(lambda: False, sender.poll, refuse_one)
    assert refusal.value.stream == 5
    pump_until(lambda: sender.position(6) == 0, sender.poll, refuse_one)
    assert sender.position(5) is None


def test_of_two_processes_that_send_one_camera_the_older_is_refused(context: Context, ipc: str) -> None:
    disk = Disk(context, ipc)
    older = Recording(context, ipc, 10)
    pump_until(older.safe, older.pump, disk.pump)
    newer = Recording(context, ipc, 20)
    pump_until(newer.safe, newer.pump, disk.pump)
    with pytest.raises(LinkError, match="stream 1 is sent by another process now"):
        pump_until(lambda: False, older.pump, disk.pump)
    assert disk.written == {1: list(range(20))}


def test_what_a_restarted_sender_left_behind_does_not_displace_its_successor(
    context: Context, ipc: str
) -> None:
    disk = Disk(context, ipc)
    recording = Recording(context, ipc, 10)
    pump_until(recording.safe, recording.pump, disk.pump)
    left_behind = context.socket(zmq.DEALER)
    left_behind.connect(ipc)
    left_behind.send(Envelope(Kind.OPEN, 1, 7, b=1).pack())
    pump_until(lambda: bool(left_behind.poll(1)), recording.pump, disk.pump)
    got, _ = envelope.unpack(left_behind.recv())
    assert (got.kind, got.a) == (Kind.REFUSE, Refusal.ASK_LATER)
    recording.total = 20
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written == {1: list(range(20))}


def test_a_sender_whose_clock_was_set_back_takes_over_once_the_other_is_silent(
    context: Context, ipc: str
) -> None:
    clock = Time()
    disk = Disk(context, ipc, clock=clock)
    recording = Recording(context, ipc, 10)
    pump_until(recording.safe, recording.pump, disk.pump)
    clock.now_s += shared.link_receiver.SILENCE_S + 1
    disk.pump()
    later = context.socket(zmq.DEALER)
    later.connect(ipc)
    later.send(Envelope(Kind.OPEN, 1, 7, b=1).pack())
    pump_until(lambda: bool(later.poll(1)), disk.pump)
    assert envelope.unpack(later.recv())[0].kind is Kind.ACCEPT


def test_a_successor_begun_after_the_clock_was_set_back_keeps_asking_and_is_heard_in_the_end(
    context: Context, ipc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    disk = Disk(context, ipc, clock=clock)
    killed = Recording(context, ipc, 10)
    pump_until(killed.safe, killed.pump, disk.pump)
    monkeypatch.setattr(link_sender, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(link_sender, "now_ns", lambda: now_ns() - 3_600_000_000_000)
    successor = Recording(context, ipc, 20)
    refused = []
    monkeypatch.setattr(link_sender.log, "warning", lambda *words: refused.append(words))
    pump_until(lambda: bool(refused), successor.pump, disk.pump)
    clock.now_s += shared.link_receiver.SILENCE_S + 1
    pump_until(successor.safe, successor.pump, disk.pump)
    assert disk.written == {1: list(range(20))}
    assert len(refused) == 1, "told once, however often it asks"


@pytest.mark.parametrize("permanent", [True, False])
def test_a_refusal_says_whether_starting_the_sender_again_will_help(
    context: Context, ipc: str, *, permanent: bool
) -> None:
    receiver = LinkReceiver(context, ipc)
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(5, 7, live=False)

    def refuse() -> None:
        for event in receiver.receive():
            if isinstance(event, Opened):
                receiver.refuse(event.stream, "no", permanent=permanent)

    with pytest.raises(StreamRefusedError) as refusal:
        pump_until(lambda: False, sender.poll, refuse)
    assert refusal.value.permanent is permanent


def test_a_stream_the_receiver_does_not_know_is_opened_again(context: Context, ipc: str) -> None:
    dealer = context.socket(zmq.DEALER)
    receiver = LinkReceiver(context, ipc)
    dealer.connect(ipc)
    dealer.send(Envelope(Kind.DATA, 9, 4, 2).pack())
    pump_until(lambda: bool(dealer.poll(1)), receiver.receive)
    got, _ = envelope.unpack(dealer.recv())
    assert (got.kind, got.stream, got.session) == (Kind.REOPEN, 9, 4)


def test_a_forgotten_stream_is_opened_again_before_anything_more_of_it_is_taken(
    context: Context, address: str
) -> None:
    disk = Disk(context, address)
    recording = Recording(context, address, 10)
    pump_until(recording.safe, recording.pump, disk.pump)
    disk.receiver.forget(1)
    recording.total = 20
    pump_until(recording.safe, recording.pump, disk.pump)
    assert disk.written[1] == list(range(20))
    assert sum(isinstance(event, Opened) for event in disk.events) == 2


def test_a_receiver_that_lost_what_it_had_answered_for_is_an_error_not_a_standstill(
    context: Context, ipc: str
) -> None:
    disk = Disk(context, ipc)
    recording = Recording(context, ipc, 10)
    pump_until(recording.safe, recording.pump, disk.pump)
    disk.written.clear()
    disk.restart()
    recording.total = 20
    with pytest.raises(LinkError, match="answered for everything below 10") as lost:
        pump_until(lambda: False, recording.pump, disk.pump)
    assert not lost.value.permanent


def test_a_malformed_message_of_a_stream_refuses_the_stream_and_is_counted(
    context: Context, ipc: str
) -> None:
    receiver = LinkReceiver(context, ipc)
    dealer = context.socket(zmq.DEALER)
    dealer.connect(ipc)
    dealer.send(Envelope(Kind.OPEN, 9, 4).pack())
    pump_until(lambda: bool(receiver.receive()))
    receiver.accept(9, 0, 8)
    dealer.send(Envelope(Kind.DATA, 9, 4, 0).pack() + b"garbage")
    pump_until(lambda: receiver.rejected == 1, receiver.receive)
    dealer.recv()
    got, reason = envelope.unpack(dealer.recv())
    assert got.kind is Kind.REFUSE
    assert reason.startswith(b"message 0 is malformed: ")


@pytest.mark.parametrize("skew_ns", [3_600_000_000_000, -86_400_000_000_000])
def test_the_offset_between_two_clocks_is_found_and_told(
    context: Context, ipc: str, monkeypatch: pytest.MonkeyPatch, skew_ns: int
) -> None:
    monkeypatch.setattr(shared.link_receiver, "now_ns", lambda: now_ns() + skew_ns)
    monkeypatch.setattr(link_sender, "PING_EVERY_S", 0.0)
    disk = Disk(context, ipc)
    recording = Recording(context, ipc, 5)
    pump_until(lambda: disk.receiver.clock_offset_ns(1) != 0, recording.pump, disk.pump)
    assert abs(disk.receiver.clock_offset_ns(1) - skew_ns) < 1_000_000_000
    assert abs(recording.sender.clock.offset_ns - skew_ns) < 1_000_000_000
    assert disk.receiver.clock_offset_ns(99) == 0


def test_a_sender_whose_clock_was_set_tells_the_new_offset_without_waiting_for_the_next_ping(
    context: Context, ipc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead_ns = 0
    monkeypatch.setattr(link_sender, "now_ns", lambda: now_ns() + ahead_ns)
    clock = Time()  # stands still: no ping is due
    disk = Disk(context, ipc)
    sender = LinkSender(context, ipc, name="the disk", monotonic_s=clock)
    sender.open(1, 7, live=True)
    pump_until(lambda: sender.position(1) is not None and sender.connected, sender.poll, disk.pump)
    ahead_ns = -3_600_000_000_000
    sender.clock_was_set()
    pump_until(lambda: disk.receiver.clock_offset_ns(1) != 0, sender.poll, disk.pump)
    assert abs(disk.receiver.clock_offset_ns(1) + ahead_ns) < 1_000_000_000


def test_a_sender_that_is_not_heard_is_told_of_once_and_again_after_it_was_back(
    context: Context, ipc: str
) -> None:
    clock = Time()
    disk = Disk(context, ipc, clock=clock)
    recording = Recording(context, ipc, 5)
    pump_until(recording.safe, recording.pump, disk.pump)
    for _ in range(2):
        disk.events.clear()
        disk.pump()
        assert disk.events == []
        clock.now_s += shared.link_receiver.SILENCE_S + 1
        for _ in range(3):
            disk.pump()
        assert disk.events == [Silent(1, 7)]
        recording.sender.report(report())
        recording.sender._ask(1)
        pump_until(lambda: not disk.receiver._streams[1].silent, recording.pump, disk.pump)


def test_a_receiver_that_does_not_answer_is_noticed(
    context: Context, ipc: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock = Time()
    sender = LinkSender(context, ipc, name="the disk", monotonic_s=clock)
    sender.poll()
    clock.now_s += link_sender.SILENCE_S + 1
    sender.poll()
    sender.poll()
    assert caplog.text.count("the disk at") == 1
    assert "does not answer" in caplog.text
    receiver = LinkReceiver(context, ipc)

    def pump() -> None:
        receiver.receive()
        receiver.flush()

    pump_until(lambda: sender.connected, sender.poll, pump)
    assert "answers" in caplog.text


def test_reports_pass_beside_every_stream(context: Context, ipc: str) -> None:
    disk = Disk(context, ipc)
    sender = LinkSender(context, ipc, name="the disk")
    sender.report(report(pid=4))
    pump_until(lambda: len(disk.reports) == 1, sender.poll, disk.pump)
    assert disk.reports == [report(pid=4)]


def test_reports_to_nobody_are_dropped_and_take_no_memory(context: Context, ipc: str) -> None:
    sender = LinkSender(context, ipc, name="the disk")
    for pid in range(5_000):
        sender.report(report(pid))
    disk = Disk(context, ipc)
    pump_until(lambda: bool(disk.reports), sender.poll, disk.pump)
    for _ in range(50):
        disk.pump()
    assert len(disk.reports) <= 300


def test_peers_that_have_gone_are_forgotten(context: Context, ipc: str) -> None:
    clock = Time()
    receiver = LinkReceiver(context, ipc, monotonic_s=clock)
    for _ in range(20):
        dealer = context.socket(zmq.DEALER)
        dealer.connect(ipc)
        dealer.send(Envelope(Kind.PING, seq=1).pack())
        known = len(receiver._peers)
        pump_until(lambda known=known: len(receiver._peers) > known, receiver.receive)  # type: ignore[misc]
        receiver.flush()
        dealer.close(linger=0)
    clock.now_s += shared.link_receiver.FORGET_REPORT_S + 1
    receiver.receive()
    assert receiver._peers == {}


def test_a_gap_in_what_a_program_sends_is_an_error(context: Context, ipc: str) -> None:
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(1, 7, live=False)
    with pytest.raises(LinkError, match="message 3 pushed where 0 is next"):
        sender.send(1, numbered(3), 3)


def test_a_checkpoint_above_the_limit_of_one_part_arrives_and_the_stream_goes_on(
    context: Context, address: str
) -> None:
    receiver, sender = LinkReceiver(context, address), LinkSender(context, address, name="the disk")
    sender.open(0, 7, live=False)
    state = random.Random(1).randbytes(MAX_MESSAGE_BYTES + 12_345_678)
    checkpoint = Checkpoint({1: (2, 3)}, state, {1: b"one"}, (IdentityEvent(1, "split", 1, "2", (3,)),))
    got: list[Message] = []

    def receive() -> None:
        for event in receiver.receive():
            if isinstance(event, Opened):
                receiver.accept(event.stream, event.first, 8)
            elif isinstance(event, Delivered):
                got.append(event.message)
                receiver.acknowledge(event.stream, event.session, event.seq)
        receiver.flush()

    pump_until(lambda: sender.room(0) > 0, receive, sender.poll)
    sender.send(0, checkpoint, 0)
    sender.send(0, IdentityEvent(1, "name", 2, "Ann"), 1)
    pump_until(lambda: sender.durable(0) == 2, receive, sender.poll)
    assert [type(message) for message in got] == [Checkpoint, IdentityEvent]
    assert same(got[0], checkpoint)


def test_a_message_that_breaks_the_connection_again_and_again_is_named_once_with_what_to_do(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_sender, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(sockets, "MAX_MESSAGE_BYTES", 10_000)
    port = free_port()
    disk = Disk(context, f"tcp://127.0.0.1:{port}")
    sender = LinkSender(context, f"tcp://127.0.0.1:{port}", name="the store")
    sender.open(1, 7, live=False)
    pump_until(lambda: sender.room(1) > 1, sender.poll, disk.pump)
    sender.send(1, numbered(0), 0)
    sender.send(1, Checkpoint({}, bytes(20_000), {}), 1)
    stream = sender._streams[1]
    pump_until(
        lambda: stream.lost >= (1, link_sender.LOSSES_OF_ONE + 2), sender.poll, disk.pump, deadline_s=30
    )
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "message 1 of stream 1 (checkpoint of 20" in errors[0] and "longest part 20000" in errors[0]
    assert "the store at tcp://" in errors[0] and "same release" in errors[0]
    assert disk.written == {1: [0]}


def test_streams_and_senders_beyond_the_limit_replace_idle_ones_and_one_in_use_goes_on(
    context: Context,
) -> None:
    port = free_port()
    disk = Disk(context, f"tcp://127.0.0.1:{port}")
    sender = LinkSender(context, f"tcp://127.0.0.1:{port}", name="the store")
    sender.open(1, 7, live=False)
    pump_until(lambda: sender.room(1) > 0, sender.poll, disk.pump)
    sender.send(1, numbered(0), 0)
    pump_until(lambda: disk.written.get(1) == [0], sender.poll, disk.pump)
    receiver = disk.receiver
    for number in range(30_000):
        opening = Envelope(Kind.OPEN, 2 + number, 1, seq=0, a=LIVE, b=1)
        receiver._take_in(b"%d" % number, opening, [])
    assert len(receiver._streams) <= MAX_STREAMS
    assert len(receiver._peers) <= MAX_PEERS
    assert 1 in receiver._streams
    sender.send(1, numbered(1), 1)
    pump_until(lambda: disk.written[1] == [0, 1], sender.poll, disk.pump)


def test_a_stream_that_was_forgotten_for_others_goes_on_where_it_was(context: Context, address: str) -> None:
    disk = Disk(context, address)
    sender = LinkSender(context, address, name="the store")
    sender.open(1, 7, live=False)
    pump_until(lambda: sender.room(1) > 0, sender.poll, disk.pump)
    sender.send(1, numbered(0), 0)
    pump_until(lambda: disk.written.get(1) == [0], sender.poll, disk.pump)
    del disk.receiver._streams[1]
    sender.send(1, numbered(1), 1)
    pump_until(lambda: disk.written[1] == [0, 1], sender.poll, disk.pump)
