"""Messages to bytes and back, and everything that is no message."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codec import decode, encode
from shared.errors import MessageError
from shared.limits import (
    MAX_ASSIGNMENTS,
    MAX_CAMERA,
    MAX_CHECKPOINT_BYTES,
    MAX_CLOCK_OFFSET_NS,
    MAX_FOLLOWED,
    MAX_IDENTITIES,
    MAX_JPEG_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PEOPLE,
    MAX_READINGS,
    MAX_SIDE_PX,
    MAX_T_NS,
    MAX_TEXT,
    MAX_TRACKS,
    PART_BYTES,
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
)
from tests.shared.samples import (
    INT64_MAX,
    any_people,
    messages,
    numbered,
    one_of_each,
    people,
    report,
    same,
    tracks,
)

STAMP = FrameStamp(1, 2, 3, 4, 640, 480)


def as_received(message: Message) -> list[bytes]:
    return [bytes(frame) for frame in encode(message)]


def decoded_or_refused(frames: list[bytes]) -> None:
    """Whatever comes, the only outcomes are a message that can be sent on, and MessageError."""
    try:
        message = decode(frames)
    except MessageError as error:
        assert len(str(error)) < 500
    else:
        assert same(decode(as_received(message)), message)


@given(messages)
@settings(max_examples=150, deadline=None)
def test_every_message_comes_back_as_it_went(message: Message) -> None:
    assert same(decode(as_received(message)), message)


def test_there_is_a_sample_of_every_type() -> None:
    assert {type(message) for message in one_of_each()} == set(Message.__args__)


@given(messages, st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_is_a_message_or_refused(message: Message, data: Any) -> None:
    frames = as_received(message)
    which = data.draw(st.integers(0, len(frames) - 1))
    if frames[which]:
        place = data.draw(st.integers(0, len(frames[which]) - 1))
        flipped = bytearray(frames[which])
        flipped[place] ^= data.draw(st.integers(1, 255))
        frames[which] = bytes(flipped)
    decoded_or_refused(frames)


@given(messages, st.data())
@settings(max_examples=100, deadline=None)
def test_truncated_missing_swapped_and_added_frames_are_a_message_or_refused(
    message: Message, data: Any
) -> None:
    frames = as_received(message)
    place = data.draw(st.integers(0, len(frames) - 1))
    match data.draw(st.sampled_from(["truncate", "drop", "swap", "add"])):
        case "truncate":
            frames[place] = frames[place][: data.draw(st.integers(0, len(frames[place])))]
        case "drop":
            del frames[place]
        case "swap":
            other = data.draw(st.integers(0, len(frames) - 1))
            frames[place], frames[other] = frames[other], frames[place]
        case "add":
            frames.insert(place, data.draw(st.binary(max_size=10)))
    decoded_or_refused(frames)


structures = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(["float32", "int64", "bool", "raw", "finished"]),
    lambda inner: (
        st.lists(inner, max_size=7)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=20,
)
TYPES = ["frame", "people", "tracks", "end", "checkpoint", "followed", "event", "report"]


@given(
    st.sampled_from(TYPES),
    st.lists(structures, max_size=10) | structures,
    st.lists(structures | st.tuples(st.just("float32"), st.lists(st.integers(-1, 9), max_size=3)), max_size=4)
    | structures,
    st.lists(st.binary(max_size=40), max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_random_structures_in_a_valid_header_are_a_message_or_refused(
    name: str, fields: Any, arrays: Any, buffers: list[bytes]
) -> None:
    header = {"v": PROTOCOL_VERSION, "t": name, "f": fields, "a": arrays}
    decoded_or_refused([msgpack.packb(header), *buffers])


@given(messages, st.data())
@settings(max_examples=200, deadline=None)
def test_any_field_replaced_by_any_structure_is_a_message_or_refused(message: Message, data: Any) -> None:
    header_bytes, *buffers = as_received(message)
    header = msgpack.unpackb(header_bytes)
    target = data.draw(st.sampled_from([part for part in (header["f"], header["a"]) if part]))
    target[data.draw(st.integers(0, len(target) - 1))] = data.draw(structures)
    decoded_or_refused([msgpack.packb(header), *buffers])


@given(st.lists(st.binary(max_size=80), max_size=4))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(MessageError):
        decode(frames)


def test_ten_thousand_mutations_of_real_messages_are_each_a_message_or_refused() -> None:
    rng = random.Random(1)
    samples = [as_received(message) for message in one_of_each()]
    for _ in range(10_000):
        frames = [bytearray(frame) for frame in rng.choice(samples)]
        for _ in range(rng.randint(1, 4)):
            frame = rng.choice(frames)
            if frame:
                frame[rng.randrange(len(frame))] = rng.randrange(256)
        decoded_or_refused([bytes(frame) for frame in frames])


@pytest.mark.parametrize("depth", [100, 900, 1_000, 1_015, 5_000, 100_000])
@pytest.mark.parametrize("name", [*TYPES, None])
def test_nesting_of_any_depth_is_refused(name: str | None, depth: int) -> None:
    deep = b"\x91" * depth + b"\xc0"
    type_ = deep if name is None else msgpack.packb(name)
    for fields, arrays in ((b"\x91" + deep, b"\x90"), (b"\x90", b"\x91" + deep), (deep, deep)):
        header = (
            b"\x84\xa1v"
            + bytes([PROTOCOL_VERSION])
            + b"\xa1t"
            + type_
            + b"\xa1f"
            + fields
            + b"\xa1a"
            + arrays
        )
        with pytest.raises(MessageError):
            decode([header])
        with pytest.raises(MessageError):
            decode([header, b""])
    with pytest.raises(MessageError):
        decode([b"\x81\xa1v" + deep])


def with_array(message: Message, place: int, described: object, buffer: bytes) -> list[bytes]:
    """The message's frames with another array put in the place of one of its own."""
    header_bytes, *buffers = as_received(message)
    header = msgpack.unpackb(header_bytes)
    header["a"][place] = described
    buffers[place] = buffer
    return [msgpack.packb(header), *buffers]


