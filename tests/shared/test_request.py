"""Questions and answers over a real socket."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
import zmq

from shared.errors import LinkError, MessageError, TrackingError
from shared.messages import PROTOCOL_VERSION, Frame
from shared.request import Fields, Reply, Requester, Responder, integer, number, text
from tests.shared.samples import numbered, same
from tests.shared.wire import Context, pump_until


def double(fields: Fields) -> Fields:
    return {"value": 2 * integer(fields, "value")}


def refuse(fields: Fields) -> Fields:
    raise TrackingError("nobody is there")


def frame(fields: Fields) -> Reply:
    return Reply({"found": True}, numbered(integer(fields, "index")))


@contextmanager
def serving(responder: Responder) -> Iterator[None]:
    """Serve in a thread of its own for as long as the block lasts."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            responder.socket.poll(5)
            responder.serve()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def responder(context: Context, ipc: str) -> Responder:
    return Responder(context, ipc, {"double": double, "refuse": refuse, "frame": frame})


@pytest.fixture
def requester(context: Context, ipc: str) -> Requester:
    return Requester(context, ipc)


def test_a_request_is_answered_with_fields(responder: Responder, requester: Requester) -> None:
    with serving(responder):
        assert [requester.ask("double", {"value": n})["value"] for n in range(5)] == [0, 2, 4, 6, 8]


def test_a_reply_can_carry_a_message(responder: Responder, requester: Requester) -> None:
    with serving(responder):
        reply = requester.ask_for_message("frame", {"index": 6})
    assert reply.fields == {"found": True}
    assert isinstance(reply.message, Frame)
    assert same(reply.message.stamp, numbered(6).stamp)


def test_a_refusal_is_an_error_with_its_text_and_is_not_counted_as_garbage(
    responder: Responder, requester: Requester
) -> None:
    with serving(responder), pytest.raises(TrackingError, match=r"^nobody is there$"):
        requester.ask("refuse")
    assert responder.rejected == 0


def test_an_unknown_operation_is_refused_with_those_that_are_known(
    responder: Responder, requester: Requester
) -> None:
    with serving(responder), pytest.raises(TrackingError, match="'tripple'; known: double, frame, refuse"):
        requester.ask("tripple")
    assert responder.rejected == 1


@pytest.mark.parametrize("value", ["2", None, 2.0, True, [2], 1 << 63, (1 << 64) - 1])
def test_a_field_of_another_type_or_size_is_refused_by_its_name(
    responder: Responder, requester: Requester, value: object
) -> None:
    with serving(responder), pytest.raises(TrackingError, match=r"^value must be a whole number"):
        requester.ask("double", {"value": value})


def test_nobody_there_is_an_error_in_time_that_names_the_address(requester: Requester, ipc: str) -> None:
    with pytest.raises(LinkError, match=f"nobody answered at {ipc} within 0.05 s: is it running"):
        requester.ask("double", {"value": 1}, timeout_s=0.05)


def test_asking_nobody_again_and_again_never_hangs_and_leaves_nothing_to_be_answered_late(
    context: Context, ipc: str, requester: Requester
) -> None:
    for _ in range(1050):  # more than a queue holds
        with pytest.raises(LinkError):
            requester.ask("count", timeout_s=0.0005)
    asked = []

    def count(fields: Fields) -> Fields:
        asked.append(1)
        return {}

    with serving(Responder(context, ipc, {"count": count})):
        requester.ask("count")
    assert len(asked) == 1


