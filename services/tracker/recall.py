"""Reading the newest checkpoint from the store, in pages."""

from __future__ import annotations

from typing import NamedTuple

from shared.errors import MessageError
from shared.messages import Checkpoint
from shared.request import Requester

_CONNECT_S = 1.0


class Recalled(NamedTuple):
    """What the store knows of the tracker that ran before.

    checkpoint: the newest, with the state of everybody remembered; None before the first.
    track, identity: the highest numbers that are stored, 0 for none.
    ended: cameras whose newest session has ended.
    """

    checkpoint: Checkpoint | None
    track: int
    identity: int
    ended: list[int]


def recall(history: Requester, timeout_s: float) -> Recalled:
    """Ask the store for all of it.

    The store discards what an earlier tracker has sent and it has not committed.  timeout_s: for each answer.

    Raises LinkError when the store does not answer in time, TrackingError with its text when it refuses.
    """
    reply = history.ask_for_message("resume", timeout_s=timeout_s, connect_timeout_s=_CONNECT_S)
    track, identity = (_count(reply.fields.get(name)) for name in ("track", "identity"))
    ended = reply.fields.get("ended")
    if not isinstance(ended, list):
        raise MessageError("the store answered without the cameras that have ended")
    cameras = [_count(camera) for camera in ended]
    checkpoint = reply.message
    if checkpoint is None:
        return Recalled(None, track, identity, cameras)
    if not isinstance(checkpoint, Checkpoint):
        raise MessageError("the store answered with something else than a checkpoint")
    identities: dict[int, bytes] = {}
    while True:
        after = max(identities, default=0)
        page = history.ask_for_message("identity_states", {"after": after}, timeout_s).message
        if not isinstance(page, Checkpoint):
            raise MessageError("the store answered with something else than the state of identities")
        if not page.identities:
            whole = Checkpoint(checkpoint.positions, checkpoint.state, identities)
            return Recalled(whole, track, identity, cameras)
        identities.update(page.identities)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise MessageError("the store answered without a number that was asked for")
    return value
