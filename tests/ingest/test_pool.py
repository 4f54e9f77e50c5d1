from __future__ import annotations

from services.ingest.pool import FramePool


def test_a_released_buffer_is_handed_out_again() -> None:
    pool = FramePool(2)
    first = pool.acquire((4, 6, 3))
    pool.release(first)
    assert pool.acquire((4, 6, 3)) is first
    assert pool.hit_rate == 0.5


def test_a_buffer_in_use_is_never_handed_out_twice() -> None:
    pool = FramePool(2)
    assert pool.acquire((4, 6, 3)) is not pool.acquire((4, 6, 3))
    assert pool.hit_rate == 0.0


def test_buffers_of_a_former_resolution_are_let_go() -> None:
    pool = FramePool(2)
    old = pool.acquire((4, 6, 3))
    held = pool.acquire((4, 6, 3))
    pool.release(old)
    assert pool.acquire((8, 6, 3)).shape == (8, 6, 3)
    pool.release(held)
    assert pool.acquire((8, 6, 3)).shape == (8, 6, 3)
    assert pool.hit_rate == 0.0


def test_the_pool_keeps_no_more_buffers_than_its_capacity() -> None:
    pool = FramePool(1)
    buffers = [pool.acquire((4, 6, 3)) for _ in range(3)]
    for each in buffers:
        pool.release(each)
    again = [pool.acquire((4, 6, 3)) for _ in range(3)]
    assert sum(any(each is old for old in buffers) for each in again) == 1
