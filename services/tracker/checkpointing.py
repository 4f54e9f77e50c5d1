"""When the tracker's memory is written down, and what may be acknowledged because it was.

A recorded frame is answered for only when its tracks are on the store's disk *and* a later checkpoint of
the tracker's memory is there too: a tracker that restarts takes up the checkpoint, is sent everything
behind it again, and comes to the same results as if nothing had happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from shared.messages import Checkpoint

Position = tuple[int, int]
"""Session and sequence number."""


@dataclass(slots=True)
class _Pending:
    checkpoint: Checkpoint
    answers: dict[int, Position]  # what may be answered for with it, ends of streams included
    seq: int | None = None  # its number on the link, once it is sent


class Checkpointer:
    """One checkpoint at a time: taken, sent behind the tracks it contains, acknowledged.

    One is due after `every` frames of one camera, at the end of one, when nothing has come for `idle_s`,
    and `longest_s` after the first change that is in none.
    """

    def __init__(
        self, positions: dict[int, Position], *, every: int, idle_s: float, longest_s: float
    ) -> None:
        self._processed = dict(positions)
        self._every = every
        self._idle_s = idle_s
        self._longest_s = longest_s
        self._ends: dict[int, Position] = {}  # of the cameras whose end has been processed
        self._frames: Counter[int] = Counter()  # by camera, since the last checkpoint
        self._changed_s: tuple[float, float] | None = None  # first and last change since then
        self._ended = False
        self._pending: _Pending | None = None

    def position(self, camera: int, session: int) -> int:
        """Number of the first message of a recorded stream that is not in the tracker's memory."""
        known = self._processed.get(camera)
        return known[1] + 1 if known is not None and known[0] == session else 0

    def processed(self, camera: int, session: int, seq: int, now_s: float, *, last: bool = False) -> None:
        """A recorded message has gone into the tracker's memory.

        last: it is the end of the stream, whose number the next message has if there is one after all.
        """
        self._ends.pop(camera, None)
        if not last:
            self._processed[camera] = (session, seq)
        else:
            self._ends[camera] = (session, seq)
            self._processed.pop(camera, None)
            if seq:
                self._processed[camera] = (session, seq - 1)
        self._ended |= last
        self._frames[camera] += 1
        self.changed(now_s)

    def reopened(self, camera: int) -> None:
        """A recorded stream goes on at the number of its end, if that was processed."""
        self._ends.pop(camera, None)
        if self._pending is not None and self._pending.answers.pop(camera, None) is not None:
            positions = self._pending.checkpoint.positions
            if camera in positions:
                self._pending.answers[camera] = positions[camera]

    def changed(self, now_s: float) -> None:
        """The tracker's memory has changed."""
        self._changed_s = (now_s if self._changed_s is None else self._changed_s[0], now_s)

    def take(self, now_s: float, snapshot: Callable[[], tuple[bytes, dict[int, bytes]]]) -> None:
        """Take a checkpoint if one is due and none is on its way."""
        if self._pending is None and self._due(now_s):
            state, identities = snapshot()
            answers = self._processed | self._ends
            self._pending = _Pending(Checkpoint(dict(self._processed), state, identities), answers)
            self._frames.clear()
            self._changed_s = None
            self._ended = False

    def _due(self, now_s: float) -> bool:
        if self._changed_s is None:
            return False
        first_s, last_s = self._changed_s
        enough = self._ended or max(self._frames.values(), default=0) >= self._every
        return enough or now_s - last_s >= self._idle_s or now_s - first_s >= self._longest_s

    def sendable(self, durable: Callable[[int, int], int]) -> Checkpoint | None:
        """The checkpoint that waits, once every result it contains is durable.

        durable: for camera and session, the number below which the tracks are on the store's disk.
        """
        if self._pending is None or self._pending.seq is not None:
            return None
        answers = self._pending.answers
        safe = all(durable(camera, session) > seq for camera, (session, seq) in answers.items())
        return self._pending.checkpoint if safe else None

    def sent(self, seq: int) -> None:
        """The checkpoint that `sendable` gave went out with this number."""
        if self._pending is not None:
            self._pending.seq = seq

    def acknowledged(self, durable: int) -> dict[int, Position] | None:
        """Positions up to which messages may be answered for, when the one sent is now on the disk.

        durable: the number below which the tracker's own stream is on the store's disk.
        """
        pending = self._pending
        if pending is None or pending.seq is None or durable <= pending.seq:
            return None
        self._pending = None
        return pending.answers
