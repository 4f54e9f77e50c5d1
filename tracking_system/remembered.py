"""The tracker as a run left it, or as it was a moment ago while the run goes on."""

from __future__ import annotations

from services.store.history import History
from services.tracker.core import TrackerCore
from shared.config import Config
from shared.errors import TrackingError


def remembered(history: History, identity: int) -> TrackerCore:
    """The tracker's memory from the newest checkpoint, without the people other than this one.

    Raises TrackingError where there is none yet, or another release wrote it.
    """
    checkpoint = history.checkpoint(identity)
    if checkpoint is None:
        raise TrackingError(f"{history.path}: the tracker has not written anything down yet")
    return TrackerCore.restore(Config(), checkpoint.state, checkpoint.identities)
