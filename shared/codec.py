"""Messages to bytes and back.

`encode` gives the frames of a ZeroMQ multipart message: a msgpack header and the raw buffers behind
it, not copied.  `decode` validates everything it is given and raises `MessageError`, nothing else, on
anything that is not a well-formed message of this protocol version; arrays it returns are read-only
views of the received buffers.  `encode` raises it too, where the fault is: on what `decode` would refuse.
"""

from __future__ import annotations

import itertools
import math
import reprlib
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

MAX_HEADER_BYTES = 1 << 22
MAX_SIDE_PX = 1 << 15
MAX_FEATURE_DIMENSIONS = 4096
MAX_FEATURE_KINDS = 8
MAX_TEXT = 1024
END_REASONS = ("finished", "stopped", "failed")
MAX_EXPECTED = 16
MAX_SETTLED = 4096

_INT64_MAX = (1 << 63) - 1


class _Packer:
    """Collects the arrays of one message while its header is made."""

    def __init__(self) -> None:
        self.arrays: list[tuple[str, list[int]]] = []
        self.buffers: list[Buffer] = []

    def array(self, value: NDArray[Any], dtype: str) -> None:
        contiguous = np.ascontiguousarray(value, dtype=dtype)
        self.arrays.append((dtype, list(contiguous.shape)))
        # memoryview cannot cast arrays with a zero in their shape; an empty buffer says the same.
        self.buffers.append(contiguous.data.cast("B") if contiguous.size else b"")

    def raw(self, value: Buffer) -> None:
        self.arrays.append(("raw", [len(value)]))
        self.buffers.append(value)


class _Unpacker:
    """Hands out the fields and buffers of one message, each checked as it is taken."""

    def __init__(self, header: dict[str, Any], buffers: Sequence[Buffer]) -> None:
        fields, arrays = header.get("f"), header.get("a")
        if not isinstance(fields, list) or not isinstance(arrays, list) or len(arrays) != len(buffers):
            raise MessageError("header without its fields, or with other buffers than it names")
        self._fields = iter(fields)
        self._arrays = iter(zip(arrays, buffers, strict=True))

    def _next(self) -> Any:
        try:
            return next(self._fields)
        except StopIteration:
            raise MessageError("a field is missing") from None

    def integer(self, low: int = 0, high: int = _INT64_MAX) -> int:
        value = self._next()
        if type(value) is not int or not low <= value <= high:
            raise MessageError(f"expected an integer from {low} to {high}, got {shown(value)}")
        return value

    def number(self) -> float:
        value = self._next()
        if type(value) not in (int, float) or not math.isfinite(value):
            raise MessageError(f"expected a finite number, got {shown(value)}")
        return float(value)

    def text(self, choices: Sequence[str] = ()) -> str:
        value = self._next()
        if not isinstance(value, str) or len(value) > MAX_TEXT or (choices and value not in choices):
            raise MessageError(f"expected {' or '.join(choices) or 'a text'}, got {shown(value)}")
        return value

    def mapping(self) -> dict[Any, Any]:
        value = self._next()
        if not isinstance(value, dict):
            raise MessageError("expected a mapping")
        return value

    def sequence(self, most: int) -> list[Any]:
        value = self._next()
        if not isinstance(value, list) or len(value) > most:
            raise MessageError("expected a list")
        return value

    def stamp(self) -> FrameStamp:
        # In every frame's way: one comparison of all six instead of six calls of `integer`.
        values = tuple(itertools.islice(self._fields, 6))
        if len(values) < 6 or any(type(value) is not int for value in values):
            raise MessageError(f"a stamp is six integers, not {shown(values)}")
        camera, session, frame_index, t_ns, width, height = values
        if not (
            1 <= camera <= _INT64_MAX
            and 0 <= session <= _INT64_MAX
            and 0 <= frame_index <= _INT64_MAX
            and 0 <= t_ns <= _INT64_MAX
            and 0 <= width <= MAX_SIDE_PX
            and 0 <= height <= MAX_SIDE_PX
        ):
            raise MessageError(f"a stamp out of range: {shown(values)}")
        return FrameStamp(camera, session, frame_index, t_ns, width, height)

    def _buffer(self) -> tuple[Any, Buffer]:
        try:
            described, buffer = next(self._arrays)
        except StopIteration:
            raise MessageError("a buffer is missing") from None
        if not isinstance(described, list) or len(described) != 2:
            raise MessageError("a buffer without dtype and shape")
        return described, buffer

    def array(self, dtype: str, shape: tuple[int | None, ...], *, finite: bool = True) -> NDArray[Any]:
        """The next array; None in `shape` leaves that side free, up to MAX_PEOPLE."""
        (got_dtype, got_shape), buffer = self._buffer()
        if got_dtype != dtype or not isinstance(got_shape, list) or len(got_shape) != len(shape):
            raise MessageError(f"expected {dtype} of {len(shape)} dimensions, got {shown(got_dtype)}")
        for got, wanted in zip(got_shape, shape, strict=True):
            most = MAX_FEATURE_DIMENSIONS if wanted is None else wanted
            if type(got) is not int or not (0 if wanted is None else wanted) <= got <= most:
                raise MessageError(f"expected shape {shape}, got {shown(got_shape)}")
        if math.prod(got_shape) * np.dtype(dtype).itemsize != len(buffer):
            raise MessageError("a buffer is not as long as its shape says")
        value = np.frombuffer(buffer, dtype=dtype).reshape(got_shape)
        if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise MessageError("an array holds NaN or infinity")
        if value.dtype.kind == "b" and (value.view(np.uint8) > 1).any():
            raise MessageError("a truth value is neither 0 nor 1")
        value.flags.writeable = False
        return value

    def rows(self, dtype: str, *, columns: int | None = None, finite: bool = True) -> NDArray[Any]:
        shape = (None,) if columns is None else (None, columns)
        value = self.array(dtype, shape, finite=finite)
        if len(value) > MAX_PEOPLE:
            raise MessageError(f"more than {MAX_PEOPLE} people in one message")
        return value

    def raw(self) -> Buffer:
        (kind, shape), buffer = self._buffer()
        if kind != "raw" or shape != [len(buffer)]:
            raise MessageError("expected a raw buffer of the length the header says")
        return buffer

    def done(self) -> None:
        if next(self._fields, self) is not self or next(self._arrays, self) is not self:
            raise MessageError("more fields or buffers than the type has")


