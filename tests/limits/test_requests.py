"""Limits on requests and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import MessageError, TrackingError
from shared.limits import MAX_HEADER_BYTES
from shared.packing import INT64_MAX
from shared.request import Fields, Requester, Responder, integer
from tests.limits.table import covers
from tests.shared.test_request import serving
from tests.shared.wire import Context


@pytest.fixture
def requester(tmp_path: Path) -> Iterator[Requester]:
    """Asks somebody who repeats a text so many times."""

    def repeat(fields: Fields) -> Fields:
        return {"text": fields["text"] * integer(fields, "times")}

    context, address = Context(), f"ipc://{tmp_path}/hub"
    with serving(Responder(context, address, {"repeat": repeat})):
        yield Requester(context, address)
    context.destroy(linger=0)


def asked(requester: Requester, length: int, times: int) -> int:
    return len(requester.ask("repeat", {"text": "x" * length, "times": times}, timeout_s=20)["text"])


def longest(requester: Requester, low: int, times: int) -> int:
    """The longest text that is sent and answered, found by bisection between `low` and the limit."""
    high = MAX_HEADER_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        try:
            asked(requester, middle, times)
            low = middle
        except TrackingError:
            high = middle
    return low


@covers("shared.limits.MAX_HEADER_BYTES")
def test_a_request_at_the_limit_is_answered_and_a_longer_one_is_not_even_sent(requester: Requester) -> None:
    most = longest(requester, MAX_HEADER_BYTES - 100, times=0)
    with pytest.raises(MessageError, match=f"repeat cannot be sent: it takes {MAX_HEADER_BYTES + 1} bytes"):
        asked(requester, most + 1, times=0)
    with pytest.raises(MessageError, match=f"at most {MAX_HEADER_BYTES} are allowed"):
        asked(requester, 70 << 20, times=0)
    assert asked(requester, 1, times=1) == 1


@covers("shared.limits.MAX_HEADER_BYTES")
def test_an_answer_at_the_limit_arrives_and_a_longer_one_is_an_error_that_says_so(
    requester: Requester,
) -> None:
    most = longest(requester, MAX_HEADER_BYTES // 2 - 100, times=2)
    assert asked(requester, most, times=2) == 2 * most
    with pytest.raises(TrackingError, match="the answer to repeat cannot be sent: it takes"):
        asked(requester, most + 1, times=2)


@covers("shared.packing.INT64_MAX")
def test_a_number_of_64_bits_is_taken_and_a_larger_one_is_refused_by_name(requester: Requester) -> None:
    for value in (INT64_MAX, -INT64_MAX):
        assert integer({"identity": value}, "identity") == value
        with pytest.raises(MessageError, match="identity must be a whole number of 64 bits"):
            integer({"identity": 2 * value}, "identity")
    for unsendable in (1 << 64, "\udcff"):
        with pytest.raises(MessageError, match="repeat cannot be sent"):
            requester.ask("repeat", {"text": "", "times": unsendable})
