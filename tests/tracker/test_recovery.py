"""What a restored tracker does when the store has changed meanwhile, or others have seen what it has not."""

from __future__ import annotations

import numpy as np

from services.tracker.core import TrackerCore
from services.tracker.reservation import IDENTITY_BLOCK, TRACK_BLOCK
from shared.config import Config
from shared.messages import People
from tests.tracker.scene import START_NS, look, people
from tests.tracker.test_core import final, tracked, walk

SETTLED_S = 200
"""After so long every track of the beginning is settled."""


def two_people() -> list[People]:
    return walk(1, 1, range(0, 30)) + walk(2, 2, range(40, 70))


def standing(person: int, frames: range, camera: int = 1, x: float = 100.0) -> list[People]:
    """Somebody who stands still, with an embedding in every frame."""
    return [
        people([[x, 200, x + 60, 380]], camera=camera, frame=frame, vectors=look(person, seed=frame)[None])
        for frame in frames
    ]


def test_a_tracker_goes_on_when_the_store_has_erased_people_meanwhile() -> None:
    core, results = tracked([*two_people(), people([], frame=10 * SETTLED_S)])
    assert set(final(results).values()) == {1, 2}
    state, identities = core.snapshot()
    for erased in ({1}, {2}, {1, 2}):
        left = {identity: blob for identity, blob in identities.items() if identity not in erased}
        again = TrackerCore.restore(Config(), state, left)
        begin = 10 * SETTLED_S + 10
        seen = final([again.process(each) for each in walk(1, 1, range(begin, begin + 30))])
        assert seen and not set(seen.values()) & erased
        assert not {each for each in erased if again.knows(each)}


def test_open_tracks_of_erased_people_begin_a_new_identity() -> None:
    core, results = tracked(standing(1, range(30)))
    assert set(final(results).values()) == {1}
    again = TrackerCore.restore(Config(), core.snapshot()[0], {})
    seen = final([again.process(each) for each in standing(1, range(30, 60))])
    assert set(seen.values()) == {2}


def test_numbers_given_out_behind_a_live_snapshot_are_left_out_after_a_restart() -> None:
    core, _ = tracked(standing(1, range(30)))
    state, identities = core.snapshot(reserve=True)
    lost = final([core.process(each) for each in standing(2, range(30, 60), camera=2, x=400)])
    again = TrackerCore.restore(Config(), state, identities)
    seen = final([again.process(each) for each in standing(3, range(60, 90), camera=3, x=250)])
    assert lost and seen
    assert not set(lost) & set(seen)
    assert not set(lost.values()) & set(seen.values())
    assert min(seen) > TRACK_BLOCK and max(seen.values()) > IDENTITY_BLOCK


def test_a_snapshot_of_a_recorded_run_reserves_nothing() -> None:
    core, _ = tracked(standing(1, range(30)))
    again = TrackerCore.restore(Config(), *core.snapshot())
    seen = final([again.process(each) for each in standing(2, range(60, 90), camera=2)])
    assert set(seen) == {2} and set(seen.values()) == {2}


def test_no_number_is_given_out_that_the_store_has_seen() -> None:
    core = TrackerCore(Config())
    core.begin_after(40, 7)
    seen = final([core.process(each) for each in standing(1, range(30))])
    assert seen == {41: 8}


def test_a_snapshot_is_due_before_the_reserved_numbers_run_out() -> None:
    core = TrackerCore(Config())
    core.snapshot(reserve=True)
    assert not core.reserve_is_low
    boxes = [[60 * n, 100, 60 * n + 40, 220] for n in range(10)]
    for session in range(IDENTITY_BLOCK):
        for frame in range(8):
            core.process(people(boxes, frame=100 * session + frame, session=session))
        if core.reserve_is_low:
            break
    assert core.reserve_is_low
    assert core.counters["tracks"] < TRACK_BLOCK
    assert core.counters["identities"] < IDENTITY_BLOCK
    core.snapshot(reserve=True)
    assert not core.reserve_is_low


def test_a_forgotten_person_in_view_becomes_somebody_new_and_nobody_elses_name_moves() -> None:
    # Ada waits in the middle while somebody else walks in the east, out of her sight.
    core, results = tracked(
        [
            message
            for frame in range(60)
            for message in (
                *standing(1, range(frame, frame + 1), camera=2),
                *standing(4, range(frame, frame + 1), camera=3, x=300),
            )
        ]
    )
    ada, other = sorted(set(final(results).values()))
    core.name(ada, "Ada Lovelace", START_NS)
    event = core.forget(other, START_NS)
    assert event.tracks
    later = [
        core.process(message)
        for frame in range(60, 400)
        for message in (
            *(
                standing(1, range(frame, frame + 1), camera=2)
                if frame < 200
                else [people([], camera=2, frame=frame)]
            ),
            *standing(4, range(frame, frame + 1), camera=3, x=300),
        )
    ]
    shown_east = {
        (track, who)
        for tracks in later
        if tracks.stamp.camera == 3
        for track, who in zip(tracks.track_ids.tolist(), tracks.identity_ids.tolist(), strict=True)
    }
    assert shown_east
    assert not {track for track, _ in shown_east} & set(event.tracks)
    assert not {who for _, who in shown_east} & {ada, other}
    shown_middle = {who for t in later if t.stamp.camera == 2 for who in t.identity_ids.tolist()}
    assert shown_middle == {ada}
    assert not [
        row for t in later for each in t.settled for row in each.track_ids.tolist() if row in event.tracks
    ]


def test_the_state_of_a_forgotten_person_holds_no_embedding_of_that_person() -> None:
    core, results = tracked(standing(1, range(30)))
    (who,) = set(final(results).values())
    core.forget(who, START_NS)
    camera = core._cameras[1]
    assert not camera.forest.leaves.looks.any()
    assert not any(np.any(each.vectors) for each in camera.forest.past)
    assert core.snapshot()[1] == {who: b""}


def test_people_who_were_not_seen_within_the_retention_time_are_not_remembered() -> None:
    config = Config(retention_days=1.0)
    core = TrackerCore(config)
    for message in two_people():
        core.process(message)
    core.process(people([], frame=10 * SETTLED_S))
    core.name(2, "Ada", START_NS)
    later = 10 * (86_400 + SETTLED_S)
    for message in walk(3, 1, range(later, later + 30)):
        core.process(message)
    core.process(people([], frame=later + 10 * SETTLED_S))
    assert not core.knows(1)
    assert core.knows(2)
    assert core.snapshot()[1][1] == b""
