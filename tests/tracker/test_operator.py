"""An operator's decisions: they act at once, last, and outrank what the tracker would decide."""

from __future__ import annotations

import pytest

from services.tracker.core import TrackerCore
from shared.config import Config
from shared.errors import TrackingError
from shared.messages import People
from tests.tracker.scene import START_NS, people
from tests.tracker.test_core import final, tracked, walk

LATER = people([], camera=2, frame=100)


def restarted(core: TrackerCore) -> TrackerCore:
    return TrackerCore.restore(Config(), *core.snapshot())


def two() -> list[People]:
    """Two who look different, one after the other, in two cameras."""
    return walk(1, 1, range(0, 30)) + walk(2, 2, range(40, 70))


def test_two_identities_that_an_operator_joins_are_one_at_once_and_from_then_on() -> None:
    core, results = tracked(two())
    assert set(final(results).values()) == {1, 2}
    core.name(2, "Ada", START_NS)
    core.follow(2, START_NS)
    assert core.merge(1, 2, START_NS).value == "2"
    core = restarted(core)
    told = final([core.process(LATER)])
    assert set(told.values()) == {1}
    assert [(each.identity, each.name) for each in core.followed().people] == [(1, "Ada")]
    again = final([core.process(message) for message in walk(2, 3, range(110, 140))])
    assert set(again.values()) == {1}
    with pytest.raises(TrackingError, match="no person 2"):
        core.follow(2, START_NS)


def test_two_whom_a_camera_has_seen_at_once_cannot_be_joined() -> None:
    both = [people([[10 + 5 * n, 200, 70 + 5 * n, 380], [400, 200, 460, 380]], frame=n) for n in range(40)]
    core, results = tracked(both)
    assert set(final(results).values()) == {1, 2}
    with pytest.raises(TrackingError, match="camera 1 has seen 1 and 2 at once"):
        core.merge(1, 2, START_NS)
    with pytest.raises(TrackingError, match="one identity already"):
        core.merge(1, 1, START_NS)


def test_a_track_that_an_operator_splits_off_never_comes_back() -> None:
    core, results = tracked(walk(1, 1, range(0, 30)) + walk(1, 2, range(40, 70)))
    assert final(results) == {1: 1, 2: 1}
    event = core.split(1, [2], START_NS)
    assert (event.identity, event.value) == (2, "1")
    core = restarted(core)
    assert final([core.process(LATER)]) == {2: 2}
    for frame in range(110, 150):
        assert 2 not in final([core.process(people([], camera=2, frame=frame))])
    assert core.last_seen(1) is not None and core.last_seen(2) is not None


def test_only_a_persons_own_late_tracks_are_split_off_and_never_all_of_them() -> None:
    core, _ = tracked(two())
    with pytest.raises(TrackingError, match="person 1 has the tracks 1 of"):
        core.split(1, [2], START_NS)
    with pytest.raises(TrackingError, match="nothing would be left"):
        core.split(1, [1], START_NS)


def test_who_is_forgotten_is_not_known_again() -> None:
    core, results = tracked(walk(1, 1, range(0, 30)))
    assert final(results) == {1: 1}
    core.forget(1, START_NS)
    state, identities = core.snapshot()
    core = TrackerCore.restore(Config(), state, identities)
    assert core.last_seen(1) is None
    later = final([core.process(message) for message in walk(1, 2, range(40, 70))])
    assert later and 1 not in later.values()
    with pytest.raises(TrackingError, match="no person 1"):
        core.forget(1, START_NS)


def test_every_match_tells_its_terms_and_what_was_second_best() -> None:
    core, _ = tracked(walk(1, 1, range(0, 30)) + walk(2, 1, range(40, 60)) + walk(1, 2, range(70, 99)))
    first, last = restarted(core).explain(1)
    assert first.reason is not None and first.reason.continues is None
    reason = last.reason
    assert reason is not None and reason.continues is not None and reason.second is not None
    assert reason.continues.track == first.track
    assert reason.continues.terms["appearance"] > 2
    assert sum(reason.continues.terms.values()) == pytest.approx(reason.continues.ratio, abs=0.4)
    assert reason.second.identity == 2
    assert reason.second.ratio < reason.continues.ratio
    assert reason.sureness > 0.8


def test_the_last_known_place_tells_how_sure_it_is_and_where_people_go_next() -> None:
    messages: list[People] = []
    for n in range(4):
        begin = 1300 * n
        messages += walk(n, 1, range(begin, begin + 30)) + walk(n, 2, range(begin + 50, begin + 80))
    messages += walk(9, 1, range(6000, 6030))
    core, _ = tracked(messages)
    seen = core.last_seen(5)
    assert seen is not None and seen.camera == 1
    assert 0.5 < seen.sureness <= 1
    assert seen.expected[0].camera == 2
    assert seen.expected[0].probability > 0.7
    assert seen.expected[0].after_s == pytest.approx(2.0, abs=1.0)
