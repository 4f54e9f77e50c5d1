from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from shared.errors import LinkError
from shared.hop import Begun, Event, Hop, serve
from shared.link_receiver import Delivered, LinkReceiver, Opened, Reported, Resumed
from shared.link_sender import LinkSender
from shared.messages import End, Frame, FrameStamp, Report
from tests.shared.wire import Context, pump_until

KNOWN = (1, 2)
RECORDED, LIVE = 1, 2


def message(stream: int, number: int) -> End:
    return End(FrameStamp(stream, 7, number, number, 4, 4), "finished", frames=number)


class Line:
    """A sender, a hop that passes everything on, and the next service, which refuses what it is told to."""

    def __init__(self, context: Context, folder: Path, goes_on_at: int = 0) -> None:
        addresses = [f"ipc://{folder}/{name}" for name in ("near", "far")]
        self.sender = LinkSender(context, addresses[0], name="the middle")
        self.hop = Hop(
            context,
            name="middle",
            address=addresses[0],
            towards=("end", addresses[1]),
            known=KNOWN,
            windows=(8, 2),
            outbox=4,
        )
        self.next = LinkReceiver(context, addresses[1])
        self.events: list[Event] = []
        self.arrived: list[tuple[int, int]] = []
        self.reports: list[Report] = []
        self.refused: dict[int, str] = {}
        self.refusals: dict[int, LinkError] = {}
        self.left_out: list[int] = []
        self.refuses: set[int] = set()
        self.next_is_there = True
        self.goes_on_at = goes_on_at

    def step(self) -> None:
        try:
            self.sender.poll()
        except LinkError as error:
            self.refused[getattr(error, "stream", 0)] = str(error)
            self.refusals[getattr(error, "stream", 0)] = error
        for event in self.hop.receive():
            self.events.append(event)
            if isinstance(event, Delivered):
                self.hop.outgoing.send(event.stream, event.message, event.seq)
        self.left_out += self.hop.poll()
        self.hop.accept(lambda stream, _: self.hop.outgoing.durable(stream) + self.goes_on_at)
        for stream, state in self.hop.streams.items():
            if state.accepted:
                self.hop.acknowledge(stream, self.hop.outgoing.durable(stream) - 1)
        self.hop.flush()
        if self.next_is_there:
            self._end()

    def _end(self) -> None:
        for event in self.next.receive():
            if isinstance(event, Opened) and event.stream in self.refuses:
                self.next.refuse(event.stream, "not here")
            elif isinstance(event, Opened):
                self.next.accept(event.stream, event.first, 8)
            elif isinstance(event, Delivered):
                self.arrived.append((event.stream, event.seq))
                self.next.acknowledge(event.stream, event.session, event.seq)
            elif isinstance(event, Reported):
                self.reports.append(event.report)
        self.next.flush()

    def until(self, done: object) -> None:
        assert callable(done)
        pump_until(done, self.step)


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def line(context: Context, tmp_path: Path) -> Line:
    return Line(context, tmp_path)


def test_messages_go_on_under_their_numbers_and_are_answered_for_by_the_end(line: Line) -> None:
    line.sender.open(RECORDED, 7, live=False)
    line.until(lambda: line.sender.position(RECORDED) is not None)
    for number in range(5):
        line.sender.send(RECORDED, message(RECORDED, number), number)
    line.until(lambda: line.sender.durable(RECORDED) == 5)
    assert line.arrived == [(RECORDED, number) for number in range(5)]
    assert not line.hop.unacknowledged()


def test_a_recorded_stream_waits_for_the_next_service_and_a_live_one_does_not(line: Line) -> None:
    line.next_is_there = False
    line.sender.open(RECORDED, 7, live=False)
    line.sender.open(LIVE, 7, live=True)
    line.until(lambda: line.sender.position(LIVE) is not None)
    assert line.sender.position(RECORDED) is None
    line.next_is_there = True
    line.until(lambda: line.sender.position(RECORDED) is not None)


