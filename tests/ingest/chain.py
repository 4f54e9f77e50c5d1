"""An `IngestService` on a thread of its own, and the receiving end of its link in the test's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from services.ingest.pool import FramePool, Image
from services.ingest.service import IngestService
from services.ingest.source import Source
from shared.link_receiver import Delivered, LinkReceiver, Opened
from shared.messages import Message
from tests.shared.wire import Context, pump_until


class FedSource(Source):
    """A camera that gives the pictures that a test puts in, when it puts them in."""

    def __init__(self) -> None:
        self.pictures: queue.Queue[Image | None] = queue.Queue()
        self._picture: Image | None = None

    def open(self) -> None:
        """Always there."""

    def grab(self) -> bool:
        self._picture = self.pictures.get()
        return self._picture is not None

    def retrieve(self, pool: FramePool) -> Image | None:
        assert self._picture is not None
        image = pool.acquire(self._picture.shape)
        image[:] = self._picture
        return image

    def close(self) -> None:
        """Nothing is held open."""

    def interrupt(self) -> None:
        self.pictures.put(None)


class Running:
    """A service that runs until its source ends or the block is left."""

    def __init__(self, service: IngestService) -> None:
        self.code: int | None = None
        self.stop = threading.Event()
        self._service = service
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.code = self._service.run(self.stop)

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(10)
        assert self.over


class Detector:
    """The frames link's receiving end, which answers for all that it has been given."""

    def __init__(self, context: Context, address: str, position: Callable[[int], int] = lambda _: 0) -> None:
        """position: of a session, the number to go on at."""
        self.link = LinkReceiver(context, address)
        self.sessions: list[int] = []
        self.messages: list[tuple[int, Message]] = []
        self._position = position

    def step(self) -> None:
        self.link.socket.poll(5)
        for event in self.link.receive():
            if isinstance(event, Opened):
                self.sessions.append(event.session)
                self.link.accept(event.stream, self._position(event.session), 8)
            elif isinstance(event, Delivered):
                self.messages.append((event.seq, event.message))
                self.link.acknowledge(event.stream, event.session, event.seq)
        self.link.flush()

    def until(self, done: Callable[[], bool]) -> None:
        pump_until(done, self.step)
