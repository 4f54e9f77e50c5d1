from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.camera_tracker import CameraTracker, Detections
from services.tracker.hypothesis import expand
from services.tracker.kalman import Float64
from services.tracker.leaves import DETECTION, PARENT, TREE
from services.tracker.parameters import DEFAULT, Parameters
from services.tracker.settling import Settled
from tests.tracker.scene import look

SIZE_PX = (640, 480)
STILL = np.eye(2, 3)


def seen(boxes: object, scores: object = None, vectors: object = None) -> Detections:
    box = np.asarray(boxes, np.float64).reshape(-1, 4)
    n = len(box)
    look = np.empty((n, 0)) if vectors is None else np.asarray(vectors, np.float64)
    quality = np.where(look.any(axis=1), 0.8, 0.0)
    score = np.full(n, 0.97) if scores is None else np.asarray(scores, np.float64)
    return Detections(box, score, np.full((n, 2), np.nan), look, quality, np.arange(n))


def box_at(x: float, y: float = 400.0, h: float = 120.0) -> list[float]:
    return [x - 0.2 * h, y - h, x + 0.2 * h, y]


class Run:
    """A camera whose frames are added one by one; what it showed and what it settled."""

    def __init__(self, fps: float = 25.0, settle_s: float = 2.0, parameters: Parameters = DEFAULT) -> None:
        self.fps = fps
        self.tracker = CameraTracker(1, 3.0, settle_s, parameters)
        self.frame = 0
        self.next_id = 1
        self.shown: list[dict[int, Float64]] = []
        self.settled: list[Settled] = []

    def add(self, detections: Detections, motion: Float64 | None = None) -> dict[int, Float64]:
        tracker = self.tracker
        t_ns = 1 + round(self.frame * 1e9 / self.fps)
        self.frame += 1
        self.next_id += len(tracker.process(detections, t_ns, SIZE_PX, motion, self.next_id))
        self.settled += tracker.settled
        shown = tracker.shown()
        ids = [tracker.tracks[i].track_id for i in shown.tracks.tolist()]
        self.shown.append(dict(zip(ids, shown.boxes, strict=True)))
        return self.shown[-1]

    def finish(self) -> None:
        self.tracker.finish()
        self.settled += self.tracker.settled


def random_scene(seed: int, frames: int = 40) -> list[Detections]:
    """Four people who walk among one another, with misses, jitter and false boxes."""
    rng = np.random.default_rng(seed)
    x, v = rng.uniform(200, 400, 4), rng.uniform(-80, 80, 4)
    scene = []
    for n in range(frames):
        boxes = [box_at(x[i] + v[i] * n / 25, 380 + 8 * i) for i in range(4) if rng.random() > 0.15]
        boxes += [box_at(*rng.uniform(50, 430, 2)) for _ in range(rng.poisson(0.3))]
        noisy = np.array(boxes).reshape(-1, 4) + rng.normal(0, 3, (len(boxes), 4))
        scene.append(seen(noisy, rng.uniform(0.3, 1.0, len(boxes))))
    return scene


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 16))
def test_no_hypothesis_gives_a_detection_to_two_tracks_or_a_track_two_leaves(seed: int) -> None:
    run = Run()
    for detections in random_scene(seed):
        run.add(detections)
        kept, leaves = run.tracker.forest.hypotheses, run.tracker.forest.leaves
        assert len(kept.members) <= DEFAULT.hypotheses
        assert kept.costs.min() == 0 and (kept.costs <= DEFAULT.margin + 1e-9).all()
        for members, size in zip(kept.members, kept.sizes, strict=True):
            tags = leaves.tags[members[:size]]
            found = tags[tags[:, DETECTION] >= 0, DETECTION].tolist()
            assert len(found) == len(set(found))
            assert len(tags) == len(set(tags[:, TREE].tolist()))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 16))
def test_no_alternative_is_left_to_what_was_longer_ago_than_the_scan(seed: int) -> None:
    run = Run(settle_s=2.0)
    for detections in random_scene(seed, frames=60):
        run.add(detections)
    forest = run.tracker.forest
    past = list(forest.past)
    old = sum((past[-1].t_ns - each.t_ns) * 1e-9 > DEFAULT.scan_s for each in past) - 1
    assert old > 5
    ancestors: set[int] = set()
    for members, size in zip(forest.hypotheses.members, forest.hypotheses.sizes, strict=True):
        leaves = members[:size]
        for generation in past[:old:-1]:
            leaves = generation.tags[leaves, PARENT]
            leaves = leaves[leaves >= 0]
        ancestors |= set(leaves.tolist())
    tags = past[old].tags[sorted(ancestors)]
    found = tags[tags[:, DETECTION] >= 0, DETECTION].tolist()
    assert len(tags) and len(set(tags[:, TREE].tolist())) == len(tags)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(("hypotheses", "taken_back"), [(1, False), (12, True)])
def test_a_swap_that_later_evidence_contradicts_is_taken_back_if_there_are_hypotheses(
    hypotheses: int, taken_back: bool
) -> None:
    p = DEFAULT._replace(hypotheses=hypotheses)
    both = np.array([[0, 1]])
    # Two leaves, two detections: to swap is a little better now.
    parents, columns, costs = expand(
        np.array([[-5.0, -5.5], [-5.5, -5.0]]), np.zeros(2), both, np.array([2]), np.zeros(1), 0, p
    )
    swapped = [row.tolist() == [1, 0] for row in columns]
    assert swapped[0]
    # Then everybody is where only those who had not swapped can be.
    sure = [[-6.0 if not each else -1.0] * 2 for each in swapped]
    leaves = np.arange(2 * len(parents)).reshape(-1, 2)
    cost = np.full((leaves.size, 2), np.inf)
    for members, values in zip(leaves, sure, strict=True):
        cost[members, [0, 1]] = values
    parents, _, _ = expand(cost, np.zeros(leaves.size), leaves, np.full(len(leaves), 2), costs, 0, p)
    assert swapped[parents[0]] is not taken_back


