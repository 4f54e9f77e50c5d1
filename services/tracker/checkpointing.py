"""When the tracker's state is written to the store, and what may be acknowledged because of it.

The store commits a checkpoint in one transaction with everything that it contains: the results of recorded
cameras up to its positions, the operator's decisions, the people and the active state.  So the database never
holds a result, a number or a decision that a restarted tracker does not know of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.messages import Checkpoint, IdentityEvent

Position = tuple[int, int]
"""Session and sequence number."""

COST_RATIO = 9.0
"""Where nothing else asks for a checkpoint, the pause behind one is this many times as long as it took, so
that checkpoints take a tenth of the time at most, however large they are."""

MAX_REST_S = 10.0
"""Upper bound of that pause: a store that was away for an hour must not put off the next one for nine."""


@dataclass(slots=True)
class _Pending:
    checkpoint: Checkpoint
    ends: dict[int, Position]  # those it contains of which nothing has come behind since
    taken_s: float
    seq: int | None = None  # its number on the link, once it is sent


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A checkpoint that is on the store's disk.

    positions: camera -> session and number up to which its messages may be acknowledged.
    ends: the same of the ends of recordings, once the store has acknowledged them as well: an end that is
        lost on its way to the store comes behind the checkpoint that contains it.
    events: the decisions that it contains.
    """

    positions: dict[int, Position]
    ends: dict[int, Position]
    events: tuple[IdentityEvent, ...] = ()


@dataclass(slots=True)
class _Since:
    """What has happened since the last checkpoint was taken."""

    frames: Counter[int] = field(default_factory=Counter)  # by camera
    first_s: float | None = None
    last_s: float = 0.0
    events: list[IdentityEvent] = field(default_factory=list)
    urgent: bool = False


class Checkpointer:
    """One checkpoint at a time: taken, sent behind the results it contains, acknowledged.

    One is due at once after a decision, after `every` frames of one camera and at the end of one; when
    nothing has come for `idle_s`; and `longest_s` after the first change that is in none.
    """

    def __init__(
        self, positions: dict[int, Position], *, every: int, idle_s: float, longest_s: float
    ) -> None:
        self._processed = dict(positions)
        self._ends: dict[int, Position] = {}  # of the cameras whose end has been processed
        self._every = every
        self._idle_s = idle_s
        self._longest_s = longest_s
        self._since = _Since()
        self._pending: _Pending | None = None
        self._rest_until_s = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether everything that has happened is in a checkpoint that is on the store's disk."""
        return self._pending is None and self._since.first_s is None

    def position(self, camera: int, session: int) -> int:
        """Number of the first message of a recorded stream that is not in the tracker's state."""
        known = self._processed.get(camera)
        return known[1] + 1 if known is not None and known[0] == session else 0

    def processed(self, camera: int, session: int, seq: int, now_s: float, *, last: bool = False) -> None:
        """A recorded message has changed the tracker's state.

        last: it is the end of the stream, whose number the next message has if there is one after all.
        """
        self._ends.pop(camera, None)
        self._since.frames[camera] += 1
        self.changed(now_s)
        if not last:
            self._processed[camera] = (session, seq)
            return
        self._ends[camera] = (session, seq)
        self._processed.pop(camera, None)
        if seq:
            self._processed[camera] = (session, seq - 1)
        self.hurry()

    def reopened(self, camera: int) -> None:
        """A recorded stream goes on at the number of its end, if that was processed."""
        self._ends.pop(camera, None)
        if self._pending is not None:
            self._pending.ends.pop(camera, None)

    def changed(self, now_s: float) -> None:
        """The tracker's state has changed."""
        self._since.last_s = now_s
        if self._since.first_s is None:
            self._since.first_s = now_s

    def decided(self, event: IdentityEvent, now_s: float) -> None:
        """An operator's decision has changed the tracker's state."""
        self._since.events.append(event)
        self.changed(now_s)
        self.hurry()

    def hurry(self) -> None:
        """Let the next checkpoint be due at once."""
        self._since.urgent = True

    def take(self, now_s: float, snapshot: Callable[[], tuple[bytes, dict[int, bytes]]]) -> None:
        """Take a checkpoint if one is due and none is on its way."""
        if self._pending is None and self._is_due(now_s):
            state, identities = snapshot()
            since = self._since
            checkpoint = Checkpoint(
                dict(self._processed), state, identities, tuple(since.events), dict(self._ends)
            )
            self._pending = _Pending(checkpoint, dict(self._ends), now_s)
            self._since = _Since()

    def _is_due(self, now_s: float) -> bool:
        since = self._since
        if since.first_s is None:
            return False
        if since.urgent or max(since.frames.values(), default=0) >= self._every:
            return True
        if now_s < self._rest_until_s:
            return False
        return now_s - since.last_s >= self._idle_s or now_s - since.first_s >= self._longest_s

    def sendable(self) -> Checkpoint | None:
        """The checkpoint that was taken and not sent yet."""
        pending = self._pending
        return None if pending is None or pending.seq is not None else pending.checkpoint

    def sent(self, seq: int) -> None:
        """The checkpoint that `sendable` gave went out with this number."""
        if self._pending is not None:
            self._pending.seq = seq

    def acknowledged(self, durable: int, now_s: float) -> Acknowledged | None:
        """What may be answered for, when the checkpoint that was sent is now on the disk.

        durable: the number below which the tracker's own stream is on the store's disk.
        """
        pending = self._pending
        if pending is None or pending.seq is None or durable <= pending.seq:
            return None
        self._pending = None
        self._rest_until_s = now_s + min(COST_RATIO * (now_s - pending.taken_s), MAX_REST_S)
        checkpoint = pending.checkpoint
        return Acknowledged(checkpoint.positions, pending.ends, checkpoint.events)