@pytest.mark.parametrize(
    ("described", "buffer"),
    [
        (["float64", [3, 4]], bytes(96)),
        (["object", [3, 4]], bytes(96)),
        (["O", [3, 4]], bytes(96)),
        (["float32", [12]], bytes(48)),
        (["float32", [3, 4, 1]], bytes(48)),
        (["float32", [4, 3]], bytes(48)),
        (["float32", [-3, -4]], bytes(48)),
        (["float32", [3.0, 4]], bytes(48)),
        (["float32", [True, 4]], bytes(16)),
        (["float32", [3, 4]], bytes(47)),
        (["float32", [1 << 62, 4]], b""),
        (["float32", [5000, 4]], bytes(80_000)),
        (["float32", [3, 4]], np.full(12, np.nan, np.float32).tobytes()),
        (["float32", [3, 4]], np.full(12, np.inf, np.float32).tobytes()),
        (["raw", [48]], bytes(48)),
        (["float32", "34"], bytes(48)),
        ("float32", bytes(48)),
        (None, b""),
    ],
)
def test_boxes_of_another_type_shape_or_size_are_refused(described: object, buffer: bytes) -> None:
    with pytest.raises(MessageError):
        decode(with_array(people(3), 0, described, buffer))


def test_a_truth_value_other_than_0_and_1_is_refused() -> None:
    with pytest.raises(MessageError, match="truth value"):
        decode(with_array(tracks(2), 4, ["bool", [2]], b"\x01\x02"))


@pytest.mark.parametrize("of", [[-1, 0, 1], [0, 0, 1], [2, 1, 0], [0, 1, 3]])
def test_features_of_people_that_are_not_there_are_refused(of: list[int]) -> None:
    with pytest.raises(MessageError):
        decode(with_array(people(3), 4, ["int32", [3]], np.array(of, np.int32).tobytes()))


def test_another_protocol_version_is_refused_with_the_remedy() -> None:
    header_bytes, *buffers = as_received(numbered(1))
    header = msgpack.unpackb(header_bytes)
    header["v"] = PROTOCOL_VERSION + 1
    with pytest.raises(MessageError, match="same release of tracking-system on every machine"):
        decode([msgpack.packb(header), *buffers])


@pytest.mark.parametrize("message", [people(3), tracks(3)])
def test_decoded_arrays_are_read_only_views_of_what_was_received(message: Message) -> None:
    received: list[Buffer] = [bytearray(frame) for frame in encode(message)]
    decoded = decode(received)
    assert isinstance(decoded, type(people()) | type(tracks()))
    assert any(np.shares_memory(decoded.boxes, np.frombuffer(frame, np.uint8)) for frame in received[1:])
    with pytest.raises(ValueError, match="read-only"):
        decoded.boxes[0, 0] = 1


def test_a_jpeg_is_neither_copied_into_the_header_nor_on_the_way_out() -> None:
    jpeg = bytes(100_000)
    frames = encode(numbered(1, jpeg=jpeg))
    assert len(frames[0]) < 200
    assert frames[1] is jpeg
    frame = decode(frames)
    assert isinstance(frame, Frame)
    assert frame.jpeg is jpeg


