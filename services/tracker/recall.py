"""Reading the newest checkpoint from the store, in pages."""

from __future__ import annotations

from typing import NamedTuple

from shared.errors import MessageError
from shared.messages import Checkpoint
from shared.request import Requester

_CONNECT_S = 1.0


class Newest(NamedTuple):
    """The highest numbers that the store knows of, 0 for none."""

    track: int
    identity: int


def read_checkpoint(history: Requester, timeout_s: float) -> tuple[Checkpoint | None, Newest]:
    """The newest checkpoint with the state of everybody remembered, None before the first; and the numbers.

    The store discards what an earlier tracker has sent and it has not committed.  timeout_s: for each answer.

    Raises LinkError when the store does not answer in time, TrackingError with its text when it refuses.
    """
    reply = history.ask_for_message("resume", timeout_s=timeout_s, connect_timeout_s=_CONNECT_S)
    newest = Newest(*(_count(reply.fields.get(name)) for name in Newest._fields))
    checkpoint = reply.message
    if checkpoint is None:
        return None, newest
    if not isinstance(checkpoint, Checkpoint):
        raise MessageError("the store answered with something else than a checkpoint")
    identities: dict[int, bytes] = {}
    while True:
        after = max(identities, default=0)
        page = history.ask_for_message("identity_states", {"after": after}, timeout_s).message
        if not isinstance(page, Checkpoint):
            raise MessageError("the store answered with something else than the state of identities")
        if not page.identities:
            return Checkpoint(checkpoint.positions, checkpoint.state, identities), newest
        identities.update(page.identities)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise MessageError("the store answered without its highest numbers")
    return value
