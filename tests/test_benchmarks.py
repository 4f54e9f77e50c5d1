"""That the benchmarks measure what they say, on worlds small enough to know the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.crash_ledger import Decision, Ledger
from benchmarks.crash_world import World
from benchmarks.crashes import VIOLATIONS
from benchmarks.history_size import fill, services, writing
from benchmarks.persons import Scene, Truth, mixed
from benchmarks.real_cameras import Lens, Sight, people
from benchmarks.recorded import Tracked
from benchmarks.remembered import idf1, prototypes_as, sizes
from benchmarks.robustness import Condition, conditions
from benchmarks.scale import SETTLING_S, day, growth, load
from benchmarks.simulation import Simulation
from services.store.database import DatabaseManager
from services.store.history import History
from tests.store.scene import stamp, tracks


def lens(x: float, y: float) -> Lens:
    """A camera at man's height that looks at the middle of the floor."""
    forward = -np.array([x, y, 0.0]) / np.hypot(x, y)
    down = np.array([0.0, 0.0, -1.0])
    turn = np.stack([np.cross(down, forward), down, forward])
    matrix = np.array([[1000.0, 0, 500], [0, 1000, 500], [0, 0, 1]])
    return Lens(np.array([x, y, 1500.0]), turn, matrix, np.zeros(4))


CAMERAS = [lens(5000, 0), lens(0, 6000), lens(-4000, -3000)]


def sight(camera: int, track: int, places_mm: list[list[float]]) -> Sight:
    eye = CAMERAS[camera - 1]
    seen = (np.array(places_mm) - eye.centre) @ eye.turn.T @ eye.matrix.T
    rays = eye.ray(seen[:, :2] / seen[:, 2:])
    x, y = (seen[:, :2] / seen[:, 2:]).T
    boxes = dict(enumerate(np.stack([x - 50, y - 100, x + 50, y + 100], axis=1)))
    return Sight(camera, track, dict(enumerate(rays)), boxes, {"settled": Counter({1: 1})})


def test_tracks_of_one_person_in_several_cameras_are_found_by_the_calibration_alone() -> None:
    walks = [[[20.0 * n, 0.0, 1000.0] for n in range(20)], [[0.0, 700 - 20.0 * n, 1100.0] for n in range(20)]]
    found = [sight(c, 10 * c + who, walks[who]) for c in (1, 2, 3) for who in (0, 1)]
    groups = people(found, CAMERAS)
    assert sorted(sorted(each.track for each in group) for group in groups) == [[10, 20, 30], [11, 21, 31]]


def test_a_track_that_breaks_belongs_to_the_same_person_in_both_parts() -> None:
    walk = [[20.0 * n, 0.0, 1000.0] for n in range(40)]
    whole = [sight(camera, camera, walk) for camera in (1, 2, 3)]
    late = sight(3, 4, walk)
    whole[2].rays = {frame: ray for frame, ray in whole[2].rays.items() if frame < 20}
    late.rays = {frame: ray for frame, ray in late.rays.items() if frame >= 20}
    (group,) = people([*whole, late], CAMERAS)
    assert {each.track for each in group} == {1, 2, 3, 4}


def test_daylight_leaves_a_picture_as_it_is_and_a_lamp_makes_it_redder_and_gamma_darker() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert (Condition("as it is").change(grey) == grey).all()
    blue, green, red = Condition("3000 K", temperature_k=3000).change(grey)[0, 0]
    assert blue < green == 100 < red
    assert (Condition("gamma 2.5", gamma=2.5).change(grey) < 30).all()
    assert len({condition.name for condition in conditions(quick=False)}) == 16


def test_a_small_site_is_measured_from_start_to_end() -> None:
    under = load(Simulation(2, 2, 10.0), 5.0, 10.0, 60.0)
    assert under.complete and under.frames == 200 and under.factor > 0
    assert under.online is not None and under.settled is not None and under.settled > 50
    assert not load(Simulation(2, 2, 10.0), 5.0, 10.0, 0.01).complete
    first, second = day(2, 2, 3 * SETTLING_S, 1)
    assert first.people <= second.people and first.identities <= second.identities
    assert second.settled > 50 and second.state_kb > 0


