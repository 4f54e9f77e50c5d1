"""Limits on messages: the largest arrives, one more is refused where it is made, naming the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from shared import checkpoint_codec, codec, limits
from shared.codec import decode, encode
from shared.errors import MessageError
from shared.limits import (
    MAX_CHECKPOINT_BYTES,
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PEOPLE,
    MAX_READINGS,
    MAX_TEXT,
    PART_BYTES,
)
from shared.messages import (
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
    Report,
    Settled,
)
from shared.packing import unpack_header
from tests.limits.table import covers
from tests.shared.samples import people, report, same, tracks

STAMP = FrameStamp(1, 2, 3, 4, 640, 480)
PERSON = LastSeen(1, "Ann", 2, 3, 4.0, 5.0, 0.9)
FEATURES = people(1).features["appearance"]


def settled(count: int) -> Settled:
    one = tracks(count)
    return Settled(STAMP, one.track_ids, one.boxes, one.scores, one.observed, one.velocities)


def with_dimensions(count: int) -> Message:
    vectors = np.zeros((1, count), np.float32)
    return replace(people(1), features={"appearance": replace(FEATURES, vectors=vectors)})


MESSAGES: dict[str, Callable[[int], Message]] = {
    "MAX_SIDE_PX": lambda n: Frame(replace(STAMP, width=n, height=1), b""),
    "MAX_AREA_PX": lambda n: Frame(replace(STAMP, width=n // 8192 + n % 8192, height=8192), b""),
    "MAX_JPEG_BYTES": lambda n: Frame(STAMP, bytes(n)),
    "MAX_PEOPLE": people,
    "MAX_TRACKS": tracks,
    "MAX_FEATURE_DIMENSIONS": with_dimensions,
    "MAX_FEATURE_KINDS": lambda n: replace(people(1), features={str(kind): FEATURES for kind in range(n)}),
    "MAX_ASSIGNMENTS": lambda n: End(STAMP, "finished", assignments=((1, 2),) * n),
    "MAX_SETTLED": lambda n: replace(tracks(1), settled=(settled(0),) * n),
    "MAX_SETTLED_ROWS": lambda n: replace(tracks(1), settled=(settled(n),)),
    "MAX_EXPECTED": lambda n: Followed((replace(PERSON, expected=(Expected(1, 0.5, 1.0),) * n),)),
    "MAX_FOLLOWED": lambda n: Followed((PERSON,) * n),
    "MAX_POSITIONS": lambda n: Checkpoint(dict.fromkeys(range(1, n + 1), (1, 1)), b"", {}),
    "MAX_IDENTITIES": lambda n: Checkpoint({}, b"", dict.fromkeys(range(1, n + 1), b"")),
    "MAX_EVENTS": lambda n: Checkpoint({}, b"", {}, (IdentityEvent(1, "follow", 1),) * n),
    "MAX_EVENT_TRACKS": lambda n: IdentityEvent(1, "forget", 1, "", tuple(range(1, n + 1))),
}


@covers(*(f"shared.limits.{name}" for name in MESSAGES))
@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_at_a_limit_arrives_and_one_beyond_is_refused_where_it_is_made(name: str) -> None:
    limit = getattr(limits, name)
    largest = MESSAGES[name](limit)
    assert same(decode(encode(largest)), largest)
    with pytest.raises(MessageError, match=rf"that cannot be sent: .*\b{limit}\b"):
        encode(MESSAGES[name](limit + 1))


@covers("shared.limits.MAX_TEXT")
def test_a_text_beyond_the_limit_is_cut_by_its_sender() -> None:
    for length in (MAX_TEXT, MAX_TEXT + 1):
        got = decode(encode(replace(report(), host="x" * length)))
        assert isinstance(got, Report)
        assert got.host == "x" * MAX_TEXT


@covers("shared.limits.MAX_READINGS")
def test_readings_beyond_the_limit_are_left_out_by_their_sender() -> None:
    for count in (MAX_READINGS, MAX_READINGS + 1):
        got = decode(encode(replace(report(), readings={str(name): 1.0 for name in range(count)})))
        assert isinstance(got, Report)
        assert len(got.readings) == MAX_READINGS


@covers("shared.limits.MAX_HEADER_BYTES")
def test_a_header_at_the_limit_is_read_and_a_longer_one_is_refused_on_both_sides() -> None:
    empty = len(msgpack.packb({"": b"x" * (1 << 16)})) - (1 << 16)
    longest = msgpack.packb({"": b"x" * (MAX_HEADER_BYTES - empty)})
    assert len(longest) == MAX_HEADER_BYTES
    assert list(unpack_header(longest)) == [""]
    with pytest.raises(MessageError, match=f"a header of {MAX_HEADER_BYTES + 1} bytes, at most"):
        unpack_header(longest + b"x")
    long_names = Followed((replace(PERSON, name="\N{GRINNING FACE}" * MAX_TEXT),) * 1000)
    with pytest.raises(
        MessageError, match=rf"a followed that cannot be sent: a header .* {MAX_HEADER_BYTES} "
    ):
        encode(long_names)


@covers("shared.limits.PART_BYTES")
def test_a_blob_at_the_limit_travels_in_one_part_and_a_longer_one_in_two() -> None:
    assert [len(encode(Frame(STAMP, bytes(PART_BYTES + more)))) for more in (0, 1)] == [2, 3]


@covers("shared.limits.MAX_MESSAGE_BYTES")
def test_the_longest_message_is_sent_and_one_with_a_row_more_is_refused() -> None:
    one_kind = 2048 * 4 + 4 + 4  # bytes of a person's vector, row and quality

    def crowd(vectors: int) -> Message:
        """All people, of whom so many vectors are known, of two kinds."""
        kinds = {"a": min(vectors, MAX_PEOPLE), "b": max(vectors - MAX_PEOPLE, 0)}
        return replace(
            people(MAX_PEOPLE),
            features={
                kind: Features(
                    np.arange(n, dtype=np.int32), np.zeros((n, 2048), np.float32), np.ones(n, np.float32)
                )
                for kind, n in kinds.items()
            },
        )

    rest = sum(map(len, encode(crowd(MAX_PEOPLE + 1)))) - (MAX_PEOPLE + 1) * one_kind
    most = (MAX_MESSAGE_BYTES - rest - 8) // one_kind
    assert MAX_MESSAGE_BYTES - one_kind - 8 < sum(map(len, encode(crowd(most)))) <= MAX_MESSAGE_BYTES
    with pytest.raises(MessageError, match=rf"bytes, at most {MAX_MESSAGE_BYTES} are allowed for a people"):
        encode(crowd(most + 1))


@covers("shared.limits.MAX_CHECKPOINT_BYTES")
def test_a_checkpoint_at_the_limit_arrives_and_a_larger_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_CHECKPOINT_BYTES < 10**9  # the largest value that SQLite takes
    too_large = np.zeros(MAX_CHECKPOINT_BYTES + 1, np.uint8).data
    with pytest.raises(MessageError, match=rf"a checkpoint that .* at most {MAX_CHECKPOINT_BYTES} are"):
        encode(Checkpoint({}, too_large, {}))  # type: ignore[arg-type]
    for module in (codec, checkpoint_codec):
        monkeypatch.setattr(module, "MAX_CHECKPOINT_BYTES", 100_000)
    rest = sum(map(len, encode(Checkpoint({}, bytes(90_000), {})))) - 90_000
    largest = Checkpoint({}, bytes(100_000 - rest), {})
    assert same(decode(encode(largest)), largest)
    with pytest.raises(MessageError, match="100001 bytes, at most 100000 are allowed for a checkpoint"):
        encode(Checkpoint({}, bytes(100_000 - rest + 1), {}))
