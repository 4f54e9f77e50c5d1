"""What cameras and detectors should not send: refused or handled, counted; nobody becomes somebody else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from services.tracker.core import TrackerCore
from services.tracker.intake import ANOTHER_NETWORK
from shared.config import Config
from shared.messages import Features, People, Tracks
from tests.tracker.scene import HEIGHT, START_NS, WIDTH, look, people

HOUR_NS = 3_600 * 10**9
PEOPLE = (1, 2)
FIRST_ROW = {1: 80, 2: 290}
"""Where in the picture each of them walks, pixels from above."""


def scene(camera: int, frames: Iterable[int], dimensions: int = 64) -> list[People]:
    """Two who look different walk side by side from left to right, each at a height of their own."""
    return [
        people(
            [[4 * n, FIRST_ROW[who], 4 * n + 60, FIRST_ROW[who] + 180] for who in PEOPLE],
            camera=camera,
            frame=frame,
            vectors=[look(who, seed=frame * 10 + camera, dimensions=dimensions) for who in PEOPLE],
        )
        for n, frame in enumerate(frames)
    ]


def run(messages: Iterable[People], core: TrackerCore | None = None) -> tuple[TrackerCore, list[Tracks]]:
    core = core or TrackerCore(Config())
    return core, [core.process(message) for message in messages]


def identities(results: Iterable[Tracks]) -> dict[int, set[int]]:
    """Everything that was ever said of each of the two, by where they walk."""
    said: dict[int, set[int]] = {who: set() for who in PEOPLE}
    final: dict[int, int] = {}
    who_of: dict[int, int] = {}
    for tracks in results:
        shown = (tracks.track_ids.tolist(), tracks.identity_ids.tolist(), tracks.boxes.tolist())
        for track, identity, box in zip(*shown, strict=True):
            who_of[track] = 1 if box[1] < HEIGHT / 3 else 2
            said[who_of[track]] |= {identity} - {0}
        final |= dict(tracks.assignments.tolist())
    for track, identity in final.items():
        said[who_of[track]].add(identity)
    return said


def nobody_is_somebody_else(results: Iterable[Tracks]) -> bool:
    """Whether the two have an identity each and never the other's."""
    said = identities(results)
    return bool(said[1]) and bool(said[2]) and not said[1] & said[2]


def stamped(message: People, **changes: int) -> People:
    return dataclasses.replace(message, stamp=dataclasses.replace(message.stamp, **changes))


# -- frames -----------------------------------------------------------------------------------------


def test_frames_of_one_camera_that_come_out_of_order_are_refused_and_counted() -> None:
    messages = scene(1, range(40))
    late = messages.pop(20)
    without, expected = run(messages)
    core, results = run([*messages[:22], late, *messages[22:]])
    assert len(results[22].track_ids) == 0
    assert core.counters == without.counters | {"frames_refused": 1}
    assert [t.identity_ids.tolist() for t in results[:22] + results[23:]] == [
        t.identity_ids.tolist() for t in expected
    ]


def test_a_frame_that_comes_twice_counts_once() -> None:
    messages = scene(1, range(30))
    once, expected = run(messages)
    core, results = run(message for message in messages for _ in range(2))
    assert core.counters == once.counters | {"frames_refused": len(messages)}
    assert [t.identity_ids.tolist() for t in results[::2]] == [t.identity_ids.tolist() for t in expected]


def test_a_camera_whose_frames_come_later_than_the_others_is_handled() -> None:
    first, second = scene(1, range(40)), scene(2, range(60, 100))
    third = scene(3, range(55, 95))
    # What camera 3 saw arrives a second late among what camera 2 has seen since.
    mixed = sorted([*second, *third], key=lambda each: each.stamp.frame_index + 10 * (each.stamp.camera == 3))
    core, results = run([*first, *mixed])
    assert core.counters["frames"] == 120 and core.counters["frames_refused"] == 0
    assert nobody_is_somebody_else(results)


