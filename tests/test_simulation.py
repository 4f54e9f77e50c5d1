"""The simulation and the score that the benchmarks of scale stand on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.identity_score import IdentityScore
from benchmarks.simulation import Simulation, Truth
from services.tracker.core import TrackerCore
from shared.codec import encode
from shared.config import Config
from shared.messages import Float32, Int64, People, Tracks


def test_the_same_seed_gives_the_same_people_and_another_gives_others() -> None:
    runs = [
        [b"".join(bytes(part) for part in encode(people)) for _ in range(20) for people, _ in world.step()]
        for world in (Simulation(4, 3, 10, seed=seed) for seed in (1, 1, 2))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_as_many_people_are_in_view_as_were_asked_for_and_they_come_and_go() -> None:
    world = Simulation(16, 5, 2)
    truths = [truth for _ in range(240) for _, truth in world.step()]
    assert np.mean([len(truth.people) for truth in truths]) == pytest.approx(5, rel=0.25)
    early = {person for truth in truths[:160] for person in truth.people.tolist()}
    late = {person for truth in truths[-160:] for person in truth.people.tolist()}
    assert early - late and late - early


def test_one_person_looks_more_alike_in_two_cameras_than_two_people_in_one() -> None:
    world = Simulation(4, 4, 10)
    looks: dict[tuple[int, int], Float32] = {}
    for people, truth in (each for _ in range(300) for each in world.step()):
        for row, vector in _embedded(people):
            near = np.abs(truth.boxes - people.boxes[row]).max(axis=1)
            if near.min(initial=np.inf) < 25:
                looks[int(truth.people[near.argmin()]), people.stamp.camera] = vector
    keys = list(looks)
    same = [looks[a] @ looks[b] for a in keys for b in keys if a[0] == b[0] and a[1] < b[1]]
    strangers = [looks[a] @ looks[b] for a in keys for b in keys if a[0] < b[0] and a[1] == b[1]]
    assert np.mean(same) == pytest.approx(0.67, abs=0.1)
    assert np.mean(strangers) == pytest.approx(0.26, abs=0.1)


def _embedded(people: People) -> list[tuple[int, Float32]]:
    found = people.features.get("appearance")
    return [] if found is None else list(zip(found.of.tolist(), found.vectors, strict=True))


def test_the_score_is_that_of_the_evaluation_library() -> None:
    motrics = pytest.importorskip("motrics")
    world, core, score = Simulation(3, 4, 10, seed=5), TrackerCore(Config()), IdentityScore()
    said: list[tuple[Tracks, Truth]] = []
    for _ in range(150):
        for people, truth in world.step():
            tracks = core.process(people)
            score.add(tracks, truth)
            score.assign(tracks)
            said.append((tracks, truth))
    final: dict[int, int] = {}
    for tracks, _ in said:
        final |= zip(tracks.track_ids.tolist(), tracks.identity_ids.tolist(), strict=True)
        final |= dict(tracks.assignments.tolist())

    def reference(identities: list[Int64]) -> float:
        truths: dict[int, object] = {}
        results: dict[int, object] = {}
        for frame, ((tracks, truth), ids) in enumerate(zip(said, identities, strict=True), 1):
            keep = tracks.observed & (ids > 0)
            truths[frame] = (truth.people.tolist(), truth.boxes.tolist())
            results[frame] = (ids[keep].tolist(), tracks.boxes[keep].tolist())
        return float(motrics.compute_identity(*motrics.align_frames(truths, results)).idf1)

    shown = [tracks.identity_ids for tracks, _ in said]
    settled = [np.array([final[t] for t in tracks.track_ids.tolist()], np.int64) for tracks, _ in said]
    assert 0.3 < score.online < 1
    assert score.online == pytest.approx(reference(shown), abs=1e-9)
    assert score.settled == pytest.approx(reference(settled), abs=1e-9)
