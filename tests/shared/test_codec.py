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
from shared.messages import (
    PROTOCOL_VERSION,
    Buffer,
    Checkpoint,
    End,
    Followed,
    Frame,
    FrameStamp,
    IdentityEvent,
    LastSeen,
    Message,
    People,
    Report,
)
from shared.packing import MAX_TEXT
from tests.shared.samples import any_people, messages, numbered, one_of_each, people, report, same, tracks

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
    target = header["f"] if not header["a"] or data.draw(st.booleans()) else header["a"]
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
        header = b"\x84\xa1v\x01\xa1t" + type_ + b"\xa1f" + fields + b"\xa1a" + arrays
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
    header["v"] = 2
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
