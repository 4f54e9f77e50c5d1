from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.embedding_policy import EmbeddingPolicy

WIDTH, HEIGHT = 640, 480
FRAME_NS = 100_000_000
Box = tuple[float, float, float, float]


def person(x: float, foot_y: float = 300.0, height: float = 100.0) -> Box:
    return x, foot_y - height, x + height * 0.4, foot_y


def embedded(
    frames: list[list[Box]], scores: list[float] | None = None, stretch: float = 1.0
) -> list[list[int]]:
    """The rows chosen in each of these frames, taken at 10 frames a second."""
    policy = EmbeddingPolicy(confidence=0.3)
    chosen = []
    for number, boxes in enumerate(frames):
        array = np.array(boxes, np.float32).reshape(-1, 4)
        given_scores = np.array(scores or [0.9] * len(boxes), np.float32)
        rows, visible = policy.choose(number * FRAME_NS, array, given_scores, WIDTH, HEIGHT, stretch=stretch)
        assert rows.dtype == np.int32 and len(rows) == len(visible) and (visible <= 1).all()
        chosen.append(rows.tolist())
    return chosen


def test_somebody_new_is_embedded_at_once_and_then_every_half_second() -> None:
    chosen = embedded([[person(100)]] * 12)
    assert [number for number, rows in enumerate(chosen) if rows] == [0, 5, 10]


def test_everybody_new_is_embedded_and_repeats_take_turns() -> None:
    crowd = [person(20 + 90 * i) for i in range(5)]
    chosen = embedded([crowd] * 31)
    assert chosen[0] == [0, 1, 2, 3, 4]
    assert max(map(len, chosen[1:])) == 1
    repeats = [row for rows in chosen[1:] for row in rows]
    assert all(repeats.count(row) >= 4 for row in range(5)), "nobody is left out"


def test_under_load_whoever_is_new_comes_first_and_repeats_wait_longer() -> None:
    crowd = [person(20 + 55 * i, height=80) for i in range(10)]
    chosen = embedded([crowd] * 30, stretch=4.0)
    assert [len(rows) for rows in chosen[:4]] == [4, 4, 2, 0], "a few in each frame, until everybody is known"
    assert [number for number, rows in enumerate(chosen) if rows][3] == 20, "then after two seconds"


def test_six_people_cost_about_one_vector_a_frame() -> None:
    frames = [[person(20 + 90 * i + 2 * t) for i in range(6)] for t in range(60)]
    assert sum(map(len, embedded(frames))) / len(frames) <= 1.1


def test_a_weak_detection_is_never_embedded() -> None:
    assert embedded([[person(100)]] * 8, scores=[0.2]) == [[]] * 8


def test_whoever_is_hidden_behind_another_is_not_embedded_but_the_one_in_front_is() -> None:
    behind, front = person(100, foot_y=300), person(110, foot_y=320)
    assert embedded([[behind, front]]) == [[1]]


def test_leaving_a_crowd_is_a_reason_for_a_fresh_vector() -> None:
    alone = [[person(100), person(300, foot_y=320)]] * 2
    crossing = [[person(100), person(110, foot_y=320)]]
    apart = [[person(100), person(160, foot_y=320)]]
    chosen = embedded(alone + crossing + apart)
    assert chosen[0] == [0, 1]
    assert 0 in chosen[3], "well before the half second is over"


def test_coming_nearer_is_a_reason_for_a_fresh_vector() -> None:
    steady = embedded([[person(100, height=100)]] * 4)
    nearer = embedded([[person(100, height=100)]] * 2 + [[person(98, height=135)]] * 2)
    assert steady == [[0], [], [], []]
    assert nearer == [[0], [], [0], []]


def test_reappearing_is_a_reason_for_a_fresh_vector() -> None:
    chosen = embedded([[person(100)], [], [], [person(102)]])
    assert chosen == [[0], [], [], [0]]


def test_a_flicker_does_not_make_a_person_new() -> None:
    chosen = embedded([[person(100)], [], [person(101)], [person(101)]])
    assert sum(map(len, chosen)) == 2


def test_half_a_person_at_the_edge_of_the_frame_is_not_embedded() -> None:
    half_at_left, half_at_bottom = (0.0, 100.0, 15.0, 200.0), (300.0, 440.0, 340.0, 480.0)
    whole_at_left = (0.0, 300.0, 40.0, 400.0)
    assert embedded([[half_at_left, half_at_bottom, whole_at_left]]) == [[2]]


def test_a_person_too_small_to_tell_is_not_embedded() -> None:
    assert embedded([[person(100, height=25)]]) == [[]]


BOXES = st.lists(
    st.tuples(st.integers(0, 500), st.integers(60, 480), st.integers(20, 200)).map(
        lambda v: tuple(np.clip(person(*map(float, v)), 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)).tolist())
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(BOXES, max_size=12))
def test_the_same_boxes_give_the_same_choice_with_few_repeats(frames: list[list[Box]]) -> None:
    chosen = embedded(frames)
    assert chosen == embedded(frames)
    assert all(rows == sorted(set(rows)) for rows in chosen)
    assert all(not rows or rows[-1] < len(boxes) for rows, boxes in zip(chosen, frames, strict=True))