def test_an_array_is_sent_as_a_view() -> None:
    message = people(3)
    message.boxes[0, 0] = 5
    view = np.frombuffer(encode(message)[1], np.float32)
    assert np.shares_memory(view, message.boxes)


def test_nothing_is_pickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            raise AssertionError("pickled")

    with pytest.raises(MessageError):
        encode(End(STAMP, "failed", "", Bomb()))  # type: ignore[arg-type]


@given(st.text(max_size=3000))
@settings(max_examples=40, deadline=None)
def test_any_text_arrives_cut_to_the_limit_with_what_utf8_lacks_replaced(text: str) -> None:
    wanted = text[:MAX_TEXT].encode(errors="replace").decode()
    end = decode(as_received(End(STAMP, "failed", text)))
    assert isinstance(end, End)
    assert end.detail == wanted
    event = decode(as_received(IdentityEvent(1, "name", 2, text)))
    assert isinstance(event, IdentityEvent)
    assert event.value == wanted
    followed = decode(as_received(Followed((LastSeen(1, text, 1, 1, 0.0, 0.0),))))
    assert isinstance(followed, Followed)
    assert followed.people[0].name == wanted
    said = decode(as_received(Report(text, 0, text, 1, 2, text, {text: 1.0})))
    assert isinstance(said, Report)
    assert (said.service, said.host, said.state, *said.readings) == (wanted,) * 4


def test_a_reading_that_is_not_a_number_does_not_cost_the_others() -> None:
    readings = {"a": math.nan, "b": math.inf, "c": 1.0, "d": 2.0}
    said = decode(as_received(replace(report(), readings=readings)))
    assert isinstance(said, Report)
    assert said.readings == {"c": 1.0, "d": 2.0}


@pytest.mark.parametrize(
    "message",
    [
        End(STAMP, "tired"),
        End(STAMP, "failed", frames=-1),
        End(STAMP, "failed", frames=1 << 70),
        IdentityEvent(0, "name", 1),
        IdentityEvent(1, "rename", 1),
        Frame(replace(STAMP, t_ns=np.int64(1)), b""),  # type: ignore[arg-type]
        Followed((LastSeen(1, "", 1, 1, math.nan, 0.0),)),
        Checkpoint({-1: (0, 0)}, b""),
        Checkpoint({}, b"", {0: b""}),
    ],
)
def test_what_would_be_refused_on_arrival_is_refused_where_it_is_made(message: Message) -> None:
    with pytest.raises(MessageError):
        encode(message)


@given(any_people(), st.data())
@settings(max_examples=40, deadline=None)
def test_arrays_of_any_memory_order_arrive_the_same(message: People, data: Any) -> None:
    fortran = replace(message, boxes=np.asfortranarray(message.boxes), flow=message.flow[::-1])
    assert same(decode(as_received(fortran)), replace(message, flow=np.ascontiguousarray(message.flow[::-1])))


def test_a_checkpoint_of_a_hundred_thousand_identities_fits() -> None:
    message = Checkpoint({1: (2, 3)}, b"", dict.fromkeys(range(1, 100001), b"x"))
    assert same(decode(encode(message)), message)


def test_a_checkpoint_is_few_parts_whatever_it_holds_and_its_header_is_short() -> None:
    decision = IdentityEvent(3, "name", 4, "x" * MAX_TEXT, tuple(range(1, 1000)))
    message = Checkpoint(
        dict.fromkeys(range(1, 2001), (INT64_MAX, INT64_MAX)),
        b"s" * (2 * PART_BYTES + 1),
        dict.fromkeys(range(1, 100001), b"i" * 100),
        (decision,) * 1000,
    )
    frames = encode(message)
    assert len(frames) == 1 + 2 + 3 + 1 + 3 + 3
    assert len(frames[0]) < 200
    assert max(map(len, frames)) <= 8 * max(PART_BYTES, MAX_IDENTITIES)
    assert same(decode(frames), message)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_a_blob_of_about_a_whole_number_of_parts_comes_back(excess: int) -> None:
    blob = random.Random(1).randbytes(2 * PART_BYTES + excess)
    assert same(decode(as_received(Checkpoint({}, blob, {1: blob}))), Checkpoint({}, blob, {1: blob}))


@pytest.mark.parametrize("length", [-1, 0, PART_BYTES, 3 * PART_BYTES, MAX_CHECKPOINT_BYTES, 1 << 63])
def test_a_blob_in_other_parts_than_its_length_says_is_refused(length: int) -> None:
    header_bytes, *buffers = as_received(Checkpoint({}, bytes(2 * PART_BYTES)))
    header = msgpack.unpackb(header_bytes)
    header["a"][1] = ["raw", [length]]
    with pytest.raises(MessageError):
        decode([msgpack.packb(header), *buffers])