def test_a_camera_that_was_not_announced_is_taken_in() -> None:
    core, results = run([*scene(1, range(40)), *scene(9, range(60, 100))], TrackerCore(Config(), [1]))
    assert core.counters["frames"] == 80
    assert len(results[-1].track_ids) == 2
    assert nobody_is_somebody_else(results)


def test_a_new_session_may_begin_earlier() -> None:
    core, _ = run(scene(1, range(10)))
    core, results = run([stamped(message, session=7) for message in scene(1, range(10))], core)
    assert core.counters["frames_refused"] == 0
    assert results[-1].track_ids.tolist() == [3, 4]


def test_while_a_clock_is_an_hour_back_every_frame_is_refused_or_tracked_and_nobody_is_somebody_else() -> (
    None
):
    messages = scene(1, range(80))
    back = [stamped(each, t_ns=each.stamp.t_ns - HOUR_NS) for each in messages[30:50]]
    core, results = run([*messages[:30], *back, *messages[50:]])
    assert core.counters["frames"] + core.counters["frames_refused"] == 80
    assert nobody_is_somebody_else(results)
    assert len(results[-1].track_ids) == 2


def test_while_the_clock_of_one_camera_is_an_hour_back_another_goes_on() -> None:
    right, wrong = scene(1, range(60)), scene(2, range(60))
    wrong[20:] = [stamped(each, t_ns=each.stamp.t_ns - HOUR_NS) for each in wrong[20:]]
    core, results = run(message for pair in zip(right, wrong, strict=True) for message in pair)
    assert core.counters["frames"] + core.counters["frames_refused"] == 120
    assert all(len(tracks.track_ids) == 2 for tracks in results[10::2])
    assert nobody_is_somebody_else(results[::2])


# -- boxes ------------------------------------------------------------------------------------------

UNSOUND = [
    [np.nan, 0, 10, 10],
    [50, 50, 50, 90],
    [90, 90, 10, 10],
    [WIDTH + 5, 0, WIDTH + 50, 100],
    [0, HEIGHT + 1, 40, HEIGHT + 90],
    [-np.inf, 0, np.inf, 10],
    [3e38, -3e38, 3e38, 3e38],
]


def test_unsound_boxes_are_dropped_and_counted_and_the_others_tracked() -> None:
    core, results = run(people([*UNSOUND, [100, 100, 160, 280]], frame=frame) for frame in range(5))
    assert results[-1].track_ids.tolist() == [1]
    assert core.counters["boxes_dropped"] == 5 * len(UNSOUND)


def test_boxes_without_a_score_are_dropped_and_counted() -> None:
    boxes = [[100, 100, 160, 280], [300, 100, 360, 280]]
    core, results = run(people(boxes, frame=frame, scores=[0.9, np.nan]) for frame in range(5))
    assert results[-1].track_ids.tolist() == [1]
    assert core.counters["boxes_dropped"] == 5


def test_a_dropped_box_takes_its_own_embedding_with_it_and_no_other() -> None:
    messages = []
    for frame, message in enumerate(scene(1, range(40))):
        boxes = np.concatenate([np.array(UNSOUND[:1], np.float32), message.boxes])
        vectors = [look(7, seed=frame), *message.features["appearance"].vectors]
        messages.append(people(boxes, frame=frame, vectors=vectors))
    _, results = run([*messages, *scene(2, range(60, 100))])
    assert nobody_is_somebody_else(results)
    assert [len(each) for each in identities(results).values()] == [1, 1]


def test_motion_that_is_not_finite_moves_nobody() -> None:
    messages = [
        dataclasses.replace(
            message,
            flow=np.full((2, 2), np.inf, np.float32),
            camera_motion=np.full((2, 3), np.nan, np.float32),
        )
        for message in scene(1, range(30))
    ]
    _, results = run(messages)
    assert all(np.isfinite(tracks.boxes).all() and np.isfinite(tracks.paths).all() for tracks in results)
    assert nobody_is_somebody_else(results)