def _stamp_fields(stamp: FrameStamp) -> list[int]:
    return [stamp.camera, stamp.session, stamp.frame_index, stamp.t_ns, stamp.width, stamp.height]


def _text(value: str) -> str:
    """A text as it can be sent: cut to MAX_TEXT, and what UTF-8 has no bytes for (of a file's name) as ?."""
    return value[:MAX_TEXT].encode(errors="replace").decode()


def _same_length(*arrays: NDArray[Any]) -> None:
    if len({len(a) for a in arrays}) > 1:
        raise MessageError("arrays of one message have different numbers of people")


def _pack_frame(message: Frame, packer: _Packer) -> list[Any]:
    packer.raw(message.jpeg)
    if message.motion is not None:
        packer.array(message.motion.grid, "float32")
        packer.array(message.motion.camera, "float32")
    return [*_stamp_fields(message.stamp), int(message.motion is not None)]


def _unpack_frame(unpacker: _Unpacker) -> Frame:
    stamp, has_motion = unpacker.stamp(), unpacker.integer(0, 1)
    jpeg, motion = unpacker.raw(), None
    if has_motion:
        motion = Motion(unpacker.array("float32", (None, None, 2)), unpacker.array("float32", (2, 3)))
    return Frame(stamp, jpeg, motion)


def _pack_people(message: People, packer: _Packer) -> list[Any]:
    packer.array(message.boxes, "float32")
    packer.array(message.scores, "float32")
    packer.array(message.flow, "float32")
    packer.array(message.camera_motion, "float32")
    for features in message.features.values():
        packer.array(features.of, "int32")
        packer.array(features.vectors, "float32")
        packer.array(features.quality, "float32")
    return [*_stamp_fields(message.stamp), message.clock_offset_ns, list(message.features)]


def _unpack_people(unpacker: _Unpacker) -> People:
    stamp, offset = unpacker.stamp(), unpacker.integer(-_INT64_MAX)
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


def _pack_tracks(message: Tracks, packer: _Packer) -> list[Any]:
    packer.array(message.track_ids, "int64")
    packer.array(message.identity_ids, "int64")
    packer.array(message.boxes, "float32")
    packer.array(message.scores, "float32")
    packer.array(message.observed, "bool")
    packer.array(message.velocities, "float32")
    packer.array(message.paths, "float32")
    packer.array(message.assignments, "int64")
    return [*_stamp_fields(message.stamp), message.decision, _pack_settled(message.settled, packer)]