def test_a_stream_that_is_not_known_is_refused_by_name_and_counted(line: Line) -> None:
    line.sender.open(9, 7, live=False)
    line.until(lambda: 9 in line.refused)
    assert "camera 9 is not in the configuration of this middle" in line.refused[9]
    assert line.hop.refused == 1 and line.events == []


def test_what_the_next_service_refuses_is_told_to_the_sender_and_the_others_go_on(line: Line) -> None:
    line.refuses = {RECORDED}
    line.sender.open(RECORDED, 7, live=False)
    line.sender.open(LIVE, 7, live=True)
    line.until(lambda: RECORDED in line.refused and line.sender.position(LIVE) is not None)
    assert line.left_out == [RECORDED] and list(line.hop.streams) == [LIVE]
    assert "the end at" in line.refused[RECORDED] and "not here" in line.refused[RECORDED]


def test_a_refusal_of_a_stream_of_the_services_own_is_raised(line: Line) -> None:
    line.refuses = {0}
    line.hop.outgoing.open(0, 7, live=False)
    with pytest.raises(LinkError, match="not here"):
        line.until(lambda: False)


def test_a_stream_whose_beginning_nobody_has_any_more_is_refused(context: Context, tmp_path: Path) -> None:
    line = Line(context, tmp_path, goes_on_at=-1)
    line.sender.open(RECORDED, 7, live=False)
    line.until(lambda: RECORDED in line.refused)
    assert "history before frame 0 is gone from the end" in line.refused[RECORDED]
    assert "start the camera's ingest again" in line.refused[RECORDED]
    assert not line.refusals[RECORDED].permanent


def test_a_stream_that_comes_again_with_another_session_is_renewed(line: Line) -> None:
    line.sender.open(RECORDED, 7, live=False)
    line.until(lambda: line.sender.position(RECORDED) is not None)
    line.sender.open(RECORDED, 8, live=False)
    line.until(lambda: line.sender.position(RECORDED) is not None)
    begun = [event for event in line.events if isinstance(event, Begun)]
    assert begun == [Begun(RECORDED, False, renewed=False), Begun(RECORDED, False, renewed=True)]


def test_reports_are_passed_on(line: Line) -> None:
    report = Report("ingest", 3, "host", 1, 5, "running", {"frames": 2.0})
    line.until(lambda: line.sender.connected and line.hop.outgoing.connected)
    line.sender.report(report)
    line.until(lambda: line.reports)
    assert line.reports == [report]


def test_serving_goes_on_until_it_is_stopped_and_nothing_is_left_to_do(context: Context) -> None:
    near, far = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    near.bind("inproc://serving")
    far.connect("inproc://serving")
    stop, steps, left = threading.Event(), [0], [3]

    def step() -> None:
        steps[0] += 1
        while near.poll(0):
            near.recv()
            stop.set()
        if stop.is_set():
            left[0] -= 1

    far.send(b"")
    serve([near], stop, step=step, busy=lambda: left[0] > 0)
    assert left[0] == 0 and stop.is_set()


def test_a_recording_goes_on_at_the_number_of_its_end_and_nothing_before_it_comes_again(
    context: Context, line: Line, tmp_path: Path
) -> None:
    def send(frames: range) -> None:
        line.until(lambda: line.sender.position(RECORDED) is not None)
        for number in range(frames.stop):
            if number >= (line.sender.position(RECORDED) or 0):
                stamp = FrameStamp(RECORDED, 7, number, number, 4, 4)
                line.sender.send(RECORDED, Frame(stamp, b"jpeg"), number)
        line.sender.send(RECORDED, message(RECORDED, frames.stop), frames.stop)

    line.sender.open(RECORDED, 7, live=False)
    send(range(3))
    line.until(lambda: line.sender.durable(RECORDED) == 4)
    line.sender.close()
    line.sender = LinkSender(context, f"ipc://{tmp_path}/near", name="the middle")
    line.sender.open(RECORDED, 7, live=False)
    send(range(3, 5))
    line.until(lambda: line.sender.durable(RECORDED) == 6)
    assert line.arrived == [(RECORDED, number) for number in (0, 1, 2, 3, 3, 4, 5)]
    assert [type(each) for each in line.events if not isinstance(each, Delivered)] == [Begun, Resumed]
