from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector.batcher import Batcher

WAIT_NS = 10


def test_a_full_batch_leaves_at_once() -> None:
    batcher: Batcher[str] = Batcher(size=2, wait_ns=WAIT_NS)
    batcher.add(1, "a", live=False, now_ns=0)
    assert batcher.next_batch(0) is None
    batcher.add(2, "b", live=False, now_ns=0)
    assert batcher.next_batch(0) == ["a", "b"]


def test_a_batch_that_does_not_fill_leaves_at_its_deadline() -> None:
    batcher: Batcher[str] = Batcher(size=8, wait_ns=WAIT_NS)
    assert batcher.deadline_ns() is None
    batcher.add(1, "a", live=False, now_ns=5)
    batcher.add(2, "b", live=False, now_ns=9)
    assert batcher.deadline_ns() == 15
    assert batcher.next_batch(14) is None
    assert batcher.next_batch(15) == ["a", "b"]
    assert batcher.deadline_ns() is None and len(batcher) == 0


def test_a_live_camera_keeps_only_its_newest_frame_and_counts_the_others() -> None:
    batcher: Batcher[str] = Batcher(size=8, wait_ns=WAIT_NS)
    assert batcher.add(1, "old", live=True, now_ns=0) is None
    assert batcher.add(1, "new", live=True, now_ns=4) == "old"
    assert batcher.dropped == {1: 1}
    assert batcher.deadline_ns() == WAIT_NS, "replacing a frame must not put off the batch"
    assert batcher.next_batch(WAIT_NS) == ["new"]


def test_the_end_of_a_live_stream_stays_behind_its_last_frame() -> None:
    batcher: Batcher[str] = Batcher(size=8, wait_ns=WAIT_NS)
    batcher.add(1, "last", live=True, now_ns=0)
    batcher.add(1, "end", live=False, now_ns=0)
    assert batcher.next_batch(WAIT_NS) == ["last", "end"]


def test_a_camera_with_many_frames_leaves_room_for_one_with_few() -> None:
    batcher: Batcher[str] = Batcher(size=4, wait_ns=WAIT_NS)
    for number in range(10):
        batcher.add(1, f"busy{number}", live=False, now_ns=0)
    batcher.add(2, "calm", live=False, now_ns=1)
    assert batcher.next_batch(1) == ["busy0", "calm", "busy1", "busy2"]


def test_turns_go_on_where_the_last_batch_ended() -> None:
    batcher: Batcher[int] = Batcher(size=2, wait_ns=WAIT_NS)
    for camera in (1, 2, 3):
        batcher.add(camera, camera, live=False, now_ns=0)
        batcher.add(camera, camera, live=False, now_ns=0)
    assert [batcher.next_batch(0) for _ in range(3)] == [[1, 2], [3, 1], [2, 3]]


@pytest.mark.parametrize(("size", "wait_ns"), [(0, 1), (1, -1)])
def test_impossible_bounds_are_refused(size: int, wait_ns: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        Batcher[int](size, wait_ns)


EVENTS = st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 4)), max_size=60)


@given(EVENTS, st.integers(1, 5))
def test_every_item_leaves_once_in_order_and_in_time_or_is_reported_replaced(
    events: list[tuple[int, bool, bool, int]], size: int
) -> None:
    batcher: Batcher[tuple[int, int]] = Batcher(size, WAIT_NS)
    waiting: dict[tuple[int, int], int] = {}
    left: dict[int, list[int]] = {}
    replaced: Counter[int] = Counter()
    now_ns = 0

    def take() -> None:
        before = Counter(camera for camera, _ in waiting)
        batch = batcher.next_batch(now_ns)
        if batch is None:
            assert len(waiting) < size
            deadline_ns = batcher.deadline_ns()
            assert (deadline_ns is None) == (not waiting)
            assert deadline_ns is None or deadline_ns > now_ns
            assert all(now_ns < since_ns + WAIT_NS for since_ns in waiting.values())
            return
        assert 1 <= len(batch) <= size
        served = Counter(camera for camera, _ in batch)
        for camera in before:
            if served[camera] < before[camera]:
                assert max(served.values()) <= served[camera] + 1, (
                    "one camera was served twice before another"
                )
        for camera, number in batch:
            del waiting[camera, number]
            left.setdefault(camera, []).append(number)

    for number, (camera, live, ask, later_ns) in enumerate(events):
        now_ns += later_ns
        older = batcher.add(camera, (camera, number), live, now_ns)
        waiting[camera, number] = now_ns if older is None else waiting.pop(older)
        replaced[camera] += older is not None
        if ask:
            take()
        assert len(batcher) == len(waiting)
    now_ns += WAIT_NS
    while len(batcher):
        take()

    assert not waiting
    assert all(numbers == sorted(numbers) for numbers in left.values())
    assert sum(map(len, left.values())) + replaced.total() == len(events)
    assert +replaced == +batcher.dropped


def test_a_batch_weighs_no_more_than_allowed_unless_it_is_one_item() -> None:
    batcher: Batcher[int] = Batcher(8, 0, weight=lambda item: item, heaviest=10)
    for camera, item in enumerate((4, 5, 6, 20, 1)):
        batcher.add(camera, item, False, 0)
    assert [batcher.next_batch(0) for _ in range(5)] == [[4, 5], [6], [20], [1], None]
