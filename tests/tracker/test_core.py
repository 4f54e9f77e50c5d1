from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.core import TrackerCore
from shared.codec import encode
from shared.config import Config
from shared.errors import TrackingError
from shared.messages import End, People, Tracks
from tests.tracker.scene import look, people, world


def tracked(messages: list[People]) -> tuple[TrackerCore, list[Tracks]]:
    core = TrackerCore(Config())
    return core, [core.process(message) for message in messages]


def as_bytes(tracks: Tracks) -> list[bytes]:
    return [bytes(part) for part in encode(tracks)]


def final(results: list[Tracks]) -> dict[int, int]:
    identity: dict[int, int] = {}
    for tracks in results:
        identity.update(dict(tracks.assignments.tolist()))
    return identity


def walk(person: int, camera: int, frames: range, step: float = 15.0) -> list[People]:
    return [
        people(
            [[n * step, 200, n * step + 60, 380]],
            camera=camera,
            frame=frame,
            vectors=[look(person, seed=frame * 10 + camera)],
        )
        for n, frame in enumerate(frames)
    ]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 16))
def test_no_identity_is_twice_in_one_frame_of_one_camera(seed: int) -> None:
    _, results = tracked(world(seed))
    identity = final(results)
    for tracks in results:
        for ids in (
            tracks.identity_ids.tolist(),
            [identity.get(t, 0) for t in tracks.track_ids[tracks.observed]],
        ):
            decided = [each for each in ids if each]
            assert len(decided) == len(set(decided))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 16), cut=st.integers(1, 100), every=st.integers(1, 30))
def test_a_restored_tracker_goes_on_exactly_as_the_one_that_was_not_stopped(
    seed: int, cut: int, every: int
) -> None:
    messages = world(seed, frames=50)
    whole = TrackerCore(Config())
    identities: dict[int, bytes] = {}
    state = b""
    for n, message in enumerate(messages[:cut]):
        whole.process(message)
        if n % every == 0 or n == cut - 1:
            state, changed = whole.snapshot()
            identities |= changed
    again = TrackerCore.restore(Config(), state, identities)
    for message in messages[cut:]:
        assert as_bytes(whole.process(message)) == as_bytes(again.process(message))
    assert whole.counters == again.counters
    assert whole.snapshot()[0] == again.snapshot()[0]


def test_the_same_frames_give_the_same_bytes() -> None:
    messages = world(3)
    assert [as_bytes(t) for t in tracked(messages)[1]] == [as_bytes(t) for t in tracked(messages)[1]]


def test_a_person_keeps_the_identity_from_camera_to_camera() -> None:
    core, results = tracked(walk(1, 1, range(0, 30)) + walk(1, 2, range(40, 70)))
    identity = final(results)
    assert len(identity) == 2
    assert set(identity.values()) == {1}
    seen = core.last_seen(1)
    assert seen is not None and seen.camera == 2


def test_two_who_look_different_are_two_people() -> None:
    _, results = tracked(walk(1, 1, range(0, 30)) + walk(2, 2, range(40, 70)))
    assert set(final(results).values()) == {1, 2}


def test_an_identity_is_shown_in_the_moment_in_which_somebody_is_seen_and_described() -> None:
    _, results = tracked(walk(1, 1, range(0, 30)))
    shown = [int(t.identity_ids[0]) for t in results if len(t.track_ids)]
    assert set(shown[2:]) == {1}
    assert final(results) == {1: 1}


def test_an_identity_without_a_description_is_undecided_at_first() -> None:
    messages = [dataclasses.replace(message, features={}) for message in walk(1, 1, range(0, 30))]
    _, results = tracked(messages)
    shown = [int(t.identity_ids[0]) for t in results if len(t.track_ids)]
    assert shown[0] == 0 and shown[-1] == 1
    assert final(results) == {1: 1}


def test_a_weak_detection_continues_a_track_but_starts_none() -> None:
    strong = walk(1, 1, range(0, 10))
    weak = [dataclasses.replace(m, scores=np.full(1, 0.35, np.float32)) for m in walk(1, 1, range(0, 20))]
    assert all(len(t.track_ids) == 0 for t in tracked(weak)[1])
    results = tracked(strong + weak[10:])[1]
    assert all(t.track_ids.tolist() == [1] and t.observed.all() for t in results[10:])


def test_a_lost_person_is_shown_a_moment_as_predicted_and_found_again() -> None:
    messages = walk(1, 1, range(0, 40), step=5.0)
    for n in range(15, 25):
        messages[n] = people([], frame=n)
    results = tracked(messages)[1]
    assert results[16].track_ids.tolist() == [1] and not results[16].observed.any()
    assert len(results[20].track_ids) == 0
    assert results[26].track_ids.tolist() == [1] and results[26].observed.all()


def test_the_velocity_and_the_path_follow_the_walk() -> None:
    last = tracked(walk(1, 1, range(0, 20)))[1][-1]
    np.testing.assert_allclose(last.velocities[0], [150, 0], atol=10)
    x, y = last.paths[0, 4]
    assert x == pytest.approx(19 * 15 + 30 + 150, abs=20) and y == pytest.approx(380, abs=10)


def test_a_click_finds_the_foremost_person_and_following_tells_where_they_are() -> None:
    core = TrackerCore(Config(), cameras=[1])
    for frame in range(30):
        core.process(
            people(
                [[100, 100, 200, 400], [160, 60, 240, 300]],
                frame=frame,
                vectors=[look(1, seed=frame), look(2, seed=frame)],
            )
        )
    front = core.identity_at(1, 180, 200)
    behind = core.identity_at(1, 220, 200)
    assert front and behind and front != behind
    assert core.identity_at(1, 500, 20) is None
    assert core.identity_at(9, 180, 200) is None
    assert core.follow(front, 5).kind == "follow"
    assert core.name(front, "Ada", 6).value == "Ada"
    (seen,) = core.followed().people
    assert (seen.identity, seen.name, seen.camera) == (front, "Ada", 1)
    assert seen.y == pytest.approx(400, abs=5)
    core.unfollow(front, 7)
    assert core.followed().people == ()


def test_an_unknown_person_cannot_be_followed() -> None:
    with pytest.raises(TrackingError, match="no person 12"):
        TrackerCore(Config()).follow(12, 0)


def test_damaged_memory_is_one_clear_error() -> None:
    for state in (b"", b"\xc1", b"\x80", b"nonsense"):
        with pytest.raises(TrackingError, match="state"):
            TrackerCore.restore(Config(), state, {})


def test_the_end_of_a_camera_ends_its_tracks_and_the_rest_goes_on() -> None:
    core = TrackerCore(Config())
    messages = walk(1, 1, range(0, 30))
    for message in messages:
        core.process(message)
    core.end(End(messages[-1].stamp, "finished"))
    assert core.identity_at(1, 29 * 15 + 30, 300) is None
    results = [core.process(message) for message in walk(1, 2, range(40, 70))]
    assert set(final(results).values()) == {1}
