"""A live run without sockets: the services' own parts, and links whose delivery a test decides.

Nothing here waits: a message is on its way until the test delivers it, and a batch is committed when the test
says so, so that every order of events can be tried, and the same order again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.store.commit_queue import OWN_STREAM, CommitQueue
from services.store.database import DatabaseManager
from services.tracker.checkpointing import Checkpointer
from services.tracker.core import TrackerCore
from shared.codec import decode, encode
from shared.config import Config
from shared.link_receiver import Delivered
from shared.messages import IdentityEvent, Message, People, Tracks


@dataclass(slots=True)
class _Sent:
    stream: int
    seq: int
    message: Message
    delivered: bool = False


class LiveRun:
    """A tracker and a store on a data folder; `now_s` is the time of their monotonic clocks.

    confirmed: called with every decision that is on the disk.  largest_bytes: of all messages so far.
    """

    def __init__(self, folder: Path, config: Config, confirmed: Callable[[IdentityEvent], None]) -> None:
        self.folder = folder
        self.now_s = 0.0
        self.largest_bytes = 0
        self._config = config
        self._confirmed = confirmed
        self._sessions = 0
        self._link: list[_Sent] = []
        self._next: dict[int, int] = {}
        self._session = 0
        self.core: TrackerCore | None = None
        self._open_store()
        self.start_tracker()

    # -- the tracker ------------------------------------------------------------------------------

    def start_tracker(self) -> None:
        """As `TrackerService` does: recall, then open the streams."""
        assert self.core is None
        self._queue.fence()
        checkpoint = self._database.checkpoint()
        self.core = TrackerCore(self._config)
        if checkpoint is not None:
            self.core = TrackerCore.restore(self._config, checkpoint.state, checkpoint.identities)
        self.core.begin_after(*self._database.newest_numbers())
        self._checkpoints = Checkpointer({}, every=1, idle_s=1.0, longest_s=2.0)
        self._sessions += 1
        self._session = self._sessions
        self._link, self._next = [], {}
        self._open(OWN_STREAM)
        self._is_reserved = False
        self._checkpoints.changed(self.now_s)
        self._checkpoints.hurry()
        self._checkpoint(reserve=True)

    def kill_tracker(self) -> None:
        """What was not delivered is lost."""
        self.core, self._link = None, []

    def stop_tracker(self) -> None:
        """The last checkpoint reserves nothing, and everything is delivered and committed."""
        assert self.core is not None
        for _ in range(3):
            self._checkpoints.hurry()
            self._checkpoint(reserve=False)
            self.commit()
        assert self._checkpoints.is_complete
        self.kill_tracker()

    def frame(self, people: People) -> Tracks:
        """A frame goes through the tracker, and its result, which viewers see at once, on its way."""
        assert self.core is not None
        if not self._is_reserved:
            self.commit()  # the tracker accepts no camera before that
        camera = people.stamp.camera
        if camera not in self._next:
            self._open(camera)
        tracks = self.core.process(people)
        self._send(camera, tracks)
        self._checkpoints.changed(self.now_s)
        if self.core.reserve_is_low:
            self._checkpoints.hurry()
        self._checkpoint(reserve=True)
        return tracks

    @contextmanager
    def deciding(self, *identities: int) -> Iterator[TrackerCore]:
        """The tracker for a decision about people, of whom the store may have to remind it."""
        assert self.core is not None
        for identity in identities:
            if not self.core.knows(identity) and self._database.has_identity(identity):
                self.core.recall(identity)
        yield self.core

    def decided(self, event: IdentityEvent) -> None:
        """A decision goes into the next checkpoint."""
        self._checkpoints.decided(event, self.now_s)
        self._checkpoint(reserve=True)

    def _checkpoint(self, *, reserve: bool) -> None:
        core = self.core
        assert core is not None
        self._checkpoints.take(self.now_s, lambda: core.snapshot(reserve=reserve))
        checkpoint = self._checkpoints.sendable()
        if checkpoint is not None:
            self._checkpoints.sent(self._send(OWN_STREAM, checkpoint))

    # -- the link ---------------------------------------------------------------------------------

    def _open(self, stream: int) -> None:
        self._next[stream] = 0
        self._queue.open(stream, self._session, live=stream != OWN_STREAM)

    def _send(self, stream: int, message: Message) -> int:
        seq, self._next[stream] = self._next[stream], self._next[stream] + 1
        self._link.append(_Sent(stream, seq, message))
        return seq

    def deliver(self, count: int) -> None:
        """Let the next messages arrive at the store."""
        for sent in [each for each in self._link if not each.delivered][:count]:
            parts = [bytes(part) for part in encode(sent.message)]
            self.largest_bytes = max(self.largest_bytes, *map(len, parts))
            self._queue.add(Delivered(sent.stream, self._session, sent.seq, decode(parts)))
            sent.delivered = True

    # -- the store --------------------------------------------------------------------------------

    def _open_store(self) -> None:
        self._database = DatabaseManager(self.folder)
        self._queue = CommitQueue(self._database.position, self._database.checkpoint_ends())

    def kill_store(self) -> None:
        """What is not committed is lost there, and comes again from the tracker."""
        self._database.close()
        self._open_store()
        for stream in self._next if self.core is not None else ():
            self._queue.open(stream, self._session, live=stream != OWN_STREAM)
        for sent in self._link:
            sent.delivered = False

    def commit(self, *, deliver: bool = True) -> None:
        """Commit what may be committed, and acknowledge it.  deliver: let everything arrive before."""
        if deliver:
            self.deliver(1 << 30)
        batch = self._queue.batch()
        self._database.commit([(each.stream, each.session, each.seq, each.message) for each in batch])
        self._queue.committed()
        done = {(each.stream, each.seq) for each in batch if each.session == self._session}
        self._link = [each for each in self._link if (each.stream, each.seq) not in done]
        own = [seq for stream, seq in done if stream == OWN_STREAM]
        if self.core is not None and own:
            acknowledged = self._checkpoints.acknowledged(max(own) + 1, self.now_s)
            self._is_reserved |= acknowledged is not None
            for event in acknowledged.events if acknowledged else ():
                self._confirmed(event)

    def erase_before(self, t_ns: int) -> None:
        """What retention does."""
        self._database.erase_before(t_ns)

    def close(self) -> None:
        """Nothing runs any more."""
        self.core = None
        self._database.close()
