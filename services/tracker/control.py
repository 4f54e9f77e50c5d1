"""The tracker's control socket: operators' decisions, confirmed when they are on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import zmq

from services.tracker.core import TrackerCore
from services.tracker.operator_decision import KINDS, decide, people_of
from services.tracker.recall import has_identity
from shared.clock import now_ns
from shared.errors import TrackingError
from shared.messages import IdentityEvent
from shared.request import Deferred, Fields, Handler, Responder, integer, number

CONFIRM_S = 4.0
"""A decision that is not on the disk by then is answered with an error, before the asker gives up."""


@dataclass(frozen=True, slots=True, eq=False)
class _Confirmation:
    """The reply to a decision, owed until the decision is on the disk."""

    event: IdentityEvent
    reply: Deferred
    deadline_s: float


class Control:
    """Answers the requests of viewers and of the command line; used from one thread.

    core: the tracker as it is now.  decided: called with each decision, which has to go into a checkpoint.
    end_camera: answers the request to wait for a camera no longer.
    history: the store's address, which is asked for people whom the tracker does not remember.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        addresses: tuple[str, str],
        *,
        core: Callable[[], TrackerCore],
        decided: Callable[[IdentityEvent], None],
        end_camera: Handler,
    ) -> None:
        """addresses: of this socket and of the store's history."""
        self._context = context
        self._history = addresses[1]
        self._core = core
        self._decided = decided
        self._owed: list[_Confirmation] = []
        operations: dict[str, Handler] = {kind: partial(self._decide, kind) for kind in KINDS}
        self._responder = Responder(
            context, addresses[0], {**operations, "click": self._click, "end_camera": end_camera}
        )

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The socket on which requests arrive."""
        return self._responder.socket

    @property
    def rejected(self) -> int:
        """Requests that were none."""
        return self._responder.rejected

    def serve(self) -> None:
        """Answer requests that wait, and give up on confirmations that take too long; never blocks long."""
        self._responder.serve()
        now_s = time.monotonic()
        while self._owed and self._owed[0].deadline_s <= now_s:
            self._owed.pop(0).reply.refuse(
                "the decision is in effect but not on the disk yet, because the store does not answer; it is "
                "lost if the tracker stops before the store is back"
            )

    def confirm(self, events: Iterable[IdentityEvent]) -> None:
        """Answer for decisions that are on the disk now."""
        durable = {id(event) for event in events}
        owed, self._owed = self._owed, []
        for each in owed:
            if id(each.event) in durable:
                each.reply.answer({"identity": each.event.identity})
            else:
                self._owed.append(each)

    def close(self) -> None:
        """Close the socket."""
        self._responder.close()

    def _click(self, fields: Fields) -> Deferred:
        camera, x, y = integer(fields, "camera"), number(fields, "x"), number(fields, "y")
        identity = self._core().identity_at(camera, x, y)
        if identity is None:
            raise TrackingError(f"nobody with an identity is at {x:.0f}, {y:.0f} of camera {camera} now")
        return self._decide("follow", {"identity": identity})

    def _decide(self, kind: str, fields: Fields) -> Deferred:
        core = self._core()
        for identity in people_of(kind, fields):
            if not core.knows(identity) and has_identity(self._context, self._history, identity):
                core.recall(identity)
        event, reply = decide(core, kind, fields, now_ns()), Deferred()
        self._owed.append(_Confirmation(event, reply, time.monotonic() + CONFIRM_S))
        self._decided(event)
        return reply
