"""An operator's decision about a person, by its name and fields as commands carry them."""

from __future__ import annotations

from services.tracker.core import TrackerCore
from shared.errors import TrackingError
from shared.messages import IdentityEvent
from shared.request import Fields, integer, text

KINDS = ("follow", "unfollow", "name", "merge", "split", "forget")


def people_of(kind: str, fields: Fields) -> tuple[int, ...]:
    """The identities that a decision is about; raises MessageError where a field is none."""
    identity = integer(fields, "identity")
    return (identity, integer(fields, "other")) if kind == "merge" else (identity,)


def decide(core: TrackerCore, kind: str, fields: Fields, t_ns: int) -> IdentityEvent:
    """Let a decision act on the tracker's state, and return what is to be kept of it.

    kind: one of `KINDS`.  fields: "identity" and, by kind, "name", "other" or "tracks".  t_ns: when.

    Raises TrackingError where there is no such person or the decision is impossible, MessageError (one of
    them) for a field that is missing or of another type.
    """
    identity = integer(fields, "identity")
    if kind == "follow":
        return core.follow(identity, t_ns)
    if kind == "unfollow":
        return core.unfollow(identity, t_ns)
    if kind == "name":
        return core.name(identity, text(fields, "name"), t_ns)
    if kind == "merge":
        return core.merge(identity, integer(fields, "other"), t_ns)
    if kind == "split":
        return core.split(identity, _tracks(fields), t_ns)
    if kind == "forget":
        return core.forget(identity, t_ns)
    raise TrackingError(f"{kind!r} is no decision about a person")


def _tracks(fields: Fields) -> list[int]:
    tracks = fields.get("tracks")
    if not isinstance(tracks, list) or not all(type(each) is int for each in tracks):
        raise TrackingError("tracks must be a list of whole numbers")
    return tracks
