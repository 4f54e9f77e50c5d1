"""An exception on one message costs that message and its camera's tracks; everything else goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from services.tracker.camera_tracker import CameraTracker
from services.tracker.containment import Containment
from services.tracker.core import TrackerCore
from services.tracker.gallery import Gallery
from shared.codec import encode
from shared.config import Config
from shared.errors import TrackingError
from shared.limits import MAX_FOLLOWED
from shared.messages import End, People, Tracks
from tests.tracker.scene import START_NS, people, world

FAILING_FRAME = 30


def poisoned(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, when: Callable[..., bool]) -> None:
    """Let a method raise after it has done its work, where `when` says so of its arguments."""
    original = getattr(owner, method)

    def failing(self: object, *arguments: Any, **named: Any) -> object:
        result = original(self, *arguments, **named)
        if when(self, *arguments):
            raise ZeroDivisionError("a number no one thought of")
        return result

    monkeypatch.setattr(owner, method, failing)


def at_frame(tracker: CameraTracker, _: object, t_ns: int, *__: object) -> bool:
    return tracker.camera == 1 and t_ns == START_NS + FAILING_FRAME * 100_000_000


def seen_at_frame(_: Gallery, tracks: list[Any], __: object) -> bool:
    return any(each.camera == 1 and each.last_ns == START_NS + FAILING_FRAME * 100_000_000 for each in tracks)


POISONS = [(CameraTracker, "process", at_frame), (Gallery, "see", seen_at_frame)]


def run(messages: list[People | End], core: TrackerCore) -> list[Tracks | End]:
    containment = Containment()
    return [containment.process(core, each) for each in messages]


def frames_of(results: list[Tracks | End], camera: int) -> list[list[int]]:
    return [
        each.track_ids.tolist()
        for each in results
        if isinstance(each, Tracks) and each.stamp.camera == camera
    ]


@pytest.mark.parametrize(("owner", "method", "when"), POISONS)
def test_a_frame_on_which_the_tracker_fails_counts_as_empty_and_all_cameras_go_on(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    method: str,
    when: Callable[..., bool],
) -> None:
    messages: list[People | End] = [*world(3, frames=60)]
    undisturbed = run(messages, TrackerCore(Config()))
    poisoned(monkeypatch, owner, method, when)
    core = TrackerCore(Config())
    results = run(messages, core)
    first, second = frames_of(results, 1), frames_of(results, 2)
    assert first[:FAILING_FRAME] == frames_of(undisturbed, 1)[:FAILING_FRAME]
    assert frames_of(undisturbed, 1)[FAILING_FRAME]
    assert first[FAILING_FRAME] == []
    before = {track for frame in first[:FAILING_FRAME] for track in frame}
    after = {track for frame in first[FAILING_FRAME:] for track in frame}
    assert after and not before & after
    assert [len(each) for each in second] == [len(each) for each in frames_of(undisturbed, 2)]
    assert core.counters["frames_failed"] == 1
    for each in results:
        encode(each)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert f"camera 1, frame {FAILING_FRAME}" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize(("owner", "method", "when"), POISONS)
def test_a_run_with_a_failing_frame_is_the_same_when_it_is_replayed_from_a_snapshot(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, when: Callable[..., bool]
) -> None:
    poisoned(monkeypatch, owner, method, when)
    messages: list[People | End] = [*world(3, frames=60)]
    for cut in (FAILING_FRAME * 2 - 10, FAILING_FRAME * 2 + 1, FAILING_FRAME * 2 + 30):
        core = TrackerCore(Config())
        run(messages[:cut], core)
        state, identities = core.snapshot()
        expected = run(messages[cut:], core)
        replayed = run(messages[cut:], TrackerCore.restore(Config(), state, identities))
        assert [encode(each) for each in replayed] == [encode(each) for each in expected]


def test_an_end_on_which_the_tracker_fails_is_passed_on_and_the_tracks_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = world(3, frames=40)
    core = TrackerCore(Config())
    run([*messages], core)
    poisoned(monkeypatch, CameraTracker, "finish", lambda tracker: tracker.camera == 1)
    last = [each for each in messages if each.stamp.camera == 1][-1]
    (end,) = run([End(last.stamp, "finished", "", 40)], core)
    assert end == End(last.stamp, "finished", "", 40)
    assert core.counters["frames_failed"] == 1
    before = core.counters["tracks"]
    walking = [people([[4 * n, 100, 4 * n + 60, 280]], frame=100 + n) for n in range(30)]
    later = frames_of(run([*walking], core), 1)
    assert any(later) and all(track > before for frame in later for track in frame)


def test_links_whose_report_was_lost_are_reported_with_the_next_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = world(3, frames=60)
    decided: list[int] = []

    def first_decision(gallery: Gallery, _: int) -> bool:
        decided.append(gallery.decisions)
        return len(decided) == 1

    poisoned(monkeypatch, Gallery, "decide", first_decision)
    core = TrackerCore(Config())
    results = run([*messages], core)
    assert core.counters["frames_failed"] == 1
    told = {
        track: who for each in results if isinstance(each, Tracks) for track, who in each.assignments.tolist()
    }
    known = {number: track.identity for number, track in core._gallery.tracks.items() if track.identity}
    assert known and known.items() <= told.items()


def test_the_traceback_of_one_fault_is_logged_once_however_often_it_occurs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned(monkeypatch, CameraTracker, "process", lambda *_: True)
    core = TrackerCore(Config())
    run([people([], frame=frame) for frame in range(5)], core)
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.exc_info is not None for each in errors] == [True, False, False, False, False]
    assert core.counters["frames_failed"] == 5


def test_no_more_people_are_followed_than_one_message_can_name() -> None:
    core = TrackerCore(Config())
    core.begin_after(0, MAX_FOLLOWED + 1)
    for identity in range(1, MAX_FOLLOWED + 2):
        core.recall(identity)
    for identity in range(1, MAX_FOLLOWED + 1):
        core.follow(identity, START_NS)
    core.follow(1, START_NS)
    with pytest.raises(TrackingError, match="unfollow somebody first"):
        core.follow(MAX_FOLLOWED + 1, START_NS)