def test_the_settled_output_has_every_frame_once_in_order_and_at_most_two_seconds_late() -> None:
    run = Run(fps=10.0)
    for n in range(75):
        before = len(run.settled)
        run.add(seen([box_at(100 + 3 * n)]))
        assert all(run.tracker.t_ns is not None for _ in run.settled[before:])
        oldest = len(run.settled)
        assert run.frame - oldest <= 20
    run.finish()
    assert [each.t_ns for each in run.settled] == [1 + n * 100_000_000 for n in range(75)]


def test_a_long_pause_of_the_camera_settles_what_was_before_it() -> None:
    run = Run(fps=10.0)
    for n in range(10):
        run.add(seen([box_at(100 + 3 * n)]))
    run.frame = 300
    run.add(seen([]))
    assert [each.t_ns for each in run.settled] == [1 + n * 100_000_000 for n in range(10)]


def test_settling_fills_a_short_gap_and_the_time_before_a_track_was_sure() -> None:
    run = Run(fps=10.0)
    for n in range(50):
        run.add(seen([] if 20 <= n < 27 else [box_at(100 + 8 * n)], [] if 20 <= n < 27 else [0.9]))
    run.finish()
    (number,) = {int(i) for each in run.settled for i in each.ids}
    assert all(each.ids.tolist() == [number] for each in run.settled)
    assert [bool(each.observed[0]) for each in run.settled] == [not 20 <= n < 27 for n in range(50)]
    centres = [each.boxes[0, [0, 2]].mean() for each in run.settled]
    np.testing.assert_allclose(centres, 100 + 8 * np.arange(50), atol=4)


def test_smoothing_brings_boxes_nearer_to_the_truth_than_they_were_at_once() -> None:
    rng = np.random.default_rng(4)
    run = Run()
    for n in range(150):
        run.add(seen(np.array([box_at(100 + 2 * n)]) + rng.normal(0, 6, 4)))
    run.finish()
    truth = np.array([box_at(100 + 2 * n) for n in range(150)])
    online = np.array([next(iter(each.values())) for each in run.shown[10:]])
    settled = np.array([each.boxes[0] for each in run.settled[10:]])
    assert np.abs(settled - truth[10:]).mean() < 0.75 * np.abs(online - truth[10:]).mean()


def test_the_same_person_is_followed_when_the_camera_shakes() -> None:
    rng = np.random.default_rng(1)
    run = Run()
    people = np.array([[80.0 + 110 * i, 300.0 + 30 * (i % 3)] for i in range(5)])
    for n in range(60):
        shake = rng.normal(0, 25, 2) if n > 10 else np.zeros(2)
        run.add(seen([box_at(*(place + shake)) for place in people]))
    assert len({number for each in run.shown for number in each}) == 5


def test_given_camera_motion_is_taken_as_it_is() -> None:
    run = Run()
    for n in range(30):
        motion = np.array([[1.0, 0.0, 12.0 if n else 0.0], [0.0, 1.0, 0.0]])
        run.add(seen([box_at(60 + 12 * n)]), motion)
    assert len({number for each in run.shown for number in each}) == 1
    assert abs(run.tracker.shown().velocities[0, 0]) < 5


def test_weak_detections_continue_a_track_and_start_none() -> None:
    run = Run()
    for n in range(40):
        weak = n >= 15
        run.add(seen([box_at(200 + n), box_at(500)], [0.5 if weak else 0.97, 0.5]))
    (number,) = {number for each in run.shown for number in each}
    assert all(number in each for each in run.shown[10:])


def test_a_second_box_on_somebody_starts_no_track() -> None:
    run = Run()
    for n in range(30):
        box = box_at(200 + n)
        run.add(seen([box, [x + 3 for x in box]]))
    assert len({number for each in run.shown for number in each}) == 1


def test_a_crowd_of_boxes_that_no_camera_shows_is_survived() -> None:
    rng = np.random.default_rng(0)
    run = Run()
    for _ in range(3):
        run.add(seen([box_at(rng.uniform(50, 590), rng.uniform(80, 430), 60.0) for _ in range(400)]))
    assert run.frame == 3


def test_a_new_parameter_set_is_used() -> None:
    run = Run(parameters=DEFAULT._replace(confirmation=1e9))
    for n in range(20):
        run.add(seen([box_at(200 + n)]))
    assert not any(run.shown)


@pytest.mark.parametrize("missing", [1, 5])
def test_a_track_that_is_lost_and_found_has_one_number(missing: int) -> None:
    run = Run(fps=10.0)
    for n in range(40):
        run.add(seen([] if 20 <= n < 20 + missing else [box_at(100 + 4 * n)], None))
    assert len({number for each in run.shown for number in each}) == 1


@pytest.mark.parametrize(("missing", "numbers"), [(False, 1), (True, 2)])
def test_who_looks_otherwise_for_a_while_is_somebody_else_only_if_somebody_is_missing(
    missing: bool, numbers: int
) -> None:
    run, ids = Run(), set()
    looks = [look(1 if n < 8 else 2, seed=n).astype(float) for n in range(10)]
    for n in range(200):
        boxes, vectors = [box_at(300)], [np.zeros(64)]
        if n % 20 == 10:
            vectors = [looks[n // 20]]
        if missing and n < 150:
            boxes.append(box_at(420))
            vectors.append(np.zeros(64))
        found = run.add(seen(boxes, vectors=vectors))
        ids |= {number for number, box in found.items() if abs(box[[0, 2]].mean() - 300) < 30}
    assert len(ids) == numbers
