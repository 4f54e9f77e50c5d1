"""Size of the tracker's state a person, and the IDF1 lost by storing embeddings as float16 and by restarts.

Everything goes through `TrackerCore` in this process, on simulated people (`benchmarks/simulation.py`).

size    bytes of a checkpoint's active state for each person in view, and of each person remembered, for
        appearance vectors of 256 numbers (person-reidentification-retail) and of 2048 (ResNet50), with more
        and more people in view of each of 4 cameras.  The active state has to grow with them and with nothing
        else.
loss    IDF1 over all cameras with people remembered as float16 (as shipped), as float64, and as float16 by a
        tracker that is restored from its own checkpoint every minute, on the same frames, for several seeds.

    python -m benchmarks.remembered [--quick] [--seeds N]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.identity_score import IdentityScore
from benchmarks.simulation import Simulation
from services.tracker import person
from services.tracker.core import TrackerCore
from shared.config import Config

CAMERAS = 4
DIMENSIONS = (256, 2048)
IN_VIEW = (2, 5, 10, 20, 40)
FPS = 5.0
RESTORED_EVERY_S = 60.0
MOST_LOST = 0.1
"""Points of IDF1, in the mean over the seeds: two orders of equal candidates differ by more."""

MOST_UNEVEN = 1.5
"""How much more a person in view may take in the fullest view than in one of a quarter of it."""


@contextmanager
def prototypes_as(dtype: type[np.floating[Any]]) -> Iterator[None]:
    """Store people's embeddings with this dtype while the block runs."""
    shipped, person.PROTOTYPE_DTYPE = person.PROTOTYPE_DTYPE, dtype
    try:
        yield
    finally:
        person.PROTOTYPE_DTYPE = shipped


def sizes(in_view: int, dimensions: int, seconds: float) -> tuple[float, float]:
    """Bytes of the active state for each person in view, and of a person with stored embeddings."""
    world = Simulation(CAMERAS, in_view, FPS, dimensions=dimensions)
    core = TrackerCore(Config())
    for _ in range(round(seconds * FPS)):
        for people, _truth in world.step():
            core.process(people)
    state, changed = core.snapshot()
    # Whoever has not been settled yet is remembered without looks, in less than one vector takes.
    settled = [len(content) for content in changed.values() if len(content) > 2 * dimensions]
    return len(state) / (CAMERAS * in_view), float(np.mean(settled or [0]))


def idf1(seed: int, seconds: float, *, restored: bool = False) -> tuple[float, float]:
    """Percent, online and settled.  restored: from a checkpoint every minute."""
    world = Simulation(CAMERAS, 3.0, FPS, seed=seed, rooms=20.0)
    core = TrackerCore(Config())
    stored: dict[int, bytes] = {}
    score = IdentityScore()
    for frame in range(1, round(seconds * FPS) + 1):
        for people, truth in world.step():
            tracks = core.process(people)
            score.add(tracks, truth)
            score.assign(tracks)
        if restored and frame % round(RESTORED_EVERY_S * FPS) == 0:
            state, changed = core.snapshot()
            stored |= changed
            core = TrackerCore.restore(Config(), state, stored)
    return score.online * 100, score.settled * 100


def told_sizes(dimensions: tuple[int, ...], in_view: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """Measure and print the sizes."""
    print(f"{'numbers':>8} {'in view':>8} {'state, bytes a person':>22} {'remembered, bytes':>18}")
    measured: dict[str, Any] = {}
    for length in dimensions:
        rows = {}
        for count in in_view:
            rows[count] = sizes(count, length, seconds)
            print(f"{length:8} {CAMERAS * count:8} {rows[count][0]:22.0f} {rows[count][1]:18.0f}", flush=True)
        measured[str(length)] = {CAMERAS * count: row for count, row in rows.items()}
    return measured


def told_loss(seeds: int, seconds: float) -> dict[str, float]:
    """Measure and print the loss; returns what float16 and restoring cost in the mean, settled."""
    ways: dict[str, Callable[[int], tuple[float, float]]] = {
        "float16": lambda seed: idf1(seed, seconds),
        "float64": lambda seed: idf1(seed, seconds),
        "float16, restored every minute": lambda seed: idf1(seed, seconds, restored=True),
    }
    print(f"\n{'seed':>5} {'people as':>31} {'online':>7} {'settled':>8}")
    means = {}
    for way, scored in ways.items():
        with prototypes_as(np.float64 if way == "float64" else np.float16):
            scores = [scored(seed) for seed in range(1, seeds + 1)]
        for seed, (online, settled) in enumerate(scores, 1):
            print(f"{seed:5} {way:>31} {online:7.2f} {settled:8.2f}", flush=True)
        means[way] = np.mean(scores, axis=0)
    loss = {
        "float16_loses_online": means["float64"][0] - means["float16"][0],
        "float16_loses_settled": means["float64"][1] - means["float16"][1],
        "restoring_loses_online": means["float16"][0] - means["float16, restored every minute"][0],
        "restoring_loses_settled": means["float16"][1] - means["float16, restored every minute"][1],
    }
    return {name: round(float(value), 3) for name, value in loss.items()}


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="half a minute of everything")
    parser.add_argument("--seeds", type=int, default=5, help="for the loss")
    options = parser.parse_args()
    in_view, seconds = (IN_VIEW[:2], 100.0) if options.quick else (IN_VIEW, 240.0)
    measured = told_sizes(DIMENSIONS, in_view, seconds)
    loss = told_loss(1 if options.quick else options.seeds, 90.0 if options.quick else 1200.0)
    goals: dict[str, list[Any]] = {
        name: [value, MOST_LOST, value <= MOST_LOST] for name, value in loss.items()
    }
    for length, rows in measured.items():
        *_, (_, before), (_, last) = list(rows.items())
        uneven = round(last[0] / before[0], 2)
        goals[f"state_bytes_grow_a_person_{length}"] = [uneven, MOST_UNEVEN, uneven <= MOST_UNEVEN]
    print(json.dumps({"benchmark": "remembered", "bytes": measured, "goals": goals}))


if __name__ == "__main__":
    main()
