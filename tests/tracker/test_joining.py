from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.chains import predecessors
from services.tracker.joining import join
from services.tracker.person import TrackedPerson
from services.tracker.stays import STRANGE, Pairs, Stays
from services.tracker.track import Track
from tests.tracker.test_chains import THRESHOLD, excluded, pairs, people, ratios, some, track

FRONT, BACK = (0, 1), (2, 3)
SIDES = {FRONT: 6.0, BACK: 6.0}
"""Two cameras see somebody's front, and two the back."""


def standing(pinned: dict[int, int] | None = None) -> list[Track]:
    """In four views from one second after the other on."""
    return [track(n + 1, n + 1, n, 20, (pinned or {}).get(n, 0)) for n in range(4)]


def joined(tracks: list[Track], tails: list[TrackedPerson], given: Pairs) -> list[int]:
    stays = Stays.of(tracks, tails)
    previous = predecessors(tracks, tails, stays, given, THRESHOLD).previous
    found = join(previous, tracks, tails, stays, given, threshold=THRESHOLD)
    return people(found.tolist(), len(tails))


def test_two_views_of_the_front_and_two_of_the_back_are_one_person_if_any_two_look_alike() -> None:
    # The fourth track began as the third's; that it is like the first was no way for it to begin.
    given = pairs(ratios(4, SIDES | {(0, 3): 2.0}))
    assert joined(standing(), [], given) == [0, 0, 0, 0]


def test_front_and_back_stay_two_people_where_no_two_are_likely_to_be_one() -> None:
    given = pairs(ratios(4, SIDES | {(0, 3): THRESHOLD - 0.1}))
    assert joined(standing(), [], given) == [0, 0, 2, 2]


def test_front_and_back_stay_two_people_where_two_views_contradict() -> None:
    given = pairs(ratios(4, SIDES | {(0, 3): 2.0, (1, 2): STRANGE - 1}))
    assert joined(standing(), [], given) == [0, 0, 2, 2]


def test_what_an_operator_has_parted_is_not_joined() -> None:
    given = pairs(ratios(4, SIDES | {(0, 3): 2.0}))
    found = joined(standing({1: 7, 2: 8}), [], given)
    assert found[1] != found[2]


def test_somebody_new_is_joined_to_a_settled_person_but_not_to_one_who_still_was_there() -> None:
    given = ratios(4, SIDES | {(0, 3): 2.0})
    known = np.full((1, 4), -np.inf)
    known[0, 0] = 5.0
    settled = TrackedPerson(7)
    settled.tail = track(9, 5, -9, -5)
    assert joined(standing(), [settled], pairs(np.vstack([known, given]))) == [0, 0, 0, 0]
    settled.busy_ns = {4: 10_000_000_000}
    assert joined(standing(), [settled], pairs(np.vstack([known, given]))) == [0, 0, 3, 3]


@given(st.data())
def test_nobody_joined_is_made_of_two_tracks_that_exclude_one_another(data: st.DataObject) -> None:
    tracks, ratio = some(data, 9, 4)
    found = joined(tracks, [], pairs(ratio))
    for b in range(len(tracks)):
        for a in range(b):
            assert not excluded(tracks, ratio, a, b) or found[a] != found[b]
