"""Limits on links and feeds, on real sockets: windows, streams, topics, and messages that break them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from services.detector.service import LIVE_OUTBOX, DetectorService
from services.detector.service import LIVE_WINDOW as DETECTOR_WINDOW
from services.store.service import RECORDED_WINDOW, WINDOW, StoreService
from services.tracker import service as tracker_service
from services.tracker.service import LIVE_WINDOW as TRACKER_WINDOW
from services.tracker.service import TrackerService
from shared import hop, link_sender, sockets
from shared.codec import encode
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.envelope import LIVE, Envelope, Kind
from shared.feed import FEED_HIGH_WATER_MARK, FeedPublisher, FeedRelay, FeedSubscriber
from shared.limits import (
    MAX_CAMERAS,
    MAX_IDENTITIES,
    MAX_MESSAGE_BYTES,
    MAX_PEERS,
    MAX_POSITIONS,
    MAX_STREAMS,
    MAX_TOPICS,
)
from shared.link_receiver import LinkReceiver
from shared.link_sender import LinkSender
from shared.messages import Checkpoint
from tests.detector.test_service import sees_nobody
from tests.limits.table import covers
from tests.shared.conftest import context, ipc  # noqa: F401
from tests.shared.samples import numbered
from tests.shared.test_link import Disk
from tests.shared.wire import Context, free_port, pump_until
from tests.test_transient_trouble import served

CAMERAS = {
    1: CameraConfig(1, "a.mp4", delivery="recorded"),
    2: CameraConfig(2, "rtsp://camera.example/2", delivery="live"),
}


def room_at(context: Context, address: str, camera: int) -> int:  # noqa: F811
    """How many messages of a camera the service at an address takes at once."""
    sender = LinkSender(context, address, name="the service")
    sender.open(camera, 7, live=CAMERAS[camera].delivery == "live")
    pump_until(lambda: sender.room(camera) > 0, sender.poll)
    room = sender.room(camera)
    sender.close()
    return room


@covers(
    "services.store.service.RECORDED_WINDOW",
    "services.store.service.WINDOW",
    "services.tracker.service.LIVE_WINDOW",
    "services.detector.service.LIVE_WINDOW",
    "shared.config.Config.window",
)
def test_each_service_takes_as_many_messages_at_once_as_its_window_and_no_more(
    context: Context,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker_service, "warm", lambda: None)
    monkeypatch.setattr(hop, "GOODBYE_S", 0.1)  # nothing of these streams will come
    endpoints = Endpoints.local(tmp_path)
    endpoints.prepare()
    config = Config(window=4096)
    windows = [  # from the first service to the last: a newer sender replaces an older one at once
        (endpoints.frames, 1, config.window),
        (endpoints.frames, 2, DETECTOR_WINDOW),
        (endpoints.people, 1, config.window),
        (endpoints.people, 2, TRACKER_WINDOW),
        (endpoints.tracks, 1, RECORDED_WINDOW),
        (endpoints.tracks, 2, WINDOW),
    ]
    store = StoreService(CAMERAS, tmp_path, config, endpoints)
    tracker = TrackerService(CAMERAS, config, endpoints)
    detector = DetectorService(CAMERAS, config, endpoints, sees_nobody())
    with served(store.run), served(tracker.run), served(detector.run):
        for address, camera, window in windows:
            assert room_at(context, address, camera) == window


@covers("services.store.service.RECORDED_WINDOW")
def test_the_store_takes_twice_the_largest_window_of_a_recorded_camera() -> None:
    assert 2 * Config.__dataclass_fields__["window"].metadata["high"] == RECORDED_WINDOW


def test_what_is_beyond_a_window_waits_in_the_sender(context: Context, ipc: str) -> None:  # noqa: F811
    disk = Disk(context, ipc, window=8)
    disk.keep = False
    sender = LinkSender(context, ipc, name="the disk")
    sender.open(1, 7, live=False)
    pump_until(lambda: sender.room(1) == 8, sender.poll, disk.pump)
    for number in range(9):
        sender.send(1, numbered(number), number)
    pump_until(lambda: len(disk.waiting) == 8, sender.poll, disk.pump)
    assert sender.room(1) == 0
    disk.keep = True
    pump_until(lambda: disk.written.get(1) == list(range(9)), sender.poll, disk.pump)


@covers("shared.config.Config.outbox", "services.detector.service.LIVE_OUTBOX")
def test_of_live_results_beyond_the_outbox_the_oldest_is_dropped_and_counted(
    context: Context,  # noqa: F811
    ipc: str,  # noqa: F811
) -> None:
    sender = LinkSender(context, ipc, name="the store")
    sender.open(1, 7, live=True, outbox=LIVE_OUTBOX)
    for number in range(LIVE_OUTBOX):
        sender.send(1, numbered(number))
    assert (sender.unacknowledged(1), sender.dropped(1)) == (LIVE_OUTBOX, 0)
    sender.send(1, numbered(LIVE_OUTBOX))
    assert (sender.unacknowledged(1), sender.dropped(1)) == (LIVE_OUTBOX, 1)
    disk = Disk(context, ipc)
    pump_until(lambda: disk.written.get(1) == list(range(1, LIVE_OUTBOX + 1)), sender.poll, disk.pump)


@covers("shared.limits.MAX_STREAMS", "shared.limits.MAX_PEERS")
def test_so_many_streams_and_connections_are_known_and_one_more_replaces_idle_ones(
    context: Context,  # noqa: F811
    ipc: str,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = LinkReceiver(context, ipc)

    def opened(number: int) -> None:
        receiver._take_in(b"%d" % number, Envelope(Kind.OPEN, number, 1, seq=0, a=LIVE, b=1), [])

    for number in range(1, MAX_STREAMS + 1):
        opened(number)
    assert len(receiver._streams) == MAX_STREAMS and not caplog.records
    opened(MAX_STREAMS + 1)
    assert len(receiver._streams) <= MAX_STREAMS and 1 not in receiver._streams
    (record,) = caplog.records
    assert "does a stranger reach this address?" in record.getMessage()
    for number in range(MAX_STREAMS + 2, MAX_PEERS + 2):
        receiver._take_in(b"%d" % number, Envelope(Kind.PING, seq=1), [])
    assert len(receiver._peers) <= MAX_PEERS


@covers("shared.limits.MAX_TOPICS", "shared.feed.FEED_HIGH_WATER_MARK")
def test_so_many_topics_are_watched_and_one_more_is_passed_over_and_counted(
    context: Context,  # noqa: F811
    ipc: str,  # noqa: F811
) -> None:
    publisher = FeedPublisher(context, ipc, bind=True)
    assert publisher.socket.getsockopt(zmq.SNDHWM) == FEED_HIGH_WATER_MARK
    most = FeedSubscriber(context, ipc, range(MAX_TOPICS))
    assert most.socket.getsockopt(zmq.RCVHWM) == FEED_HIGH_WATER_MARK
    pump_until(lambda: publisher.watched(MAX_TOPICS - 1))
    assert publisher.rejected == 0
    FeedSubscriber(context, ipc, [MAX_TOPICS])
    pump_until(lambda: publisher.watched(MAX_TOPICS) or publisher.rejected > 0)
    assert publisher.rejected == 1 and not publisher.watched(MAX_TOPICS)


def test_every_camera_of_the_largest_configuration_is_watched_through_a_relay(
    context: Context,  # noqa: F811
    tmp_path: Path,
) -> None:
    cameras = range(1, MAX_CAMERAS + 1)
    addresses = f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"
    relay = FeedRelay(context, *addresses)
    early = FeedPublisher(context, addresses[0], bind=False)
    FeedSubscriber(context, addresses[1], cameras)
    pump_until(lambda: all(map(early.watched, cameras)))
    late = FeedPublisher(context, addresses[0], bind=False)
    pump_until(lambda: all(map(late.watched, cameras)))
    relay.close()


def test_no_part_of_the_largest_message_is_longer_than_a_connection_carries() -> None:
    # Frames, people and tracks are smaller in all than one part may be.
    largest = Checkpoint(
        dict.fromkeys(range(1, MAX_POSITIONS + 1), (1, 1)),
        bytes(MAX_MESSAGE_BYTES + 1),
        dict.fromkeys(range(1, MAX_IDENTITIES + 1), b"x" * 64),
    )
    frames = encode(largest)
    assert sum(map(len, frames)) > 2 * MAX_MESSAGE_BYTES
    assert max(map(len, frames)) <= MAX_MESSAGE_BYTES


@covers("shared.link_sender.LOSSES_OF_ONE")
def test_a_message_that_breaks_the_connection_is_named_once_with_kind_and_size_until_it_arrives(
    context: Context,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The receiver is of a release that takes smaller parts, until it is replaced."""
    monkeypatch.setattr(link_sender, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(sockets, "MAX_MESSAGE_BYTES", 10_000)
    address = f"tcp://127.0.0.1:{free_port()}"
    disk = Disk(context, address)
    sender = LinkSender(context, address, name="the store")
    sender.open(1, 7, live=False)
    pump_until(lambda: sender.room(1) > 2, sender.poll, disk.pump)
    for number, jpeg in enumerate((b"", bytes(20_000), bytes(20_000))):
        sender.send(1, numbered(number, jpeg=jpeg), number)
    stream = sender._streams[1]

    def errors() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]

    def lost(times: int) -> Callable[[], bool]:
        return lambda: stream.lost >= (1, times)

    pump_until(lost(link_sender.LOSSES_OF_ONE - 1), sender.poll, disk.pump, deadline_s=30)
    assert not errors()
    pump_until(lost(link_sender.LOSSES_OF_ONE), sender.poll, disk.pump, deadline_s=30)
    (error,) = errors()
    assert "message 1 of stream 1 (frame of 20" in error and "its longest part 20000)" in error
    assert f"sent {link_sender.LOSSES_OF_ONE} times to the store at {address}" in error
    disk.restart()
    stream.lost = (-1, 0)
    pump_until(lost(link_sender.LOSSES_OF_ONE + 1), sender.poll, disk.pump, deadline_s=30)
    assert len(errors()) == 1
    monkeypatch.setattr(sockets, "MAX_MESSAGE_BYTES", MAX_MESSAGE_BYTES)
    disk.restart()
    pump_until(lambda: disk.written == {1: [0, 1, 2]}, sender.poll, disk.pump)
