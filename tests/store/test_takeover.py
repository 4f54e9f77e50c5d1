"""A tracker that takes over from a killed one goes on behind what is committed, as often as it happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.store.service import StoreService
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.link_sender import LinkSender
from shared.messages import Checkpoint, End
from shared.request import Requester
from tests.shared.wire import Context, pump_until
from tests.store.scene import stamp, tracks

CAMERA, OWN_STREAM = 1, 0
SESSION = 7


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    yield made
    made.destroy(linger=0)


class Store:
    """A store that is run by the test, step by step."""

    def __init__(self, folder: Path, context: Context) -> None:
        self.context = context
        self.endpoints = Endpoints.local(folder)
        self.endpoints.prepare()
        cameras = {CAMERA: CameraConfig(CAMERA, "gate.mp4")}
        self.service = StoreService(cameras, folder, Config(report_every_s=3600.0), self.endpoints)

    def step(self) -> None:
        self.service._step()

    def waiting(self) -> int:
        """How many messages have arrived and are not committed."""
        return len(self.service._queue)

    def close(self) -> None:
        stop = threading.Event()
        stop.set()
        self.service.run(stop)


class Tracker:
    """A tracker that starts: it asks where to go on and opens its streams."""

    def __init__(self, store: Store, session: int) -> None:
        requester = Requester(store.context, store.endpoints.history)
        with ThreadPoolExecutor(1) as asking:
            answer = asking.submit(requester.ask, "resume", {}, 10.0)
            pump_until(answer.done, store.step)
        answer.result()
        requester.close()
        self.store = store
        self.sender = LinkSender(store.context, store.endpoints.tracks, name="the store")
        self.sender.open(OWN_STREAM, session, live=False)
        self.sender.open(CAMERA, SESSION, live=False)
        pump_until(self._opened, store.step, self.sender.poll)

    def _opened(self) -> bool:
        return None not in map(self.sender.position, (OWN_STREAM, CAMERA))

    @property
    def position(self) -> int | None:
        return self.sender.position(CAMERA)

    def send(self, first: int, last: int, *, end: bool) -> None:
        """Send results for these frames, and the end behind them, and see them arrive."""
        waiting = self.store.waiting()
        for frame in range(first, last + 1):
            self.sender.send(CAMERA, tracks(stamp(CAMERA, frame), [(1, 1)]), frame)
        if end:
            self.sender.send(CAMERA, End(stamp(CAMERA, last), "finished", frames=last + 1), last + 1)
        arriving = last + 1 - first + end
        pump_until(lambda: self.store.waiting() == waiting + arriving, self.store.step, self.sender.poll)

    def commit(self, last: int) -> None:
        """Send the checkpoint that contains the frames up to `last`, and see it committed."""
        self.sender.send(OWN_STREAM, Checkpoint({CAMERA: (SESSION, last)}, b"state"))
        pump_until(lambda: self._answered_for(last), self.store.step, self.sender.poll)

    def _answered_for(self, last: int) -> bool:
        return self.sender.durable(CAMERA) == last + 1 and not self.sender.unacknowledged(OWN_STREAM)

    def kill(self) -> None:
        self.sender.close()


@pytest.fixture
def store(tmp_path: Path, context: Context) -> Iterator[Store]:
    made = Store(tmp_path, context)
    yield made
    made.close()


@pytest.mark.parametrize("end", [False, True])
def test_every_tracker_after_a_killed_one_is_told_to_go_on_behind_what_is_committed(
    store: Store, end: bool
) -> None:
    first = Tracker(store, 1)
    assert first.position == 0
    first.send(0, 3, end=False)
    first.commit(1)
    first.send(4, 5, end=end)  # a killed tracker's results behind its last checkpoint
    first.kill()
    for session in (2, 3):
        later = Tracker(store, session)
        assert later.position == 2
        assert store.waiting() == 0
        later.kill()


def test_what_a_killed_tracker_sent_last_and_is_read_behind_the_takeover_is_not_taken(store: Store) -> None:
    first = Tracker(store, 1)
    first.send(0, 1, end=False)
    first.commit(1)
    store.service._resume({})
    first.sender.send(CAMERA, tracks(stamp(CAMERA, 2), [(99, 99)]), 2)
    pump_until(lambda: bool(first.sender.socket.poll(0)) or store.waiting() > 0, store.step)
    assert store.waiting() == 0
