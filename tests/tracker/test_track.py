from __future__ import annotations

import numpy as np

from services.tracker.state import pack, unpack
from services.tracker.track import MAX_SAMPLES, Track
from tests.tracker.scene import look


def embedded(person: int, times: int) -> Track:
    track = Track(1, 1, 0)
    for n in range(times):
        track.embed(look(person, seed=n).astype(float), 0.8)
    return track


def test_the_way_keeps_its_ends_and_a_bounded_number_of_points() -> None:
    track = Track(1, 1, 0)
    for n in range(5000):
        track.observe(n * 100_000_000, [n * 0.1, float(n), 0.0, 10.0, 0.0, 100.0])
    points = track.points()
    assert len(points) <= MAX_SAMPLES
    assert points[0, 1] == 0 and points[-1, 1] == 4999
    assert (np.diff(points[:, 0]) > 0).all()


def test_the_mean_embedding_is_nearer_to_the_person_than_a_single_one() -> None:
    own = look(1, noise=0.0)
    mean = embedded(1, 20).mean
    assert mean is not None
    assert mean @ own / np.linalg.norm(mean) > look(1, seed=3) @ own


def test_contradicting_embeddings_are_held_back_and_go_to_the_successor() -> None:
    track = embedded(1, 5)
    for n in range(2):
        track.question(look(2, seed=n).astype(float), 0.8, -3.0)
    assert track.doubt == 6.0 and track.count == 5
    successor = track.successor(2, 1_000)
    assert successor.count == 2 and successor.identity == 0
    assert successor.recent is not None and successor.recent @ look(2, noise=0.0) > 0.8


def test_an_agreeing_embedding_ends_the_doubt() -> None:
    track = embedded(1, 5)
    track.question(look(2).astype(float), 0.8, -3.0)
    track.question(look(1).astype(float), 0.8, 2.0)
    assert track.doubt == 0.0 and track.count == 7


def test_a_track_is_restored_with_everything_it_had() -> None:
    track = embedded(1, 3)
    track.observe(5, [5e-9, 1.0, 2.0, 3.0, 4.0, 5.0])
    track.question(look(2).astype(float), 0.5, -1.0)
    assert pack(Track.restored(unpack(pack(track.state()))).state()) == pack(track.state())
