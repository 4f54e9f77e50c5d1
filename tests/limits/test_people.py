"""Limits on people, their names and their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from services.tracker.core import TrackerCore
from services.tracker.gallery import WINDOW_S
from services.tracker.person import MAX_PROTOTYPES, MAX_STAYS, TrackedPerson
from services.tracker.register import MAX_PEOPLE, Register
from services.tracker.reservation import DECISION_BLOCK, IDENTITY_BLOCK, TRACK_BLOCK
from services.tracker.track import Track
from shared.config import Config
from shared.errors import MessageError, TrackingError
from shared.limits import MAX_FOLLOWED, MAX_NAME_LENGTH
from shared.request import text
from tests.limits.table import covers
from tests.tracker.scene import START_NS, look, people
from tests.tracker.test_core import tracked, walk
from tests.tracker.test_register import settled


@covers("services.tracker.register.MAX_PEOPLE")
def test_of_more_people_than_are_remembered_the_one_seen_longest_ago_is_forgotten() -> None:
    register = Register()
    settled(register, range(1, MAX_PEOPLE + 1))
    register.drop_oldest(present=())
    assert len(register.people) == MAX_PEOPLE
    settled(register, range(MAX_PEOPLE + 1, MAX_PEOPLE + 2))
    register.drop_oldest(present=())
    assert len(register.people) == MAX_PEOPLE and 1 not in register.people


@covers("shared.limits.MAX_FOLLOWED")
def test_so_many_people_are_followed_and_one_more_is_refused() -> None:
    core = TrackerCore(Config())
    everybody = [core._gallery.register.newcomer() for _ in range(MAX_FOLLOWED + 1)]
    for identity in everybody[:-1]:
        core.follow(identity, START_NS)
    core.follow(everybody[0], START_NS)  # who is followed already may be followed again
    with pytest.raises(TrackingError, match=f"{MAX_FOLLOWED} people are followed already: unfollow"):
        core.follow(everybody[-1], START_NS)
    core.unfollow(everybody[0], START_NS)
    core.follow(everybody[-1], START_NS)


@covers("shared.limits.MAX_NAME_LENGTH")
def test_the_longest_name_of_a_person_is_taken_and_a_longer_one_is_refused() -> None:
    core = TrackerCore(Config())
    identity = core._gallery.register.newcomer()
    longest = "\N{GRINNING FACE}" * MAX_NAME_LENGTH
    assert core.name(identity, text({"name": longest}, "name"), START_NS).value == longest
    with pytest.raises(TrackingError, match="a name has at most 200 characters, this one has 201"):
        core.name(identity, f"{longest}x", START_NS)
    with pytest.raises(MessageError, match="name must be a text of at most 200 letters"):
        text({"name": f"{longest}x"}, "name")


def test_a_name_that_cannot_be_stored_is_refused_and_the_tracker_goes_on() -> None:
    core = TrackerCore(Config())
    identity = core._gallery.register.newcomer()
    for name in ("\udcff", 5):
        with pytest.raises(TrackingError, match="a name must be text that UTF-8 can write"):
            core.name(identity, name, START_NS)  # type: ignore[arg-type]
    core.snapshot()


@covers("services.tracker.gallery.WINDOW_S")
@pytest.mark.parametrize("beyond", [False, True])
def test_a_track_within_the_window_can_be_split_off_and_an_older_one_cannot(beyond: bool) -> None:
    core, _ = tracked(walk(1, 1, range(0, 30)) + walk(1, 2, range(40, 70)))
    last_s = 2.9  # the first track's end
    for t_s in np.arange(10.0, WINDOW_S + last_s + (2.0 if beyond else -1.0), 1.0):
        core.process(people([], camera=1, frame=int(t_s * 10), t_s=float(t_s)))
    if beyond:
        with pytest.raises(TrackingError, match=f"of the last {WINDOW_S:.0f} s; older ones"):
            core.split(1, [1], START_NS)
    else:
        assert core.split(1, [1], START_NS).tracks == (1,)


@covers("services.tracker.person.MAX_PROTOTYPES", "services.tracker.person.MAX_STAYS")
def test_of_one_person_so_many_appearances_and_tracks_are_remembered() -> None:
    person = TrackedPerson(1)
    for number in range(1, MAX_STAYS + 2):
        track = Track(number, 1, number * 10**9)
        track.observe(track.first_ns, [number, 100.0, 200.0, 0.0, 0.0, 150.0])
        track.describe("face", look(number, noise=0.0), 1.0)
        person.settle(track)
        assert len(person.stays) == min(number, MAX_STAYS)
        assert len(person.prototypes["face"][1]) == min(number, MAX_PROTOTYPES)
    assert [stay.track for stay in person.stays] == list(range(2, MAX_STAYS + 2))


@covers(
    "services.tracker.reservation.TRACK_BLOCK",
    "services.tracker.reservation.IDENTITY_BLOCK",
    "services.tracker.reservation.DECISION_BLOCK",
)
def test_numbers_reserved_by_a_checkpoint_are_used_up_to_half_and_left_out_after_a_crash() -> None:
    core, _ = tracked(walk(1, 1, range(0, 30)))
    state, identities = core.snapshot(reserve=True)
    track, decision = core._next_track, core._gallery.decisions
    identity = core._gallery.register.next_identity
    for used, is_low in ((0, False), (1, True)):
        core._next_track = track + TRACK_BLOCK // 2 + used
        assert core.reserve_is_low is is_low
    core._next_track = track
    for used, is_low in ((0, False), (1, True)):
        core._gallery.register.next_identity = identity + IDENTITY_BLOCK // 2 + used
        assert core.reserve_is_low is is_low
    again = TrackerCore.restore(Config(), state, identities)
    assert again._next_track == track + TRACK_BLOCK
    assert again._gallery.register.next_identity == identity + IDENTITY_BLOCK
    assert again._gallery.decisions == decision + DECISION_BLOCK
