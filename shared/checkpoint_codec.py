"""Checkpoints and operators' decisions on the wire: what can be long is behind the header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from shared.errors import MessageError
from shared.limits import (
    MAX_CAMERA,
    MAX_CHECKPOINT_BYTES,
    MAX_EVENT_TRACKS,
    MAX_EVENTS,
    MAX_IDENTITIES,
    MAX_POSITIONS,
    MAX_TEXT,
)
from shared.messages import DECISIONS, Buffer, Checkpoint, IdentityEvent, Int64
from shared.packing import Packer, Unpacker, sendable_text

MAX_TEXT_BYTES = 4 * MAX_TEXT
"""UTF-8 takes at most four bytes a character."""


def pack_checkpoint(message: Checkpoint, packer: Packer) -> list[Any]:
    """The header's fields of a checkpoint; positions, identities and decisions go behind the header."""
    for positions in (message.positions, message.ends):
        rows = [(camera, *position) for camera, position in positions.items()]
        packer.array(_table(rows, 3), "int64", most=MAX_POSITIONS)
    packer.raw(message.state, MAX_CHECKPOINT_BYTES)
    _pack_blobs(list(message.identities), list(message.identities.values()), packer)
    _pack_events(message.events, packer)
    return []


def unpack_checkpoint(unpacker: Unpacker) -> Checkpoint:
    """What `pack_checkpoint` packed; raises MessageError on anything else."""
    positions, ends = _unpack_positions(unpacker), _unpack_positions(unpacker)
    state = bytes(unpacker.raw(MAX_CHECKPOINT_BYTES))
    identities = _unpack_blobs(unpacker)
    return Checkpoint(positions, state, identities, _unpack_events(unpacker), ends)


def _unpack_positions(unpacker: Unpacker) -> dict[int, tuple[int, int]]:
    table = unpacker.rows("int64", columns=3, most=MAX_POSITIONS)
    if (table < 0).any() or (table[:, 0] > MAX_CAMERA).any():
        raise MessageError("a position is camera, session and sequence number")
    positions = {camera: (session, seq) for camera, session, seq in table.tolist()}
    if len(positions) != len(table):
        raise MessageError("a camera has two positions")
    return positions


def pack_event(message: IdentityEvent, packer: Packer) -> list[Any]:
    """The header's fields of one decision."""
    packer.array(np.array(message.tracks, np.int64), "int64", most=MAX_EVENT_TRACKS)
    return [message.identity, message.kind, message.t_ns, sendable_text(message.value)]


def unpack_event(unpacker: Unpacker) -> IdentityEvent:
    """What `pack_event` packed; raises MessageError on anything else."""
    fields = unpacker.integer(1), unpacker.text(DECISIONS), unpacker.integer(), unpacker.text()
    return IdentityEvent(*fields, _tracks(unpacker.rows("int64", most=MAX_EVENT_TRACKS)))


def _pack_blobs(names: Sequence[int], blobs: Sequence[Buffer], packer: Packer) -> None:
    """Bytes by number: a table of numbers and lengths, and all bytes joined."""
    lengths = map(len, blobs)
    packer.array(_table(zip(names, lengths, strict=True), 2), "int64", most=MAX_IDENTITIES)
    packer.raw(b"".join(blobs), MAX_CHECKPOINT_BYTES)


def _unpack_blobs(unpacker: Unpacker) -> dict[int, bytes]:
    table = unpacker.rows("int64", columns=2, most=MAX_IDENTITIES)
    joined = memoryview(unpacker.raw(MAX_CHECKPOINT_BYTES))
    if (table[:, 0] < 1).any():
        raise MessageError("an identity is an integer from 1")
    parts = _parts(joined, table[:, 1])
    blobs = {name: bytes(part) for name, part in zip(table[:, 0].tolist(), parts, strict=True)}
    if len(blobs) != len(table):
        raise MessageError("an identity is there twice")
    return blobs


def _pack_events(events: Sequence[IdentityEvent], packer: Packer) -> None:
    """Decisions: a table of numbers, all texts joined, and all tracks joined."""
    texts = [sendable_text(event.value).encode() for event in events]
    rows = [
        (event.identity, _kind(event.kind), event.t_ns, len(text), len(event.tracks))
        for event, text in zip(events, texts, strict=True)
    ]
    packer.array(_table(rows, 5), "int64", most=MAX_EVENTS)
    packer.raw(b"".join(texts), MAX_EVENTS * MAX_TEXT_BYTES)
    tracks = np.array([track for event in events for track in event.tracks], np.int64)
    packer.array(tracks, "int64", most=MAX_EVENT_TRACKS)


def _unpack_events(unpacker: Unpacker) -> tuple[IdentityEvent, ...]:
    table = unpacker.rows("int64", columns=5, most=MAX_EVENTS)
    texts = _parts(memoryview(unpacker.raw(MAX_EVENTS * MAX_TEXT_BYTES)), table[:, 3])
    tracks = _parts(unpacker.rows("int64", most=MAX_EVENT_TRACKS), table[:, 4])
    kinds = table[:, 1]
    if (table[:, 0] < 1).any() or (table < 0).any() or (kinds >= len(DECISIONS)).any():
        raise MessageError("a decision out of range")
    return tuple(
        IdentityEvent(identity, DECISIONS[kind], t_ns, _text(text), _tracks(own))
        for (identity, kind, t_ns, _, _), text, own in zip(table.tolist(), texts, tracks, strict=True)
    )


def _kind(name: str) -> int:
    if name not in DECISIONS:
        raise MessageError(f"expected {' or '.join(DECISIONS)}")
    return DECISIONS.index(name)


def _text(data: memoryview) -> str:
    try:
        text = bytes(data).decode()
    except UnicodeDecodeError:
        raise MessageError("a text that is not UTF-8") from None
    if len(text) > MAX_TEXT:
        raise MessageError(f"a text of more than {MAX_TEXT} characters")
    return text


def _tracks(numbers: Int64) -> tuple[int, ...]:
    if (numbers < 1).any():
        raise MessageError("a track is an integer from 1")
    return tuple(numbers.tolist())


def _table(rows: Iterable[Sequence[int]], columns: int) -> Int64:
    """(N, columns); raises OverflowError for a number that has more than 64 bits."""
    return np.array(list(rows), np.int64).reshape(-1, columns)


def _parts(joined: Any, lengths: Int64) -> Iterator[Any]:
    """What was joined, apart again; raises MessageError where the lengths do not add up."""
    each = lengths.tolist()
    if any(length < 0 for length in each) or sum(each) != len(joined):
        raise MessageError("lengths that do not add up")
    return (joined[begin:end] for begin, end in pairwise(accumulate(each, initial=0)))
