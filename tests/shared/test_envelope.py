"""The head of every frame on a link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.envelope import Envelope, Kind, unpack
from shared.errors import MessageError

naturals = st.integers(0, (1 << 63) - 1)
anything = st.integers(-(1 << 63), (1 << 63) - 1)
envelopes = st.builds(
    Envelope, st.sampled_from(Kind), st.integers(0, (1 << 32) - 1), naturals, naturals, anything, anything
)


@given(envelopes, st.binary(max_size=50))
def test_an_envelope_comes_back_with_what_follows_it(envelope: Envelope, rest: bytes) -> None:
    assert len(envelope.pack()) == 40
    assert unpack(envelope.pack() + rest) == (envelope, rest)


@given(st.binary(max_size=80))
def test_random_bytes_are_no_envelope(frame: bytes) -> None:
    with pytest.raises(MessageError):
        unpack(frame)


@given(envelopes, st.integers(0, 39), st.integers(1, 255))
def test_a_flipped_byte_gives_another_envelope_or_none(envelope: Envelope, place: int, flip: int) -> None:
    frame = bytearray(envelope.pack())
    frame[place] ^= flip
    try:
        got, _ = unpack(bytes(frame))
    except MessageError:
        return
    assert got.pack() == bytes(frame)


@given(envelopes, st.integers(0, 39))
def test_a_truncated_envelope_is_none(envelope: Envelope, length: int) -> None:
    with pytest.raises(MessageError):
        unpack(envelope.pack()[:length])


def test_another_version_is_refused_by_its_number() -> None:
    frame = bytearray(Envelope(Kind.PING).pack())
    frame[2] = 9
    with pytest.raises(MessageError, match="link version 9, this program speaks 2"):
        unpack(bytes(frame))


@pytest.mark.parametrize("envelope", [Envelope(Kind.DATA, 1, -1, 0), Envelope(Kind.DATA, 1, 0, -1)])
def test_negative_numbers_of_messages_are_refused(envelope: Envelope) -> None:
    with pytest.raises(MessageError, match="negative"):
        unpack(envelope.pack())
