from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker import chains
from services.tracker.association import assign
from services.tracker.chains import together
from services.tracker.person import TrackedPerson
from services.tracker.stays import STRANGE, Pairs, Stays
from services.tracker.track import Track
from services.tracker.ways import TOUCH_S

THRESHOLD = 1.0


def track(track_id: int, camera: int, first_s: int, last_s: int, pinned: int = 0) -> Track:
    made = Track(track_id, camera, first_s * 1_000_000_000)
    made.last_ns = last_s * 1_000_000_000
    made.pinned = pinned
    return made


def ratios(count: int, links: dict[tuple[int, int], float]) -> np.ndarray:
    ratio = np.full((count, count), -np.inf)
    ratio[np.triu_indices(count, 1)] = -1.0
    for pair, value in links.items():
        ratio[pair] = value
    return ratio


def pairs(ratio: np.ndarray) -> Pairs:
    rows, columns = np.nonzero(np.isfinite(ratio))
    return Pairs(rows, columns, ratio[rows, columns])


def predecessors(
    tracks: list[Track], tails: list[TrackedPerson], given: Pairs, threshold: float
) -> list[int]:
    cover = chains.predecessors(tracks, tails, Stays.of(tracks, tails), given, threshold)
    return [int(row) for row in cover.previous]


def at_once(a: Track, b: Track) -> bool:
    return a.camera != b.camera and a.last_ns > b.first_ns + TOUCH_S * 1e9


def excluded(tracks: list[Track], ratio: np.ndarray, a: int, b: int) -> bool:
    """Whether a and b, which began later, cannot be one person's."""
    one, other = tracks[a], tracks[b]
    strange = at_once(one, other) and ratio[a, b] < STRANGE
    return together(one, other) or strange or 0 < one.pinned != other.pinned > 0


def people(previous: list[int], tails: int = 0) -> list[int]:
    """The root of each track's tree."""
    roots: list[int] = []
    for column, row in enumerate(previous):
        roots.append(roots[row - tails] if row >= tails else (row if row >= 0 else tails + column))
    return roots


def test_a_stay_that_has_ended_is_continued_once() -> None:
    tracks = [track(1, 1, 0, 5), track(2, 2, 6, 9), track(3, 3, 7, 9)]
    found = predecessors(tracks, [], pairs(ratios(3, {(0, 1): 3.0, (0, 2): 5.0})), THRESHOLD)
    assert found == [-1, -1, 0]


def test_a_stay_that_goes_on_is_joined_by_any_number_in_overlapping_views() -> None:
    tracks = [track(1, 1, 0, 20), track(2, 2, 3, 8), track(3, 2, 12, 15), track(4, 3, 14, 18)]
    links = {(0, 1): 3.0, (0, 2): 3.0, (0, 3): 3.0, (2, 3): 0.0}
    assert predecessors(tracks, [], pairs(ratios(4, links)), THRESHOLD) == [-1, 0, 0, 0]


def test_who_has_been_seen_since_elsewhere_is_continued_from_there() -> None:
    tracks = [track(1, 1, 0, 5), track(2, 2, 3, 10), track(3, 3, 12, 14)]
    links = {(0, 1): 4.0, (0, 2): 3.0, (1, 2): 2.0}
    assert predecessors(tracks, [], pairs(ratios(3, links)), THRESHOLD) == [-1, 0, 1]


def test_two_whom_one_camera_sees_at_once_are_parted_where_they_hang_together_weakest() -> None:
    tracks = [track(1, 1, 0, 10), track(2, 2, 1, 9), track(3, 1, 5, 12)]
    links = {(0, 1): 2.0, (1, 2): 4.0}
    assert predecessors(tracks, [], pairs(ratios(3, links)), THRESHOLD) == [-1, -1, 1]


def test_two_at_once_in_places_that_do_not_fit_are_two_people() -> None:
    tracks = [track(1, 1, 0, 20), track(2, 2, 3, 20), track(3, 3, 4, 20)]
    links = {(0, 1): 3.0, (0, 2): 2.0, (1, 2): STRANGE - 1}
    assert people(predecessors(tracks, [], pairs(ratios(3, links)), THRESHOLD)) == [0, 0, 2]