# -- embeddings -------------------------------------------------------------------------------------


def test_embeddings_of_another_length_are_refused_and_counted_and_change_nobody() -> None:
    messages = scene(1, range(40))
    bad = [people(each.boxes, frame=n, vectors=np.ones((2, 32))) for n, each in enumerate(messages)]
    mixed = [bad[n] if n % 2 and n > 4 else message for n, message in enumerate(messages)]
    core, results = run([*mixed, *scene(2, range(60, 100))])
    assert core.counters["embeddings_refused"] == 2 * sum(
        one is other for one, other in zip(mixed, bad, strict=True)
    )
    assert nobody_is_somebody_else(results)
    assert [len(each) for each in identities(results).values()] == [1, 1]


@pytest.mark.parametrize("restarted", [True, False])
def test_another_embedder_is_said_once_and_people_are_recognised_by_it(
    restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    core, before = run([*scene(1, range(40)), *scene(2, range(60, 100))])
    if restarted:
        core = TrackerCore.restore(Config(), *core.snapshot())
    run([people([], camera=2, frame=299)], core)
    core, after = run([*scene(1, range(300, 360), 32), *scene(2, range(380, 440), 32)], core)

    assert caplog.text.count("appearance comes as 32 numbers now, not 64") == 1
    assert core.counters["embeddings_refused"] == 2 * (ANOTHER_NETWORK - 1)
    assert nobody_is_somebody_else(before) and nobody_is_somebody_else(after)
    said = [identities(after[:60]), identities(after[60:])]
    assert all(said[0][who] & said[1][who] for who in PEOPLE)
    known = [core.explain(max(said[1][who])) for who in PEOPLE]
    assert any(
        stay.reason and stay.reason.continues and "appearance" in stay.reason.continues.terms
        for stays in known
        for stay in stays[-1:]
    )
    state, people_bytes = core.snapshot()
    again = TrackerCore.restore(Config(), state, people_bytes)
    more = scene(1, range(460, 480), 32)
    assert run(more, core)[0].snapshot()[0] == run(more, again)[0].snapshot()[0]


@pytest.mark.parametrize("length", [0, 3])
def test_a_first_embedding_of_another_length_does_not_make_the_others_wrong(length: int) -> None:
    messages = scene(1, range(40))
    messages[0] = people(messages[0].boxes, vectors=np.ones((2, length)))
    core, results = run([*messages, *scene(2, range(60, 100))])
    assert core.counters["embeddings_refused"] == 2
    assert [len(each) for each in identities(results).values()] == [1, 1]


@pytest.mark.parametrize(
    ("of", "vector", "quality"),
    [
        (0, np.nan, 1.0),
        (0, np.inf, 1.0),
        (0, 0.0, 1.0),
        (5, 1.0, 1.0),
        (-1, 1.0, 1.0),
        (0, 1.0, np.nan),
        (0, 1.0, -1.0),
    ],
)
def test_an_unsound_embedding_is_refused_and_counted(of: int, vector: float, quality: float) -> None:
    core, _ = run(scene(1, range(10)))
    unsound = Features(
        np.array([of], np.int32), np.full((1, 64), vector, np.float32), np.array([quality], np.float32)
    )
    message = dataclasses.replace(scene(1, range(11))[10], features={"appearance": unsound})
    core, results = run([message], core)
    assert core.counters["embeddings_refused"] == 1
    assert len(results[0].track_ids) == 2


# -- time -------------------------------------------------------------------------------------------


def test_one_frame_from_the_far_future_does_not_end_its_camera() -> None:
    messages = scene(1, range(60))
    messages[20] = stamped(messages[20], t_ns=START_NS + 24 * HOUR_NS)
    core, results = run(messages)
    assert core.counters["frames"] + core.counters["frames_refused"] == 60
    assert len(results[-1].track_ids) == 2
    assert nobody_is_somebody_else(results)