def _pack_settled(settled: Sequence[Settled], packer: _Packer) -> list[list[Any]]:
    for each in settled:
        packer.array(each.track_ids, "int64")
        packer.array(each.boxes, "float32")
        packer.array(each.scores, "float32")
        packer.array(each.observed, "bool")
        packer.array(each.velocities, "float32")
    return [_stamp_fields(each.stamp) for each in settled]


def _unpack_settled(stamps: list[Any], unpacker: _Unpacker) -> tuple[Settled, ...]:
    found = []
    for stamp in stamps:
        if not isinstance(stamp, list):
            raise MessageError("expected a list for each settled frame")
        one = _Unpacker({"f": stamp, "a": []}, [])
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


def _unpack_tracks(unpacker: _Unpacker) -> Tracks:
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


def _pack_end(message: End, packer: _Packer) -> list[Any]:
    packer.array(np.array(message.assignments, np.int64).reshape(-1, 2), "int64")
    settled = _pack_settled(message.settled, packer)
    told = [message.reason, _text(message.detail), message.frames, message.decision]
    return [*_stamp_fields(message.stamp), *told, settled]


def _unpack_end(unpacker: _Unpacker) -> End:
    stamp, reason, detail = unpacker.stamp(), unpacker.text(END_REASONS), unpacker.text()
    frames, decision, settled = unpacker.integer(), unpacker.integer(), unpacker.sequence(MAX_SETTLED)
    assignments = tuple((track, who) for track, who in unpacker.rows("int64", columns=2).tolist())
    return End(stamp, reason, detail, frames, assignments, decision, _unpack_settled(settled, unpacker))


def _pack_checkpoint(message: Checkpoint, packer: _Packer) -> list[Any]:
    packer.raw(message.state)
    for blob in message.identities.values():
        packer.raw(blob)
    positions = [[camera, *position] for camera, position in message.positions.items()]
    return [positions, list(message.identities)]


def _unpack_checkpoint(unpacker: _Unpacker) -> Checkpoint:
    positions: dict[int, tuple[int, int]] = {}
    for row in unpacker.sequence(1 << 16):
        if not isinstance(row, list) or len(row) != 3 or not all(type(v) is int and v >= 0 for v in row):
            raise MessageError("a position is camera, session and sequence number")
        positions[row[0]] = (row[1], row[2])
    identities = unpacker.sequence(1 << 20)
    if not all(type(i) is int and 0 < i <= _INT64_MAX for i in identities):
        raise MessageError("an identity is an integer from 1")
    state = bytes(unpacker.raw())
    return Checkpoint(positions, state, {i: bytes(unpacker.raw()) for i in identities})


def _pack_followed(message: Followed, _: _Packer) -> list[Any]:
    return [
        [
            [p.identity, _text(p.name), p.camera, p.t_ns, p.x, p.y, p.sureness, [list(e) for e in p.expected]]
            for p in message.people
        ]
    ]


def _unpack_followed(unpacker: _Unpacker) -> Followed:
    people = []
    for row in unpacker.sequence(MAX_PEOPLE):
        if not isinstance(row, list):
            raise MessageError("expected a list for each person")
        one = _Unpacker({"f": row, "a": []}, [])
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
    one = _Unpacker({"f": row, "a": []}, [])
    expected = Expected(one.integer(), one.number(), one.number())
    one.done()
    return expected


def _pack_event(message: IdentityEvent, _: _Packer) -> list[Any]:
    return [message.identity, message.kind, message.t_ns, _text(message.value)]


def _unpack_event(unpacker: _Unpacker) -> IdentityEvent:
    return IdentityEvent(unpacker.integer(1), unpacker.text(DECISIONS), unpacker.integer(), unpacker.text())


def _pack_report(message: Report, _: _Packer) -> list[Any]:
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


def _unpack_report(unpacker: _Unpacker) -> Report:
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


_CODECS: dict[type, tuple[str, Callable[[Any, _Packer], list[Any]], Callable[[_Unpacker], Message]]] = {
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
    packer = _Packer()
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
    unpacker = _Unpacker(header, frames[1:])
    message = unpack(unpacker)
    unpacker.done()
    return message


def shown(value: object) -> str:
    """A received value for the text of an error: short, however long or deeply nested it is."""
    return reprlib.repr(value)[:80]


def unpack_header(buffer: Buffer) -> dict[str, Any]:
    """A msgpack mapping with text keys; raises MessageError on anything else."""
    if len(buffer) > MAX_HEADER_BYTES:
        raise MessageError("header too long")
    try:
        header = msgpack.unpackb(buffer, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise MessageError(f"not msgpack: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise MessageError("the header is not a mapping")
    return header
