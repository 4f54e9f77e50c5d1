"""Who comes back after an absence is the same person, as far as looks can tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from services.tracker.core import TrackerCore
from services.tracker.gallery import WINDOW_S
from services.tracker.resemblance import BOUND, DRESSED_S, faded
from services.tracker.topology import Topology
from services.tracker.track import Track
from shared.config import Config
from shared.messages import People
from tests.tracker.scene import look, people
from tests.tracker.test_gallery import decided, stay

CROWD = range(2, 8)


def crowd(first_track: int, first_s: float) -> list[Track]:
    """Six people at once in camera 3, whom nobody confuses with person 1."""
    return [stay(first_track + n, 3, first_s, first_s + 4, person) for n, person in enumerate(CROWD)]


@pytest.mark.parametrize("camera", [1, 2])
@pytest.mark.parametrize("away_s", [30.0, 2 * WINDOW_S, 3600.0])
def test_who_comes_back_with_distinct_looks_is_the_same_person(camera: int, away_s: float) -> None:
    before, others = stay(1, 1, 0, 6, 1), crowd(10, 1.0)
    gallery = decided(before, *others)
    after = stay(2, camera, 6 + away_s, 12 + away_s, 1)
    decided(after, gallery=gallery)
    assert after.identity == before.identity
    assert len({track.identity for track in [before, *others]}) == 7


@pytest.mark.parametrize("away_s", [30.0, 2 * WINDOW_S])
def test_a_stranger_is_nobody_who_was_here_before(away_s: float) -> None:
    gallery = decided(stay(1, 1, 0, 6, 1), *crowd(10, 1.0))
    known = set(gallery.register.people)
    stranger = stay(2, 1, 6 + away_s, 12 + away_s, 99)
    decided(stranger, gallery=gallery)
    assert stranger.identity not in known


def test_a_newcomer_is_less_likely_one_certain_person_the_more_people_were_seen() -> None:
    few, many = Topology(), Topology()
    few.expect(2)
    many.expect(2000)
    assert few.returning - many.returning == pytest.approx(np.log(1000))


def test_looks_tell_less_after_hours_and_nothing_after_days_whichever_way_they_spoke() -> None:
    ratio = np.array([BOUND, -BOUND])
    after = [faded(ratio, np.full(2, gap_s), DRESSED_S) for gap_s in (0.0, 3600.0, 86_400.0, 30 * 86_400.0)]
    assert after[0] == pytest.approx(ratio)
    assert all((abs(late) < abs(early)).all() for early, late in itertools.pairwise(after))
    assert after[-1] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_somebody_alone_and_in_full_view_stays_one_track_however_the_looks_change() -> None:
    def frame(number: int) -> People:
        person = 1 if number < 40 else 2  # a coat that is taken off
        return people([[300, 200, 360, 380]], frame=number, vectors=look(person, seed=number)[None])

    core = TrackerCore(Config())
    shown = [core.process(frame(number)) for number in range(90)]
    assert {track for each in shown for track in each.track_ids.tolist()} == {1}
