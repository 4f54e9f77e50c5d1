"""Messages to bytes and back.

`encode` gives the frames of a ZeroMQ multipart message: a msgpack header and the raw buffers behind
it, not copied.  `decode` validates everything it is given and raises `MessageError`, nothing else, on
anything that is not a well-formed message of this protocol version; arrays it returns are read-only
views of the received buffers.  `encode` raises it too, where the fault is: on what `decode` would refuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, islice, pairwise, starmap
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from shared.checkpoint_codec import pack_checkpoint, pack_event, unpack_checkpoint, unpack_event
from shared.errors import MessageError
from shared.limits import (
    MAX_ASSIGNMENTS,
    MAX_CAMERA,
    MAX_CHECKPOINT_BYTES,
    MAX_CLOCK_OFFSET_NS,
    MAX_EXPECTED,
    MAX_FEATURE_KINDS,
    MAX_FOLLOWED,
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_READINGS,
    MAX_SETTLED,
    MAX_SETTLED_ROWS,
    MAX_TRACKS,
)
from shared.messages import (
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
from shared.packing import STAMP_FIELDS, Packer, Unpacker, sendable_text, shown, stamp_of, unpack_header

END_REASONS = ("finished", "stopped", "failed")


def _stamp_fields(stamp: FrameStamp) -> list[int]:
    values = [stamp.camera, stamp.session, stamp.frame_index, stamp.t_ns, stamp.width, stamp.height]
    stamp_of(values)
    return values


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
    packer.array(message.flow, "float32", finite=False)
    packer.array(message.camera_motion, "float32")
    for features in message.features.values():
        packer.array(features.of, "int32")
        packer.array(features.vectors, "float32")
        packer.array(features.quality, "float32")
    if abs(message.clock_offset_ns) > MAX_CLOCK_OFFSET_NS:
        raise MessageError(f"clocks differ by {message.clock_offset_ns} ns, at most 60 years are allowed")
    if len(message.features) > MAX_FEATURE_KINDS:
        raise MessageError(f"{len(message.features)} kinds of features, at most {MAX_FEATURE_KINDS}")
    return [*_stamp_fields(message.stamp), message.clock_offset_ns, list(message.features)]


def _unpack_people(unpacker: Unpacker) -> People:
    stamp, offset = unpacker.stamp(), unpacker.integer(-MAX_CLOCK_OFFSET_NS, MAX_CLOCK_OFFSET_NS)
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
    packer.array(message.track_ids, "int64", most=MAX_TRACKS)
    packer.array(message.identity_ids, "int64", most=MAX_TRACKS)
    packer.array(message.boxes, "float32", most=MAX_TRACKS)
    packer.array(message.scores, "float32", most=MAX_TRACKS)
    packer.array(message.observed, "bool", most=MAX_TRACKS)
    packer.array(message.velocities, "float32", most=MAX_TRACKS)
    packer.array(message.paths, "float32", most=MAX_TRACKS)
    packer.array(message.assignments, "int64", most=MAX_ASSIGNMENTS)
    return [*_stamp_fields(message.stamp), message.decision, _pack_settled(message.settled, packer)]


def _pack_settled(settled: Sequence[Settled], packer: Packer) -> int:
    """The arrays of all settled frames, one frame behind another; the header's field is their number."""
    if settled:
        stamps = np.array([_stamp_fields(each.stamp) for each in settled], np.int64)
        counts = np.array([len(each.track_ids) for each in settled], np.int64)
        packer.array(stamps, "int64", most=MAX_SETTLED)
        packer.array(counts, "int64", most=MAX_SETTLED)
        for values, dtype in (
            ([each.track_ids for each in settled], "int64"),
            ([each.boxes for each in settled], "float32"),
            ([each.scores for each in settled], "float32"),
            ([each.observed for each in settled], "bool"),
            ([each.velocities for each in settled], "float32"),
        ):
            packer.array(np.concatenate(values), dtype, most=MAX_SETTLED_ROWS)
    return len(settled)


def _unpack_settled(count: int, unpacker: Unpacker) -> tuple[Settled, ...]:
    if not count:
        return ()
    stamps = unpacker.array("int64", (count, STAMP_FIELDS)).tolist()
    counts = unpacker.array("int64", (count,)).tolist()
    ids = unpacker.rows("int64", most=MAX_SETTLED_ROWS)
    boxes = unpacker.rows("float32", columns=4, most=MAX_SETTLED_ROWS)
    scores = unpacker.rows("float32", most=MAX_SETTLED_ROWS)
    observed = unpacker.rows("bool", most=MAX_SETTLED_ROWS)
    velocities = unpacker.rows("float32", columns=2, most=MAX_SETTLED_ROWS)
    _same_length(ids, boxes, scores, observed, velocities)
    if any(each < 0 for each in counts) or sum(counts) != len(ids):
        raise MessageError("settled frames have another number of people than they say")
    parts = starmap(slice, pairwise(accumulate(counts, initial=0)))
    return tuple(
        Settled(stamp_of(stamp), ids[own], boxes[own], scores[own], observed[own], velocities[own])
        for stamp, own in zip(stamps, parts, strict=True)
    )


