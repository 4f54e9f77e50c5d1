from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.viewer.pairing import Pairing, Shown
from shared.messages import Frame
from tests.viewer.samples import stamp, tracks


def _frame(index: int, session: int = 1) -> Frame:
    return Frame(stamp(index=index, session=session), b"")


def _told(shown: list[Shown]) -> list[tuple[int, bool]]:
    return [(each.frame.stamp.frame_index, each.tracks is not None) for each in shown]


def test_a_frame_waits_for_its_tracks() -> None:
    pairing = Pairing(most_pending=10)
    assert pairing.add_frame(_frame(0)) == []
    found = tracks(stamp(index=0))
    (shown,) = pairing.add_tracks(found)
    assert shown.tracks is found
    assert shown.frame.stamp.frame_index == 0


def test_tracks_may_come_before_their_frame() -> None:
    pairing = Pairing(most_pending=10)
    assert pairing.add_tracks(tracks(stamp(index=0))) == []
    assert _told(pairing.add_frame(_frame(0))) == [(0, True)]


def test_frames_that_a_later_one_overtook_are_passed_over() -> None:
    pairing = Pairing(most_pending=10)
    for index in range(4):
        pairing.add_frame(_frame(index))
    assert _told(pairing.add_tracks(tracks(stamp(index=2)))) == [(2, True)]
    assert _told(pairing.add_tracks(tracks(stamp(index=1)))) == []
    assert _told(pairing.add_tracks(tracks(stamp(index=3)))) == [(3, True)]


def test_frames_go_on_alone_when_too_many_wait() -> None:
    pairing = Pairing(most_pending=3)
    told = [_told(pairing.add_frame(_frame(index))) for index in range(5)]
    assert told == [[], [], [], [(0, False)], [(1, False)]]


def test_frames_go_on_alone_when_patience_ends() -> None:
    pairing = Pairing(most_pending=100, patience_s=0.25)
    told = [_told(pairing.add_frame(_frame(index))) for index in range(5)]
    assert told == [[], [], [], [(0, False)], [(1, False)]]


def test_a_frame_sent_again_is_dropped() -> None:
    pairing = Pairing(most_pending=10)
    pairing.add_frame(_frame(0))
    pairing.add_tracks(tracks(stamp(index=0)))
    assert pairing.add_frame(_frame(0)) == []
    assert pairing.add_tracks(tracks(stamp(index=0))) == []
    assert pairing.flush() == []


def test_a_new_session_begins_at_its_own_first_frame() -> None:
    pairing = Pairing(most_pending=10)
    pairing.add_frame(_frame(7))
    assert _told(pairing.add_frame(_frame(0, session=2))) == [(7, False)]
    assert pairing.add_tracks(tracks(stamp(index=7))) == []
    assert _told(pairing.add_tracks(tracks(stamp(index=0, session=2)))) == [(0, True)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200), st.integers(1, 10))
def test_any_order_of_arrival_gives_each_frame_at_most_once_in_order(
    arrivals: list[tuple[bool, int]], most_pending: int
) -> None:
    pairing = Pairing(most_pending)
    told: list[tuple[int, bool]] = []
    for is_frame, index in arrivals:
        shown = (
            pairing.add_frame(_frame(index)) if is_frame else pairing.add_tracks(tracks(stamp(index=index)))
        )
        for each in shown:
            assert each.tracks is None or each.tracks.stamp.frame_index == each.frame.stamp.frame_index
        told += _told(shown)
    told += _told(pairing.flush())
    indices = [index for index, _ in told]
    assert indices == sorted(set(indices))


@given(st.integers(0, 9), st.integers(1, 60))
def test_no_frame_is_lost_while_the_tracker_is_less_than_the_bound_behind(lag: int, frames: int) -> None:
    pairing = Pairing(most_pending=10)
    told: list[tuple[int, bool]] = []
    for index in range(frames + lag):
        if index < frames:
            told += _told(pairing.add_frame(_frame(index)))
        if index >= lag:
            told += _told(pairing.add_tracks(tracks(stamp(index=index - lag))))
    assert told == [(index, True) for index in range(frames)]
