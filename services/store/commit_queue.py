"""Messages that wait for a transaction: which of them may be committed, and with what.

Results of live cameras are committed as they come.  Results of recorded cameras are held until the tracker's
checkpoint that contains them has arrived, and are committed together with it: after a crash the tracker goes
on from its checkpoint, sees the same frames again, and may find other numbers for the same people (when the
detector was restarted, too, or the settings were changed).  Results that it does not know of must therefore
not be in the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from shared.link_receiver import Delivered
from shared.messages import Checkpoint, End

OWN_STREAM = 0
"""The tracker's own stream: its checkpoints."""

Position = tuple[int, int]
"""Session and sequence number."""

PositionOf = Callable[[int, int], int]


class _Key(NamedTuple):
    stream: int
    session: int


class CommitQueue:
    """What has arrived and is not committed, in the order of arrival.

    position: of a stream and session, the last committed number, -1 before its first.
    ends: those of the newest committed checkpoint, camera -> session and number.
    """

    def __init__(self, position: PositionOf, ends: Mapping[int, Position]) -> None:
        self._position = position
        self._ends = dict(ends)
        self._live: dict[int, bool] = {}
        self._ready: list[Delivered] = []
        self._held: dict[_Key, deque[Delivered]] = {}
        self._checkpoints: deque[Delivered] = deque()
        self._tracker: int | None = None  # the session of the tracker that sends
        self._fenced: int | None = None  # that of one that has been replaced

    def __len__(self) -> int:
        return len(self._ready) + len(self._checkpoints) + sum(map(len, self._held.values()))

    @property
    def may_be_ready(self) -> bool:
        """Whether `batch` can have anything in it."""
        return bool(self._ready or self._checkpoints)

    def open(self, stream: int, session: int, *, live: bool) -> None:
        """A stream begins, or goes on behind its last committed message: what is held of it comes again."""
        if stream == OWN_STREAM:
            self._tracker = session
            self._checkpoints.clear()
        else:
            self._live[stream] = live
            self._held.pop(_Key(stream, session), None)

    def withdraw_end(self, stream: int, session: int) -> None:
        """A recording goes on where its end was: that end is not to be committed any more."""
        key = _Key(stream, session)
        held = self._held.get(key)
        if held and isinstance(held[-1].message, End):
            held.pop()
            if not held:
                del self._held[key]

    def fence(self) -> list[int]:
        """Another tracker takes over: discard what the one before has sent and is not committed.

        Returns the streams of recorded cameras.  What the one before has sent of them and has not arrived yet
        must not be added; their next message is what the other tracker sends behind the last committed one.
        """
        self._fenced = self._tracker
        self._held.clear()
        self._checkpoints.clear()
        return [stream for stream, live in self._live.items() if not live]

    def add(self, delivered: Delivered) -> None:
        """Take in the next message of a stream."""
        if delivered.stream == OWN_STREAM:
            if delivered.session != self._fenced:
                self._checkpoints.append(delivered)
        elif self._live.get(delivered.stream, True) or self._is_late_end(delivered):
            self._ready.append(delivered)
        else:
            self._held.setdefault(_Key(delivered.stream, delivered.session), deque()).append(delivered)

    def batch(self) -> list[Delivered]:
        """What may be committed now, in order; it stays until `committed`.

        Raises StorageError where the committed positions cannot be read.
        """
        self._release()
        return list(self._ready)

    def committed(self) -> None:
        """The last batch is on the disk."""
        self._ready.clear()

    def _is_late_end(self, delivered: Delivered) -> bool:
        """Whether it is an end that the newest checkpoint contains: it was lost and is sent again."""
        return isinstance(delivered.message, End) and (
            self._ends.get(delivered.stream) == (delivered.session, delivered.seq)
        )

    def _release(self) -> None:
        """Make ready the checkpoints of which all results have arrived, each behind what it contains."""
        while self._checkpoints:
            message = self._checkpoints[0].message
            if isinstance(message, Checkpoint):
                if not all(self._has_arrived(c, s, seq) for c, (s, seq) in message.positions.items()):
                    return
                self._release_contained(message)
                self._ends = dict(message.ends)
            self._ready.append(self._checkpoints.popleft())

    def _has_arrived(self, stream: int, session: int, seq: int) -> bool:
        held = self._held.get(_Key(stream, session))
        if held and held[-1].seq >= seq:
            return True
        return self._position(stream, session) >= seq

    def _release_contained(self, checkpoint: Checkpoint) -> None:
        for key in sorted(self._held):
            end = checkpoint.ends.get(key.stream)
            session, seq = checkpoint.positions.get(key.stream, end or (None, -1))
            if session is None:
                continue
            held = self._held[key]
            # A session that was replaced by a later one was processed before it.
            while held and (key.session != session or _is_contained(held[0], seq, end)):
                self._ready.append(held.popleft())
            if not held:
                del self._held[key]


def _is_contained(delivered: Delivered, seq: int, end: Position | None) -> bool:
    """Whether a checkpoint with this position and end of the stream contains a message."""
    if isinstance(delivered.message, End):  # it has the number of what would come next
        return (delivered.session, delivered.seq) == end
    return delivered.seq <= seq
