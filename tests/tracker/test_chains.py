from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.chains import STRANGE, excluded_pairs, predecessors
from services.tracker.person import TrackedPerson
from services.tracker.track import Track

THRESHOLD = 1.0


def track(track_id: int, camera: int, first_s: int, last_s: int, pinned: int = 0) -> Track:
    made = Track(track_id, camera, first_s * 1_000_000_000, 0.9)
    made.last_ns = last_s * 1_000_000_000
    made.pinned = pinned
    return made


def ratios(count: int, links: dict[tuple[int, int], float]) -> np.ndarray:
    ratio = np.full((count, count), -np.inf)
    ratio[np.triu_indices(count, 1)] = -1.0
    for pair, value in links.items():
        ratio[pair] = value
    return ratio


def people(previous: list[int], tails: int = 0) -> list[int]:
    """The root of each track's tree."""
    roots: list[int] = []
    for column, row in enumerate(previous):
        roots.append(roots[row - tails] if row >= tails else (row if row >= 0 else tails + column))
    return roots


def test_a_stay_that_has_ended_is_continued_once() -> None:
    tracks = [track(1, 1, 0, 5), track(2, 2, 6, 9), track(3, 3, 7, 9)]
    found = predecessors(tracks, [], ratios(3, {(0, 1): 3.0, (0, 2): 5.0}), THRESHOLD)
    assert found == [-1, -1, 0]


def test_a_stay_that_goes_on_is_joined_by_any_number_in_overlapping_views() -> None:
    tracks = [track(1, 1, 0, 20), track(2, 2, 3, 8), track(3, 2, 12, 15), track(4, 3, 14, 18)]
    links = {(0, 1): 3.0, (0, 2): 3.0, (0, 3): 3.0, (2, 3): 0.0}
    assert predecessors(tracks, [], ratios(4, links), THRESHOLD) == [-1, 0, 0, 0]


def test_who_has_been_seen_since_elsewhere_is_continued_from_there() -> None:
    tracks = [track(1, 1, 0, 5), track(2, 2, 3, 10), track(3, 3, 12, 14)]
    links = {(0, 1): 4.0, (0, 2): 3.0, (1, 2): 2.0}
    assert predecessors(tracks, [], ratios(3, links), THRESHOLD) == [-1, 0, 1]


def test_two_whom_one_camera_sees_at_once_are_parted_where_they_hang_together_weakest() -> None:
    tracks = [track(1, 1, 0, 10), track(2, 2, 1, 9), track(3, 1, 5, 12)]
    links = {(0, 1): 2.0, (1, 2): 4.0}
    assert predecessors(tracks, [], ratios(3, links), THRESHOLD) == [-1, -1, 1]


def test_two_at_once_in_places_that_do_not_fit_are_two_people() -> None:
    tracks = [track(1, 1, 0, 20), track(2, 2, 3, 20), track(3, 3, 4, 20)]
    links = {(0, 1): 3.0, (0, 2): 2.0, (1, 2): STRANGE - 1}
    assert people(predecessors(tracks, [], ratios(3, links), THRESHOLD)) == [0, 0, 2]


def test_what_an_operator_has_joined_stays_joined_and_what_was_parted_parted() -> None:
    tracks = [track(1, 1, 0, 5, 7), track(2, 2, 6, 9, 8), track(3, 3, 10, 12, 7)]
    links = {(0, 1): 50.0, (1, 2): 50.0, (0, 2): -20.0}
    assert people(predecessors(tracks, [], ratios(3, links), THRESHOLD)) == [0, 1, 0]


def test_a_settled_person_is_not_continued_where_that_person_still_was() -> None:
    settled = TrackedPerson(7)
    settled.tail = track(1, 1, 0, 8)
    settled.busy_ns = {1: 8_000_000_000}
    tracks = [track(2, 1, 6, 9)]
    assert predecessors(tracks, [settled], np.array([[5.0], [-np.inf]]), THRESHOLD) == [-1]


@given(st.data())
def test_no_person_is_ever_made_of_two_tracks_that_exclude_one_another(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    spans = [(data.draw(st.integers(0, 20)), data.draw(st.integers(0, 8))) for _ in range(count)]
    tracks = [
        track(n + 1, data.draw(st.integers(1, 3)), first, first + length, data.draw(st.integers(0, 1)))
        for n, (first, length) in enumerate(sorted(spans))
    ]
    for pinned in [each for each in tracks if each.pinned][1:]:
        pinned.pinned = 0  # an operator joins what can be joined
    values = data.draw(st.lists(st.floats(-5, 8), min_size=count * count, max_size=count * count))
    ratio = np.array(values).reshape(count, count)
    ratio[np.tril_indices(count)] = -np.inf
    previous = predecessors(tracks, [], ratio, THRESHOLD)
    root = people(previous)
    for a, b in zip(*np.nonzero(excluded_pairs(tracks, ratio)), strict=True):
        assert root[a] != root[b]
    for column, row in enumerate(previous):
        assert row < column
        assert row < 0 or ratio[row, column] > THRESHOLD
