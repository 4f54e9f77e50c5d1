"""An operator's decision where no tracker runs: on the tracker's state in the database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from shared.errors import TrackingError
from shared.messages import IdentityEvent
from tracking_system.journal import Journal


def decide(journal: Journal, kind: str, fields: Mapping[str, Any]) -> IdentityEvent:
    """Decide, and keep it: on return it is on the disk.

    kind: one of `shared.messages.DECISIONS`.  fields: "identity" and, by kind, "name", "other" or "tracks".

    Raises TrackingError where there is no such person or the decision is impossible, StorageError where the
    disk refuses.
    """
    identity, t_ns, core = int(fields["identity"]), time.time_ns(), journal.core
    journal.recall(identity)
    if kind == "merge":
        journal.recall(int(fields["other"]))
        event = core.merge(identity, int(fields["other"]), t_ns)
    elif kind == "split":
        event = core.split(identity, fields["tracks"], t_ns)
    elif kind == "name":
        event = core.name(identity, str(fields["name"]), t_ns)
    elif kind == "follow":
        event = core.follow(identity, t_ns)
    elif kind == "unfollow":
        event = core.unfollow(identity, t_ns)
    elif kind == "forget":
        event = core.forget(identity, t_ns)
    else:
        raise TrackingError(f"{kind!r} is no decision about a person")
    journal.event(event)
    return event