def test_a_cost_that_doubles_with_people_grows_with_their_first_power() -> None:
    assert growth({10: (1.0, 1.0), 20: (2.0, 1.0)}) == 1.0


def test_the_history_that_is_measured_has_everybody_once_and_the_newest_remembered(tmp_path: Path) -> None:
    fill(tmp_path, 130, 30)
    with History(tmp_path) as history:
        assert [each.identity for each in history.identities()] == list(range(1, 131))
        assert len(history.sightings()) == 130
        checkpoint = history.checkpoint()
    assert checkpoint is not None and list(checkpoint.identities) == list(range(101, 131))
    assert {"store start", "tracker start"} <= services(tmp_path, 30).keys()
    writing(tmp_path, 130)
    with History(tmp_path) as history:
        assert history.people_count() == 130 + 200 - 1


def test_people_remembered_as_float16_by_a_tracker_that_restarts_are_known_as_well() -> None:
    shipped = idf1(1, 90.0)
    assert shipped == idf1(1, 90.0, restored=True)
    with prototypes_as(np.float64):
        assert shipped == idf1(1, 90.0)


def test_longer_vectors_take_more_of_a_checkpoint() -> None:
    (short, _), (long, _) = sizes(2, 256, 5.0), sizes(2, 2048, 5.0)
    assert 2 * short < long < 8 * short


SECOND_NS = 1_000_000_000


def test_a_number_that_stands_for_two_people_and_a_name_that_moved_are_found() -> None:
    world = World(1, 0)
    ledger = Ledger(world, 1, replayed=False)
    first, second = (
        next(each.box[0] + 25.0 for each in world.present(1, t_ns) if each.box[0] < 160)
        for t_ns in (2 * SECOND_NS, 7 * SECOND_NS)
    )
    ledger.see(1, 2 * SECOND_NS, [(5, 9, first)])
    person = world.person_at(1, 2 * SECOND_NS, first)
    ledger.see_names([(9, f"person {person}, name 1")])
    assert not ledger.reused and not ledger.moved
    ledger.see(1, 7 * SECOND_NS, [(6, 9, second), (5, 0, second)])
    ledger.see_names([(9, f"person {person}, name 1")])
    assert set(ledger.reused) == {("track", 5), ("identity", 9)} and len(ledger.moved) == 1


def test_a_confirmed_decision_that_is_not_in_the_database_is_found(tmp_path: Path) -> None:
    DatabaseManager(tmp_path).close()
    ledger = Ledger(World(1, 0), 1, replayed=False)
    ledger.settle(Decision("name", 3, name="person 1, name 1"), "doubtful")
    ledger.check(tmp_path)
    assert not ledger.lost
    ledger.settle(Decision("name", 4, name="person 1, name 2"), "confirmed")
    ledger.check(tmp_path)
    assert {each.identity for each in ledger.lost} == {4}


def test_runs_in_which_processes_are_killed_lose_no_frame_no_number_and_no_decision() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.crashes", "--quick"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["goals"] == {name: [0, 0, True] for name in VIOLATIONS}
    assert {kind: sum(kills.values()) for kind, kills in told["kills"].items()} == {
        "recorded": 2,
        "live": 2,
        "library": 2,
    }


def test_a_person_under_an_identity_that_is_mostly_another_persons_is_mixed_after_a_second() -> None:
    scene = Scene("gate", {1: Path("gate.mp4")}, people=2, fps=10.0)
    box = (10.0, 20.0, 50.0, 120.0)
    frames = range(40)
    for strangers, found in ((10, 0), (11, 1)):
        truth: Truth = {1: {frame: [(2 if frame < strangers else 1, box)] for frame in frames}}
        told = Tracked([tracks(stamp(1, frame), [(5, 7)]) for frame in frames], identity={5: 7})
        for each in told.tracks:
            each.boxes[:] = box
        assert mixed(scene, told, "online", truth) == found