def _unpack_tracks(unpacker: Unpacker) -> Tracks:
    stamp, decision, settled = unpacker.stamp(), unpacker.integer(), unpacker.integer(0, MAX_SETTLED)
    tracks = Tracks(
        stamp=stamp,
        decision=decision,
        track_ids=unpacker.rows("int64", most=MAX_TRACKS),
        identity_ids=unpacker.rows("int64", most=MAX_TRACKS),
        boxes=unpacker.rows("float32", columns=4, most=MAX_TRACKS),
        scores=unpacker.rows("float32", most=MAX_TRACKS),
        observed=unpacker.rows("bool", most=MAX_TRACKS),
        velocities=unpacker.rows("float32", columns=2, most=MAX_TRACKS),
        paths=unpacker.array("float32", (None, None, 2), most=MAX_TRACKS),
        assignments=unpacker.rows("int64", columns=2, most=MAX_ASSIGNMENTS),
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
    assignments = np.array(message.assignments, np.int64).reshape(-1, 2)
    packer.array(assignments, "int64", most=MAX_ASSIGNMENTS)
    settled = _pack_settled(message.settled, packer)
    told = [message.reason, sendable_text(message.detail), message.frames, message.decision]
    return [*_stamp_fields(message.stamp), *told, settled]


def _unpack_end(unpacker: Unpacker) -> End:
    stamp, reason, detail = unpacker.stamp(), unpacker.text(END_REASONS), unpacker.text()
    frames, decision, settled = unpacker.integer(), unpacker.integer(), unpacker.integer(0, MAX_SETTLED)
    rows = unpacker.rows("int64", columns=2, most=MAX_ASSIGNMENTS)
    assignments = tuple((track, who) for track, who in rows.tolist())
    return End(stamp, reason, detail, frames, assignments, decision, _unpack_settled(settled, unpacker))


def _pack_followed(message: Followed, _: Packer) -> list[Any]:
    return [
        [
            [
                p.identity,
                sendable_text(p.name),
                p.camera,
                p.t_ns,
                p.x,
                p.y,
                p.sureness,
                [list(e) for e in p.expected],
            ]
            for p in message.people
        ]
    ]


def _unpack_followed(unpacker: Unpacker) -> Followed:
    people = []
    for row in unpacker.sequence(MAX_FOLLOWED):
        if not isinstance(row, list):
            raise MessageError("expected a list for each person")
        one = Unpacker({"f": row, "a": []}, [])
        people.append(
            LastSeen(
                identity=one.integer(1),
                name=one.text(),
                camera=one.integer(0, MAX_CAMERA),
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


def _pack_report(message: Report, _: Packer) -> list[Any]:
    return [
        sendable_text(message.service),
        message.instance,
        sendable_text(message.host),
        message.pid,
        message.t_ns,
        sendable_text(message.state),
        # A reading that could not be taken must not cost the others.
        {
            sendable_text(name): float(value)
            for name, value in islice(message.readings.items(), MAX_READINGS)
            if math.isfinite(value)
        },
    ]


def _unpack_report(unpacker: Unpacker) -> Report:
    report = Report(
        service=unpacker.text(),
        instance=unpacker.integer(),
        host=unpacker.text(),
        pid=unpacker.integer(),
        t_ns=unpacker.integer(),
        state=unpacker.text(),
        readings=unpacker.mapping(MAX_READINGS),
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
    Checkpoint: ("checkpoint", pack_checkpoint, unpack_checkpoint),
    Followed: ("followed", _pack_followed, _unpack_followed),
    IdentityEvent: ("event", pack_event, unpack_event),
    Report: ("report", _pack_report, _unpack_report),
}
_BY_NAME = {name: unpack for name, _, unpack in _CODECS.values()}


def encode(message: Message) -> list[Buffer]:
    """The frames of a message: header first, buffers behind it (views, not copies).

    Free texts are cut and readings that are not finite left out.  Raises MessageError, naming the kind of
    message and the limit, for whatever `decode` would refuse, so that nothing is ever put on the wire that
    ends in a closed connection or a refused stream.  Frames, people and tracks, which are sent many times a
    second, are checked while they are packed, and not decoded once more.
    """
    name, pack, _ = _CODECS[type(message)]
    packer = Packer()
    try:
        fields = pack(message, packer)
        header = msgpack.packb({"v": PROTOCOL_VERSION, "t": name, "f": fields, "a": packer.arrays})
        frames = [header, *packer.buffers]
        _check_size(name, frames)
        if not isinstance(message, Frame | People | Tracks):
            decode(frames)
    except (TypeError, ValueError, OverflowError, MessageError) as error:
        raise MessageError(f"a {name} that cannot be sent: {error}") from None
    return frames


def described(frames: Sequence[Buffer]) -> str:
    """An encoded message for the text of an error: its kind, its size and that of its longest part."""
    kind = unpack_header(frames[0]).get("t")
    return f"{kind} of {sum(map(len, frames))} bytes, its longest part {max(map(len, frames))}"


def _check_size(name: str, frames: Sequence[Buffer]) -> None:
    most = MAX_CHECKPOINT_BYTES if name == "checkpoint" else MAX_MESSAGE_BYTES
    total = sum(map(len, frames))
    if total > most:
        raise MessageError(f"{total} bytes, at most {most} are allowed for a {name}")
    if len(frames[0]) > MAX_HEADER_BYTES:
        raise MessageError(f"a header of {len(frames[0])} bytes, at most {MAX_HEADER_BYTES} are allowed")


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
    _check_size(str(name), frames)
    unpacker = Unpacker(header, frames[1:])
    message = unpack(unpacker)
    unpacker.done()
    return message
