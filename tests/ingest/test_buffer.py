from __future__ import annotations

import threading

import pytest

from services.ingest.buffer import CapturedFrame, FrameBuffer
from services.ingest.pool import FramePool
from shared.errors import SourceError
from tests.ingest.fakes import PATIENCE_S, picture


def frame(index: int, pool: FramePool | None = None) -> CapturedFrame:
    return CapturedFrame(index, index, picture(index), pool)


def test_frames_come_out_in_the_order_they_went_in() -> None:
    buffer = FrameBuffer(4, newest_wins=False)
    for index in range(4):
        assert buffer.put(frame(index))
    assert [taken.index for _ in range(4) if (taken := buffer.take(0))] == [0, 1, 2, 3]


def test_the_oldest_frame_makes_room_where_the_newest_wins() -> None:
    pool = FramePool(4)
    first = CapturedFrame(0, 0, pool.acquire((6, 8, 3)), pool)
    buffer = FrameBuffer(1, newest_wins=True)
    buffer.put(first)
    buffer.put(frame(1))
    taken = buffer.take(0)
    assert taken is not None and taken.index == 1
    assert buffer.dropped == 1
    assert pool.acquire((6, 8, 3)) is first.image, "a dropped frame gives its memory back"


def test_a_full_buffer_of_a_recording_waits_for_room() -> None:
    buffer = FrameBuffer(1, newest_wins=False)
    buffer.put(frame(0))
    producer = threading.Thread(target=buffer.put, args=(frame(1),), daemon=True)
    producer.start()
    taken = [buffer.take(PATIENCE_S), buffer.take(PATIENCE_S)]
    producer.join(PATIENCE_S)
    assert [each.index for each in taken if each] == [0, 1]
    assert buffer.dropped == 0


def test_closing_lets_a_waiting_producer_go() -> None:
    buffer = FrameBuffer(1, newest_wins=False)
    buffer.put(frame(0))
    results: list[bool] = []
    producer = threading.Thread(target=lambda: results.append(buffer.put(frame(1))), daemon=True)
    producer.start()
    buffer.close()
    producer.join(PATIENCE_S)
    assert results == [False]
    assert buffer.ended and buffer.take(None) is None


def test_closing_lets_a_waiting_consumer_go() -> None:
    buffer = FrameBuffer(1, newest_wins=False)
    results: list[CapturedFrame | None] = []
    consumer = threading.Thread(target=lambda: results.append(buffer.take(None)), daemon=True)
    consumer.start()
    buffer.close()
    consumer.join(PATIENCE_S)
    assert results == [None]


def test_an_empty_buffer_gives_nothing_when_the_time_is_up_and_is_not_ended() -> None:
    buffer = FrameBuffer(1, newest_wins=False)
    assert buffer.take(0.0) is None
    assert not buffer.ended


def test_what_is_buffered_is_read_before_the_error_that_ended_it_is_raised() -> None:
    buffer = FrameBuffer(4, newest_wins=False)
    buffer.put(frame(0))
    buffer.finish(SourceError("the disk went away"))
    taken = buffer.take(0)
    assert taken is not None and not buffer.ended
    with pytest.raises(SourceError, match="the disk went away"):
        buffer.take(0)
    assert buffer.ended and buffer.take(0) is None


def test_releasing_a_frame_twice_gives_its_memory_back_once() -> None:
    pool = FramePool(4)
    captured = CapturedFrame(0, 0, pool.acquire((6, 8, 3)), pool)
    captured.release()
    captured.release()
    assert pool.acquire((6, 8, 3)) is not pool.acquire((6, 8, 3))
