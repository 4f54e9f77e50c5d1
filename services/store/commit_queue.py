"""Messages that wait for a transaction: which of them may be committed, and with what.

Results of live cameras are committed as they come.  Results of recorded cameras are held until the tracker's
checkpoint that contains them has arrived, and are committed together with it: after a crash the tracker goes
on from its checkpoint, sees the same frames again, and may find other numbers for the same people (when the
detector was restarted, too, or the settings were changed).  Results that it does not know of must therefore
not be in the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from shared.link_receiver import Delivered
from shared.messages import Checkpoint, End

OWN_STREAM = 0
"""The tracker's own stream: its checkpoints."""

PositionOf = Callable[[int, int], int]
HasEnded = Callable[[int, int], bool]


class _Key(NamedTuple):
    stream: int
    session: int


class CommitQueue:
    """What has arrived and is not committed, in the order of arrival.

    position: of a stream and session, the last committed number, -1 before its first.
    has_ended: of a stream and session, whether its end is committed and nothing behind it.
    """

    def __init__(self, position: PositionOf, has_ended: HasEnded) -> None:
        self._position = position
        self._has_ended = has_ended
        self._live: dict[int, bool] = {}
        self._ready: list[Delivered] = []
        self._held: dict[_Key, deque[Delivered]] = {}
        self._endless: set[_Key] = set()  # streams whose sender has no end of them, or none any more
        self._checkpoints: deque[Delivered] = deque()
        self._tracker: int | None = None  # the session of the tracker that sends
        self._fenced: int | None = None  # that of one that has been replaced

    def __len__(self) -> int:
        return len(self._ready) + len(self._checkpoints) + sum(map(len, self._held.values()))

    @property
    def may_be_ready(self) -> bool:
        """Whether `batch` can have anything in it."""
        return bool(self._ready or self._checkpoints)

    def open(self, stream: int, session: int, *, live: bool, has_end: bool) -> None:
        """A stream begins, or goes on behind its last committed message: what is held of it comes again.

        has_end: whether the sender has the stream's end, too.
        """
        if stream == OWN_STREAM:
            self._tracker = session
            self._checkpoints.clear()
        else:
            key = _Key(stream, session)
            self._live[stream] = live
            self._held.pop(key, None)
            self._endless.discard(key)
            if not has_end:
                self._endless.add(key)

    def fence(self) -> list[tuple[int, int]]:
        """Another tracker takes over: discard what the one before has sent and is not committed.

        Returns the streams and sessions of which something was discarded; their senders have to go on behind
        the last committed message.
        """
        self._fenced = self._tracker
        streams = [(key.stream, key.session) for key in self._held]
        self._held.clear()
        self._checkpoints.clear()
        return streams

    def add(self, delivered: Delivered) -> None:
        """Take in the next message of a stream."""
        if delivered.stream == OWN_STREAM:
            if delivered.session == self._fenced:
                return
            self._checkpoints.append(delivered)
        elif self._live.get(delivered.stream, True):
            self._ready.append(delivered)
        else:
            self._held.setdefault(_Key(delivered.stream, delivered.session), deque()).append(delivered)
            if isinstance(delivered.message, End):
                self._endless.discard(_Key(delivered.stream, delivered.session))

    def batch(self) -> list[Delivered]:
        """What may be committed now, in order; it stays until `committed`.

        Raises StorageError where the committed positions cannot be read.
        """
        self._release()
        return list(self._ready)

    def committed(self) -> None:
        """The last batch is on the disk."""
        self._ready.clear()

    def _release(self) -> None:
        """Make ready the checkpoints of which everything has arrived, each behind what it contains."""
        self._release_repeated_ends()
        while self._checkpoints:
            message = self._checkpoints[0].message
            if isinstance(message, Checkpoint):
                if not self._is_whole(message):
                    return
                self._release_contained(message)
            self._ready.append(self._checkpoints.popleft())

    def _release_repeated_ends(self) -> None:
        """Make ready ends whose acknowledgement was lost: committing them again changes nothing."""
        for key, held in list(self._held.items()):
            if len(held) == 1 and isinstance(held[0].message, End) and self._has_ended(*key):
                self._ready.append(held.popleft())
                del self._held[key]

    def _is_whole(self, checkpoint: Checkpoint) -> bool:
        """Whether all results and ends that a checkpoint contains are here or committed."""
        return all(
            self._has_arrived(camera, session, seq) for camera, (session, seq) in checkpoint.positions.items()
        ) and all(
            self._end_has_arrived(_Key(camera, session)) for camera, (session, _) in checkpoint.ends.items()
        )

    def _end_has_arrived(self, key: _Key) -> bool:
        held = self._held.get(key)
        if held and isinstance(held[-1].message, End):
            return True
        return key in self._endless or self._has_ended(*key)

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


def _is_contained(delivered: Delivered, seq: int, end: tuple[int, int] | None) -> bool:
    """Whether a checkpoint with this position and end of the stream contains a message."""
    if isinstance(delivered.message, End):  # it has the number of what would come next
        return (delivered.session, delivered.seq) == end
    return delivered.seq <= seq