def test_the_late_answer_to_an_earlier_request_is_not_taken_for_that_to_a_later_one(
    responder: Responder, requester: Requester
) -> None:
    with serving(responder):
        requester.ask("double", {"value": 0})
    for value in (1, 2, 3):  # connected, but nobody serves
        with pytest.raises(LinkError):
            requester.ask("double", {"value": value}, timeout_s=0.02)
    with serving(responder):
        assert requester.ask("double", {"value": 50}) == {"value": 100}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"\x91" * 1000 + b"\xc0",
        msgpack.packb([1, 2]),
        msgpack.packb({"v": 99, "op": "double", "f": {"value": 1}}),
        msgpack.packb({"v": PROTOCOL_VERSION, "op": "double"}),
        msgpack.packb({"v": PROTOCOL_VERSION, "op": "double", "f": [1]}),
        b"\x83\xa1v\x01\xa2op" + b"\x91" * 1010 + b"\xc0\xa1f\x80",
        b"\x83\xa1v\x01\xa2op\xa6double\xa1f\x81\xa5value" + b"\x91" * 1010 + b"\xc0",
    ],
)
def test_a_request_that_is_none_is_refused_and_counted(
    context: Context, ipc: str, responder: Responder, body: bytes
) -> None:
    dealer = context.socket(zmq.DEALER)
    dealer.connect(ipc)
    dealer.send_multipart([b"12345678", body])
    pump_until(lambda: bool(dealer.poll(1)), responder.serve)
    assert b"error" in dealer.recv_multipart()[1]
    assert responder.rejected == 1


@pytest.mark.parametrize("frames", [[b""], [b"1", b"2", b"3"], [b"", b"", b"", b"", b""]])
def test_a_message_of_another_number_of_parts_is_dropped_and_counted(
    context: Context, ipc: str, responder: Responder, frames: list[bytes]
) -> None:
    dealer = context.socket(zmq.DEALER)
    dealer.connect(ipc)
    dealer.send_multipart(frames)
    pump_until(lambda: responder.rejected == 1, responder.serve)
    assert not dealer.poll(0)


@pytest.mark.parametrize(
    "reply", [[b"garbage"], [msgpack.packb({"v": 1})], [msgpack.packb({"f": {}}), b"no message"]]
)
def test_an_answer_that_is_none_is_an_error(
    context: Context, ipc: str, requester: Requester, reply: list[bytes]
) -> None:
    router = context.socket(zmq.ROUTER)
    router.bind(ipc)

    def answer() -> None:
        peer, asked, _ = router.recv_multipart()
        router.send_multipart([peer, b"other", *reply])
        router.send_multipart([peer])
        router.send_multipart([peer, asked, *reply])

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with pytest.raises(MessageError):
        requester.ask("double")
    thread.join()


def test_an_asker_that_has_gone_does_not_disturb_the_others(
    context: Context, ipc: str, responder: Responder, requester: Requester
) -> None:
    gone = Requester(context, ipc)
    with pytest.raises(LinkError):
        gone.ask("double", {"value": 1}, timeout_s=0.1)
    gone.close()
    with serving(responder):
        assert requester.ask("double", {"value": 4}) == {"value": 8}


def test_a_flood_of_requests_does_not_keep_the_program_from_its_other_work(
    context: Context, ipc: str, responder: Responder
) -> None:
    dealer = context.socket(zmq.DEALER)
    dealer.connect(ipc)
    for _ in range(500):
        dealer.send_multipart([b"12345678", b"garbage"])
    pump_until(lambda: bool(responder.socket.poll(1)))
    responder.serve()
    assert 0 < responder.rejected <= 64


@pytest.mark.parametrize("value", [None, "1", math.nan, math.inf, [1.0]])
def test_a_number_is_finite_or_refused(value: Any) -> None:
    with pytest.raises(MessageError, match=r"^x must be a number"):
        number({"x": value}, "x")


def test_numbers_and_texts_of_a_request_are_taken_out_by_name() -> None:
    assert number({"x": 3}, "x") == 3.0
    assert text({"name": "Ann"}, "name") == "Ann"
    with pytest.raises(MessageError, match="name must be a text of at most 3 letters"):
        text({"name": "Anna"}, "name", 3)
    with pytest.raises(MessageError, match=r"^name must"):
        text({}, "name")
