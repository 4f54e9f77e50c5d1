from __future__ import annotations

import numpy as np

from services.tracker.kalman import Float64
from services.tracker.person import MAX_PROTOTYPES, TrackedPerson
from services.tracker.resemblance import KINDS, Resemblance
from services.tracker.state import pack, unpack
from services.tracker.track import Track
from tests.tracker.scene import START_NS, look

SECOND_NS = 1_000_000_000
(FACE,) = (kind for kind in KINDS if kind.name == "face")
"""The kind that is compared as it is, without a camera's mean."""


def seen(number: int, vector: Float64, quality: float = 1.0, camera: int = 1) -> Track:
    track = Track(number, camera, START_NS + number * SECOND_NS)
    track.observe(track.first_ns, [track.first_ns * 1e-9, 100.0, 200.0, 0.0, 0.0, 150.0])
    track.describe("face", vector, quality)
    return track


def side(who: int, seed: int = 0) -> Float64:
    return look(who, noise=0.1, seed=seed).astype(float)


def glimpse(who: int) -> Float64:
    """So bad a look that how alike it is makes a difference."""
    return look(who, noise=2.0, seed=5).astype(float)


def person(*vectors: Float64) -> TrackedPerson:
    one = TrackedPerson(7)
    for number, vector in enumerate(vectors, 1):
        one.settle(seen(number, vector))
    return one


def ratio(one: TrackedPerson, vector: Float64) -> float:
    looks = Resemblance(FACE).looks([seen(99, vector)], [one], {})
    assert looks is not None
    return float(looks.ratio(np.array([0]), np.array([0]), np.zeros(1))[0])


def test_views_of_one_person_that_differ_are_kept_apart_and_either_is_recognised() -> None:
    front, back = side(1), side(2)
    both = person(front, side(1, 1), back, side(2, 1))
    assert len(both.prototypes["face"][1]) == MAX_PROTOTYPES
    mean = TrackedPerson(7)
    mean.prototypes["face"] = {1: [(((front + back) / 2).astype(np.float16), 4.0)]}
    for view in (glimpse(1), glimpse(2)):
        assert ratio(both, view) > ratio(mean, view)
    assert ratio(both, side(3)) < 0


def test_there_are_never_more_prototypes_of_a_camera_and_the_most_alike_become_one() -> None:
    views = [side(who, seed) for seed in range(5) for who in range(MAX_PROTOTYPES)]
    known = person(*views).prototypes["face"][1]
    assert sorted(weight for _, weight in known) == [5.0] * MAX_PROTOTYPES
    for mean, _ in known:
        assert max(float(mean.astype(float) @ side(who, 9)) for who in range(MAX_PROTOTYPES)) > 0.9


def test_a_blurred_crop_counts_for_less_than_a_sharp_one() -> None:
    def known(quality: float) -> TrackedPerson:
        one = TrackedPerson(7)
        one.settle(seen(1, side(1)))
        one.settle(seen(2, side(2), quality))
        return one

    assert ratio(known(0.05), glimpse(1)) > ratio(known(1.0), glimpse(1))


def test_prototypes_outlive_a_restart_and_are_joined_when_two_become_one() -> None:
    one, other = person(side(1), side(2)), person(side(3), side(4))
    again = TrackedPerson.restored(unpack(pack(one.state())))
    assert pack(again.state()) == pack(one.state())
    one.absorb(other)
    assert len(one.prototypes["face"][1]) == MAX_PROTOTYPES
    assert sum(weight for _, weight in one.prototypes["face"][1]) == 4.0
