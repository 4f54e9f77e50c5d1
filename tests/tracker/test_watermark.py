"""Frames of many cameras come out in the order of their time, however they came in."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.watermark import Watermark

Item = tuple[int, int, int]
"""Time, camera, place in the camera."""

WAIT_NS = 100


def recorded(*cameras: int) -> Watermark[Item]:
    return Watermark(cameras, WAIT_NS)


def live(camera: int, t_ns: int, now_ns: int, into: Watermark[Item]) -> None:
    into.add(camera, t_ns, (t_ns, camera, 0), live=True, now_ns=now_ns)


streams = st.dictionaries(
    st.integers(1, 5), st.lists(st.integers(0, 20), max_size=8).map(sorted), min_size=1, max_size=4
)


@given(streams, st.data())
@settings(max_examples=150, deadline=None)
def test_any_interleaving_of_recorded_cameras_comes_out_the_same(
    times: dict[int, list[int]], data: Any
) -> None:
    watermark = recorded(*times)
    coming = {c: [(t, c, n) for n, t in enumerate(ts)] for c, ts in times.items()}
    out: list[Item] = []
    while coming:
        camera = data.draw(st.sampled_from(sorted(coming)))
        if coming[camera]:
            item = coming[camera].pop(0)
            watermark.add(camera, item[0], item, live=False, now_ns=0)
        else:
            watermark.leave(camera)
            del coming[camera]
        if data.draw(st.booleans()):
            out.extend(watermark.ready(now_ns=10**18))
    out.extend(watermark.ready(now_ns=10**18))
    assert out == sorted((t, c, n) for c, ts in times.items() for n, t in enumerate(ts))


@given(streams, st.data())
@settings(max_examples=50, deadline=None)
def test_nothing_of_a_recorded_camera_is_handed_out_before_it_is_certain(
    times: dict[int, list[int]], data: Any
) -> None:
    missing = data.draw(st.sampled_from(sorted(times)))
    watermark = recorded(*times)
    for camera, ts in times.items():
        for t_ns in ts if camera != missing else ():
            watermark.add(camera, t_ns, (t_ns, camera, 0), live=False, now_ns=0)
    if len(times) > 1 or not times[missing]:
        assert list(watermark.ready(now_ns=10**18)) == []


def test_a_time_before_its_cameras_last_one_counts_as_that_one() -> None:
    watermark = recorded(1, 2)
    for camera, t_ns in ((1, 10), (1, 5), (2, 7), (2, 11)):
        watermark.add(camera, t_ns, (t_ns, camera, 0), live=False, now_ns=0)
    watermark.leave(1)
    watermark.leave(2)
    assert [item[:2] for item in watermark.ready(0)] == [(7, 2), (10, 1), (5, 1), (11, 2)]


def test_a_live_item_waits_for_the_other_cameras_no_longer_than_agreed() -> None:
    watermark = recorded()
    live(1, 10, 0, watermark)
    live(2, 20, 0, watermark)
    assert list(watermark.ready(0)) == [(10, 1, 0)]
    assert list(watermark.ready(99)) == []  # camera 1 may still bring something before 20
    assert watermark.wait_ns(99) == 1
    assert list(watermark.ready(100)) == [(20, 2, 0)]
    assert watermark.wait_ns(100) is None


def test_live_items_that_come_in_another_order_within_the_wait_are_put_in_order() -> None:
    watermark = recorded()
    live(1, 1, 0, watermark)
    live(2, 1, 0, watermark)
    live(3, 1, 0, watermark)
    list(watermark.ready(100))
    live(1, 30, 200, watermark)
    assert list(watermark.ready(210)) == []
    live(2, 20, 220, watermark)
    live(3, 25, 230, watermark)
    assert list(watermark.ready(230)) == [(20, 2, 0)]
    assert list(watermark.ready(300)) == [(25, 3, 0), (30, 1, 0)]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1000), st.integers(0, 30)), max_size=40))
@settings(max_examples=150, deadline=None)
def test_no_live_item_ever_waits_longer_than_agreed(arrivals: list[tuple[int, int, int]]) -> None:
    watermark = recorded()
    now_ns = 0
    due: list[tuple[int, Item]] = []
    for number, (camera, t_ns, later_ns) in enumerate(arrivals):
        now_ns += later_ns
        item = (t_ns, camera, number)
        watermark.add(camera, t_ns, item, live=True, now_ns=now_ns)
        due.append((now_ns + WAIT_NS, item))
        out = set(watermark.ready(now_ns))
        due = [(at, held) for at, held in due if held not in out]
        assert all(at > now_ns for at, _ in due)
        assert watermark.wait_ns(now_ns) == (min(at for at, _ in due) - now_ns if due else None)
    assert set(watermark.ready(now_ns + WAIT_NS)) == {held for _, held in due}


def test_recorded_and_live_cameras_do_not_wait_for_each_other() -> None:
    watermark = recorded(1)
    live(2, 50, 0, watermark)
    assert list(watermark.ready(0)) == [(50, 2, 0)]
    watermark.add(1, 10, (10, 1, 0), live=False, now_ns=0)
    assert list(watermark.ready(0)) == [(10, 1, 0)]


def test_a_live_camera_that_left_is_waited_for_no_longer_until_it_is_back() -> None:
    watermark = recorded()
    live(1, 10, 0, watermark)
    live(2, 10, 0, watermark)
    list(watermark.ready(WAIT_NS))
    watermark.leave(2)
    live(1, 20, 0, watermark)
    assert list(watermark.ready(0)) == [(20, 1, 0)]
    live(2, 30, 0, watermark)
    live(1, 40, 0, watermark)
    assert list(watermark.ready(0)) == [(30, 2, 0)]
    live(2, 35, 0, watermark)
    assert list(watermark.ready(0)) == [(35, 2, 0)]


def test_a_recorded_camera_that_comes_back_after_leaving_keeps_its_times() -> None:
    watermark = recorded(1, 2)
    watermark.leave(1)
    watermark.add(1, 10, (10, 1, 0), live=False, now_ns=0)
    watermark.add(2, 5, (5, 2, 0), live=False, now_ns=0)
    watermark.add(2, 15, (15, 2, 0), live=False, now_ns=0)
    assert list(watermark.ready(0)) == [(5, 2, 0), (10, 1, 0)]


def test_a_new_session_of_a_camera_begins_at_its_own_time_and_is_waited_for() -> None:
    watermark = recorded(1, 2)
    watermark.add(1, 100, (100, 1, 0), live=False, now_ns=0)
    watermark.leave(1)
    watermark.rejoin(1, live=False)
    watermark.add(2, 5, (5, 2, 0), live=False, now_ns=0)
    assert list(watermark.ready(0)) == []
    watermark.add(1, 3, (3, 1, 0), live=False, now_ns=0)
    assert list(watermark.ready(0)) == [(3, 1, 0)]


def test_a_camera_that_becomes_live_holds_up_no_recorded_one() -> None:
    watermark = recorded(1, 2)
    watermark.rejoin(2, live=True)
    watermark.add(1, 5, (5, 1, 0), live=False, now_ns=0)
    assert list(watermark.ready(0)) == [(5, 1, 0)]


def test_a_live_camera_whose_clock_is_set_back_neither_waits_nor_holds_others_up_for_long() -> None:
    watermark: Watermark[Item] = Watermark((), WAIT_NS)
    hour_ns, step_ns = 3600 * 10**9, 10**9
    out: list[tuple[int, int]] = []
    for number in range(20):
        now_ns = number * step_ns
        t_ns = hour_ns + now_ns
        live(1, t_ns, now_ns, watermark)
        live(2, t_ns - hour_ns if number >= 10 else t_ns, now_ns, watermark)
        out += [(camera, now_ns) for _, camera, _ in watermark.ready(now_ns)]
        out += [(camera, now_ns) for _, camera, _ in watermark.ready(now_ns + WAIT_NS)]
    assert out == sorted(out, key=lambda each: each[1])
    assert [sum(camera == each for camera, _ in out) for each in (1, 2)] == [20, 20]


def test_after_a_forward_step_that_is_corrected_a_live_camera_does_not_wait_out_the_difference() -> None:
    watermark: Watermark[Item] = Watermark((), WAIT_NS)
    hour_ns, step_ns = 3600 * 10**9, 10**9
    for number, ahead_ns in enumerate([0, hour_ns, 0, 0]):
        now_ns = number * step_ns
        live(1, now_ns + ahead_ns, now_ns, watermark)
        live(2, now_ns, now_ns, watermark)
        list(watermark.ready(now_ns + WAIT_NS))
    # Camera 2 has reached this time already, so camera 1 does not have to wait for it.
    live(1, 3 * step_ns, 4 * step_ns, watermark)
    assert [camera for _, camera, _ in watermark.ready(4 * step_ns)] == [1]


def test_a_camera_that_goes_on_behind_its_end_is_waited_for_again() -> None:
    watermark = recorded(1, 2)
    watermark.add(1, 5, (5, 1, 0), live=False, now_ns=0)
    watermark.add(1, 5, (5, 1, 9), live=False, now_ns=0)
    watermark.resume(1, lambda item: item[2] == 9)
    watermark.leave(2)
    assert list(watermark.ready(0)) == [(5, 1, 0)]
    watermark.leave(1)
    watermark.resume(1, lambda item: item[2] == 9)
    watermark.add(2, 6, (6, 2, 0), live=False, now_ns=0)
    assert list(watermark.ready(0)) == []
