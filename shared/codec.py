"""Messages to bytes and back.

`encode` gives the frames of a ZeroMQ multipart message: a msgpack header and the raw buffers behind
it, not copied.  `decode` validates everything it is given and raises `MessageError`, nothing else, on
anything that is not a well-formed message of this protocol version; arrays it returns are read-only
views of the received buffers.  `encode` raises it too, where the fault is: on what `decode` would refuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from shared.errors import MessageError
from shared.messages import (
    DECISIONS,
    MAX_PEOPLE,
    PROTOCOL_VERSION,
    Buffer,
    Checkpoint,
    End,
    Expected,
    Features,
    Followed,
    Frame,
    FrameStamp,
    IdentityEvent,
    LastSeen,
    Message,
    Motion,
    People,
    Report,
    Settled,
    Tracks,
)
from shared.packing import INT64_MAX, MAX_TEXT, Packer, Unpacker, shown, unpack_header

MAX_FEATURE_KINDS = 8
END_REASONS = ("finished", "stopped", "failed")
MAX_EXPECTED = 16
MAX_SETTLED = 4096


def _stamp_fields(stamp: FrameStamp) -> list[int]:
    return [stamp.camera, stamp.session, stamp.frame_index, stamp.t_ns, stamp.width, stamp.height]


def _text(value: str) -> str:
    """A text as it can be sent: cut to MAX_TEXT, and what UTF-8 has no bytes for (of a file's name) as ?."""
    return value[:MAX_TEXT].encode(errors="replace").decode()


def _same_length(*arrays: NDArray[Any]) -> None:
    if len({len(a) for a in arrays}) > 1:
        raise MessageError("arrays of one message have different numbers of people")


def _pack_frame(message: Frame, packer: Packer) -> list[Any]:
    packer.raw(message.jpeg)
    if message.motion is not None:
        packer.array(message.motion.grid, "float32")
        packer.array(message.motion.camera, "float32")
    return [*_stamp_fields(message.stamp), int(message.motion is not None)]


def _unpack_frame(unpacker: Unpacker) -> Frame:
    stamp, has_motion = unpacker.stamp(), unpacker.integer(0, 1)
    jpeg, motion = unpacker.raw(), None
    if has_motion:
        motion = Motion(unpacker.array("float32", (None, None, 2)), unpacker.array("float32", (2, 3)))
    return Frame(stamp, jpeg, motion)


def _pack_people(message: People, packer: Packer) -> list[Any]:
    packer.array(message.boxes, "float32")
    packer.array(message.scores, "float32")
    packer.array(message.flow, "float32")
    packer.array(message.camera_motion, "float32")
    for features in message.features.values():
        packer.array(features.of, "int32")
        packer.array(features.vectors, "float32")
        packer.array(features.quality, "float32")
    return [*_stamp_fields(message.stamp), message.clock_offset_ns, list(message.features)]


def _unpack_people(unpacker: Unpacker) -> People:
    stamp, offset = unpacker.stamp(), unpacker.integer(-INT64_MAX)
    kinds = unpacker.sequence(MAX_FEATURE_KINDS)
    boxes = unpacker.rows("float32", columns=4)
    scores = unpacker.rows("float32")
    flow = unpacker.rows("float32", columns=2, finite=False)
    camera_motion = unpacker.array("float32", (2, 3))
    _same_length(boxes, scores, flow)
    features: dict[str, Features] = {}
    for kind in kinds:
        of = unpacker.rows("int32")
        vectors = unpacker.array("float32", (None, None))
        quality = unpacker.rows("float32")
        _same_length(of, vectors, quality)
        if not isinstance(kind, str) or kind in features:
            raise MessageError("features without a name of their own")
        if len(of) and (of[0] < 0 or of[-1] >= len(boxes) or (np.diff(of) <= 0).any()):
            raise MessageError("features of people that are not in the message")
        features[kind] = Features(of, vectors, quality)
    return People(stamp, boxes, scores, flow, camera_motion, features, offset)


def _pack_tracks(message: Tracks, packer: Packer) -> list[Any]:
    packer.array(message.track_ids, "int64")
    packer.array(message.identity_ids, "int64")
    packer.array(message.boxes, "float32")
    packer.array(message.scores, "float32")
    packer.array(message.observed, "bool")
    packer.array(message.velocities, "float32")
    packer.array(message.paths, "float32")
    packer.array(message.assignments, "int64")
    return [*_stamp_fields(message.stamp), message.decision, _pack_settled(message.settled, packer)]


def _pack_settled(settled: Sequence[Settled], packer: Packer) -> list[list[Any]]:
    for each in settled:
        packer.array(each.track_ids, "int64")
        packer.array(each.boxes, "float32")
        packer.array(each.scores, "float32")
        packer.array(each.observed, "bool")
        packer.array(each.velocities, "float32")
    return [_stamp_fields(each.stamp) for each in settled]


def _unpack_settled(stamps: list[Any], unpacker: Unpacker) -> tuple[Settled, ...]:
    found = []
    for stamp in stamps:
        if not isinstance(stamp, list):
            raise MessageError("expected a list for each settled frame")
        one = Unpacker({"f": stamp, "a": []}, [])
        settled = Settled(
            stamp=one.stamp(),
            track_ids=unpacker.rows("int64"),
            boxes=unpacker.rows("float32", columns=4),
            scores=unpacker.rows("float32"),
            observed=unpacker.rows("bool"),
            velocities=unpacker.rows("float32", columns=2),
        )
        one.done()
        _same_length(settled.track_ids, settled.boxes, settled.scores, settled.observed, settled.velocities)
        found.append(settled)
    return tuple(found)


def _unpack_tracks(unpacker: Unpacker) -> Tracks:
    stamp, decision, settled = unpacker.stamp(), unpacker.integer(), unpacker.sequence(MAX_SETTLED)
    tracks = Tracks(
        stamp=stamp,
        decision=decision,
        track_ids=unpacker.rows("int64"),
        identity_ids=unpacker.rows("int64"),
        boxes=unpacker.rows("float32", columns=4),
        scores=unpacker.rows("float32"),
        observed=unpacker.rows("bool"),
        velocities=unpacker.rows("float32", columns=2),
        paths=unpacker.array("float32", (None, None, 2)),
        assignments=unpacker.rows("int64", columns=2),
        settled=_unpack_settled(settled, unpacker),
    )
    _same_length(
        tracks.track_ids,
        tracks.identity_ids,
        tracks.boxes,
        tracks.scores,
        tracks.observed,
        tracks.velocities,
        tracks.paths,
    )
    return tracks


def _pack_end(message: End, packer: Packer) -> list[Any]:
    packer.array(np.array(message.assignments, np.int64).reshape(-1, 2), "int64")
    settled = _pack_settled(message.settled, packer)
    told = [message.reason, _text(message.detail), message.frames, message.decision]
    return [*_stamp_fields(message.stamp), *told, settled]


def _unpack_end(unpacker: Unpacker) -> End:
    stamp, reason, detail = unpacker.stamp(), unpacker.text(END_REASONS), unpacker.text()
    frames, decision, settled = unpacker.integer(), unpacker.integer(), unpacker.sequence(MAX_SETTLED)
    assignments = tuple((track, who) for track, who in unpacker.rows("int64", columns=2).tolist())
    return End(stamp, reason, detail, frames, assignments, decision, _unpack_settled(settled, unpacker))


def _pack_checkpoint(message: Checkpoint, packer: Packer) -> list[Any]:
    packer.raw(message.state)
    for blob in message.identities.values():
        packer.raw(blob)
    positions = [[camera, *position] for camera, position in message.positions.items()]
    ends = [[camera, *position] for camera, position in message.ends.items()]
    return [
        positions,
        ends,
        [_pack_event(event, packer) for event in message.events],
        list(message.identities),
    ]


def _unpack_checkpoint(unpacker: Unpacker) -> Checkpoint:
    positions, ends = _positions(unpacker), _positions(unpacker)
    events = tuple(_unpack_event(Unpacker({"f": row, "a": []}, [])) for row in unpacker.sequence(1 << 16))
    identities = unpacker.sequence(1 << 20)
    if not all(type(i) is int and 0 < i <= INT64_MAX for i in identities):
        raise MessageError("an identity is an integer from 1")
    state = bytes(unpacker.raw())
    return Checkpoint(positions, state, {i: bytes(unpacker.raw()) for i in identities}, events, ends)


def _positions(unpacker: Unpacker) -> dict[int, tuple[int, int]]:
    positions: dict[int, tuple[int, int]] = {}
    for row in unpacker.sequence(1 << 16):
        if not isinstance(row, list) or len(row) != 3 or not all(type(v) is int and v >= 0 for v in row):
            raise MessageError("a position is camera, session and sequence number")
        positions[row[0]] = (row[1], row[2])
    return positions


def _pack_followed(message: Followed, _: Packer) -> list[Any]:
    return [
        [
            [p.identity, _text(p.name), p.camera, p.t_ns, p.x, p.y, p.sureness, [list(e) for e in p.expected]]
            for p in message.people
        ]
    ]


def _unpack_followed(unpacker: Unpacker) -> Followed:
    people = []
    for row in unpacker.sequence(MAX_PEOPLE):
        if not isinstance(row, list):
            raise MessageError("expected a list for each person")
        one = Unpacker({"f": row, "a": []}, [])
        people.append(
            LastSeen(
                identity=one.integer(1),
                name=one.text(),
                camera=one.integer(),
                t_ns=one.integer(),
                x=one.number(),
                y=one.number(),
                sureness=one.number(),
                expected=tuple(_expected(each) for each in one.sequence(MAX_EXPECTED)),
            )
        )
        one.done()
    return Followed(tuple(people))


def _expected(row: Any) -> Expected:
    if not isinstance(row, list):
        raise MessageError("expected a list for each camera")
    one = Unpacker({"f": row, "a": []}, [])
    expected = Expected(one.integer(), one.number(), one.number())
    one.done()
    return expected


def _pack_event(message: IdentityEvent, _: Packer) -> list[Any]:
    return [message.identity, message.kind, message.t_ns, _text(message.value), list(message.tracks)]


def _unpack_event(unpacker: Unpacker) -> IdentityEvent:
    return IdentityEvent(
        unpacker.integer(1),
        unpacker.text(DECISIONS),
        unpacker.integer(),
        unpacker.text(),
        tuple(unpacker.sequence(1 << 20)),
    )


def _pack_report(message: Report, _: Packer) -> list[Any]:
    return [
        _text(message.service),
        message.instance,
        _text(message.host),
        message.pid,
        message.t_ns,
        _text(message.state),
        # A reading that could not be taken must not cost the others.
        {_text(name): float(value) for name, value in message.readings.items() if math.isfinite(value)},
    ]


def _unpack_report(unpacker: Unpacker) -> Report:
    report = Report(
        service=unpacker.text(),
        instance=unpacker.integer(),
        host=unpacker.text(),
        pid=unpacker.integer(),
        t_ns=unpacker.integer(),
        state=unpacker.text(),
        readings=unpacker.mapping(),
    )
    for name, value in report.readings.items():
        if not isinstance(name, str) or type(value) not in (int, float) or not math.isfinite(value):
            raise MessageError("a reading is a name and a finite number")
    return report


_CODECS: dict[type, tuple[str, Callable[[Any, Packer], list[Any]], Callable[[Unpacker], Message]]] = {
    Frame: ("frame", _pack_frame, _unpack_frame),
    People: ("people", _pack_people, _unpack_people),
    Tracks: ("tracks", _pack_tracks, _unpack_tracks),
    End: ("end", _pack_end, _unpack_end),
    Checkpoint: ("checkpoint", _pack_checkpoint, _unpack_checkpoint),
    Followed: ("followed", _pack_followed, _unpack_followed),
    IdentityEvent: ("event", _pack_event, _unpack_event),
    Report: ("report", _pack_report, _unpack_report),
}
_BY_NAME = {name: unpack for name, _, unpack in _CODECS.values()}


def encode(message: Message) -> list[Buffer]:
    """The frames of a message: header first, buffers behind it (views, not copies).

    Free texts are cut and readings that are not finite left out.  Raises MessageError on any other value
    that `decode` would refuse, but for the arrays and stamps of frames, people and tracks: they come from
    the services' own cores, many times a second, and looking at them twice costs as much as sending them.
    """
    name, pack, _ = _CODECS[type(message)]
    packer = Packer()
    fields = pack(message, packer)
    try:
        header = msgpack.packb({"v": PROTOCOL_VERSION, "t": name, "f": fields, "a": packer.arrays})
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a {name} that cannot be written: {error}") from None
    frames = [header, *packer.buffers]
    if not isinstance(message, Frame | People | Tracks):
        decode(frames)
    return frames


def decode(frames: Sequence[Buffer]) -> Message:
    """The message in these frames; raises MessageError on anything else."""
    header = unpack_header(frames[0] if frames else b"")
    if header.get("v") != PROTOCOL_VERSION:
        raise MessageError(
            f"protocol version {shown(header.get('v'))}, this program speaks {PROTOCOL_VERSION}: "
            "run the same release of tracking-system on every machine"
        )
    name = header.get("t")
    unpack = _BY_NAME.get(name) if isinstance(name, str) else None
    if unpack is None:
        raise MessageError(f"unknown message type {shown(name)}")
    unpacker = Unpacker(header, frames[1:])
    message = unpack(unpacker)
    unpacker.done()
    return message