def test_what_an_operator_has_joined_stays_joined_and_what_was_parted_parted() -> None:
    tracks = [track(1, 1, 0, 5, 7), track(2, 2, 6, 9, 8), track(3, 3, 10, 12, 7)]
    links = {(0, 1): 50.0, (1, 2): 50.0, (0, 2): -20.0}
    assert people(predecessors(tracks, [], pairs(ratios(3, links)), THRESHOLD)) == [0, 1, 0]


def test_a_settled_person_is_not_continued_where_that_person_still_was() -> None:
    settled = TrackedPerson(7)
    settled.tail = track(1, 1, 0, 8)
    settled.busy_ns = {1: 8_000_000_000}
    tracks = [track(2, 1, 6, 9)]
    assert predecessors(tracks, [settled], pairs(np.array([[5.0], [-np.inf]])), THRESHOLD) == [-1]


def some(data: st.DataObject, most: int, cameras: int) -> tuple[list[Track], np.ndarray]:
    """Tracks here and there, and the ratios of all pairs that can be links."""
    count = data.draw(st.integers(1, most))
    spans = [(data.draw(st.integers(0, 20)), data.draw(st.integers(0, 8))) for _ in range(count)]
    tracks = [
        track(n + 1, data.draw(st.integers(1, cameras)), first, first + length, data.draw(st.integers(0, 1)))
        for n, (first, length) in enumerate(sorted(spans))
    ]
    for pinned in [each for each in tracks if each.pinned][1:]:
        pinned.pinned = 0  # an operator joins what can be joined
    values = data.draw(st.lists(st.floats(-5, 8), min_size=count * count, max_size=count * count))
    ratio = np.array(values).reshape(count, count)
    ratio[np.tril_indices(count)] = -np.inf
    return tracks, ratio


@given(st.data())
def test_no_person_is_ever_made_of_two_tracks_that_exclude_one_another(data: st.DataObject) -> None:
    tracks, ratio = some(data, 9, 3)
    previous = predecessors(tracks, [], pairs(ratio), THRESHOLD)
    root = people(previous)
    for b in range(len(tracks)):
        for a in range(b):
            assert not excluded(tracks, ratio, a, b) or root[a] != root[b]
    for column, row in enumerate(previous):
        assert row < column
        assert row < 0 or ratio[row, column] > THRESHOLD


def dense(tracks: list[Track], ratio: np.ndarray) -> list[int]:
    """The same decision by whole matrices: assigned anew after each cut of every tree's weakest link."""
    n, ratio = len(tracks), ratio.copy()
    joins = np.array([[a < b and at_once(tracks[a], tracks[b]) for b in range(n)] for a in range(n)])
    while True:
        joined = np.where(joins, ratio, -np.inf)
        company = np.full((n, n), -np.inf)
        np.fill_diagonal(company, joined.max(axis=0))
        rows, columns = assign(np.vstack([np.where(joins, -np.inf, ratio), company]), THRESHOLD)
        previous = np.full(n, -1)
        previous[columns] = np.where(rows < n, rows, joined.argmax(axis=0)[columns])
        broken: dict[int, int] = {}
        root = people(previous.tolist())
        for b in range(n):
            for a in range(b):
                row = int(previous[b])
                left = row >= 0 and a != row and not joins[row, b] and tracks[a].last_ns > tracks[row].last_ns
                if root[a] != root[b] or root[b] in broken or not (left or excluded(tracks, ratio, a, b)):
                    continue
                apart = [c for c in path(previous, a) ^ path(previous, b) if previous[c] >= 0]
                broken[root[b]] = min(apart, key=lambda c: (ratio[previous[c], c], c))
        if not broken:
            return [int(row) for row in previous]
        for column in broken.values():
            ratio[previous[column], column] = -np.inf


def path(previous: np.ndarray, column: int) -> set[int]:
    found = {column}
    while previous[column] >= 0:
        column = int(previous[column])
        found.add(column)
    return found


@settings(max_examples=300)
@given(st.data())
def test_the_sparse_decision_is_that_of_whole_matrices(data: st.DataObject) -> None:
    tracks, ratio = some(data, 12, 4)
    for each in tracks:
        each.pinned = 0
    # No two ratios alike: with ties there are several best decisions.
    ratio += np.linspace(0, 1e-6, ratio.size).reshape(ratio.shape) ** 2
    assert predecessors(tracks, [], pairs(ratio), THRESHOLD) == dense(tracks, ratio)