def large(message: Message) -> str:
    with pytest.raises(MessageError) as refused:
        encode(message)
    return str(refused.value)


def test_what_is_too_large_is_refused_where_it_is_made_naming_kind_size_and_limit() -> None:
    huge = np.zeros(MAX_CHECKPOINT_BYTES + 1, np.uint8).data
    said = large(Checkpoint({}, huge))  # type: ignore[arg-type]
    assert "checkpoint" in said
    assert f"{MAX_CHECKPOINT_BYTES + 1} bytes, at most {MAX_CHECKPOINT_BYTES}" in said
    said = large(Frame(STAMP, bytes(MAX_JPEG_BYTES + 1)))
    assert "frame" in said
    assert f"at most {MAX_JPEG_BYTES}" in said
    ids = np.arange(MAX_PEOPLE, dtype=np.int32)
    vectors = Features(ids, np.zeros((MAX_PEOPLE, 2048), np.float32), np.ones(MAX_PEOPLE, np.float32))
    said = large(replace(people(MAX_PEOPLE), features={"a": vectors, "b": vectors, "c": vectors}))
    assert "people" in said
    assert f"at most {MAX_MESSAGE_BYTES}" in said


@pytest.mark.parametrize(
    "message",
    [
        people(MAX_PEOPLE + 1),
        tracks(MAX_TRACKS + 1),
        replace(people(2), boxes=np.full((2, 4), np.nan, np.float32)),
        replace(people(2), clock_offset_ns=MAX_CLOCK_OFFSET_NS + 1),
        replace(tracks(2), velocities=np.full((2, 2), np.inf, np.float32)),
        replace(tracks(2), assignments=np.ones((MAX_ASSIGNMENTS + 1, 2), np.int64)),
        End(STAMP, "finished", assignments=((1, 1 << 64),)),
        Frame(replace(STAMP, camera=MAX_CAMERA + 1), b""),
        Frame(replace(STAMP, t_ns=MAX_T_NS + 1), b""),
        Frame(replace(STAMP, width=MAX_SIDE_PX + 1), b""),
        Frame(replace(STAMP, width=8193, height=8192), b""),
        Frame(STAMP, b"", Motion(np.full((1, 1, 2), np.nan, np.float32), np.eye(2, 3, dtype=np.float32))),
        Followed((LastSeen(1, "", 1, 1, 0.0, 0.0),) * (MAX_FOLLOWED + 1)),
        Checkpoint({}, b"", {}, (IdentityEvent(1, "rename", 1),)),
        Checkpoint({}, b"", {}, (IdentityEvent(1, "split", 1, "", (0,)),)),
    ],
)
def test_what_no_receiver_would_take_is_never_put_on_the_wire(message: Message) -> None:
    with pytest.raises(MessageError):
        encode(message)


def test_the_largest_message_of_each_kind_arrives() -> None:
    stamp = replace(STAMP, camera=MAX_CAMERA, t_ns=MAX_T_NS, width=8192, height=8192)
    settled = tracks(1)
    one = Settled(
        stamp, settled.track_ids, settled.boxes, settled.scores, settled.observed, settled.velocities
    )
    text = "\N{GRINNING FACE}" * MAX_TEXT
    person = LastSeen(1, text[:200], MAX_CAMERA, INT64_MAX, 1e300, 1e300, 1.0, (Expected(1, 0.5, 1e300),) * 3)
    for message in (
        Frame(stamp, bytes(MAX_JPEG_BYTES)),
        people(MAX_PEOPLE),
        replace(
            tracks(MAX_TRACKS),
            assignments=np.ones((MAX_ASSIGNMENTS, 2), np.int64),
            settled=(one,) * 20_000,
        ),
        End(stamp, "failed", text, INT64_MAX, ((1, 2),) * 20_000, 5, (one,) * 20_000),
        Followed((person,) * MAX_FOLLOWED),
        replace(report(), readings={f"{n}{text[:100]}": 1.0 for n in range(MAX_READINGS)}),
        IdentityEvent(INT64_MAX, "split", INT64_MAX, text, tuple(range(1, 100_000))),
    ):
        assert same(decode(encode(message)), message)


def test_readings_of_a_report_beyond_the_limit_are_left_out() -> None:
    sent = replace(report(), readings={str(name): 1.0 for name in range(MAX_READINGS + 9)})
    got = decode(encode(sent))
    assert isinstance(got, Report)
    assert list(got.readings) == list(sent.readings)[:MAX_READINGS]
