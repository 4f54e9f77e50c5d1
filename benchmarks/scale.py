"""Does the tracker keep up with 64 cameras, and does it stay the same over a day?  On simulated people.

Everything goes through `TrackerCore` in this process, and only its time is counted: CPU time of the whole
process (so that more than one core would count as more), with the simulation's own left out.  Run it with
OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.  `benchmarks/simulation.py` tells what is simulated.

load      64 cameras with 20 people in view of each at 10 frames a second: seconds simulated for each
          second of CPU (1 or more: it keeps up), once `--settle-s` simulated seconds have passed.
accuracy  IDF1 over all cameras in the last minute of that, online and settled.
people    CPU milliseconds a frame with 1 to 40 people in view of each of 4 cameras, and how the cost grows.
day       24 hours of 4 cameras at 1 frame a second with one person in view of each on average, which is
          some thousand people; each hour: CPU time a frame, resident memory, what the tracker remembers, IDF1
          in ten minutes of it.  Compressed in cameras, frames and people, not in time.

    python -m benchmarks.scale [--quick] [--seed N] [--part load|people|day]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import psutil

from benchmarks.identity_score import IdentityScore
from benchmarks.simulation import Simulation, Truth
from services.tracker.core import TrackerCore
from services.tracker.state import pack
from services.tracker.warming import warm
from shared.config import Config
from shared.heap import collect_rarely, keep_freed_memory
from shared.messages import Tracks

PARTS = ("load", "people", "day")
PEOPLE = (1, 2, 5, 10, 20, 40)
SNAPSHOT_S = 60.0
SETTLING_S = 180.0
"""How long after a frame its settled identities are asked for."""

SCORED_S = 600.0
FORGOTTEN = pack(None)


@dataclass(slots=True)
class Load:
    """How the tracker did under load.

    factor: simulated seconds a second of CPU.  frame_ms, p99_ms, longest_ms: CPU time of a frame.
    online, settled: IDF1, percent; not told where the time was up before (`complete` is false).
    """

    simulated_s: float
    frames: int
    factor: float
    frame_ms: float
    p99_ms: float
    longest_ms: float
    online: float | None
    settled: float | None
    people: int
    identities: int
    complete: bool


@dataclass(slots=True)
class Hour:
    """One hour of the day.

    people: how many different ones there have been.  identities: given up to now.  remembered: of which are
    known now.  state_kb: the bytes of a snapshot's active state.  snapshot_ms: the time it took.
    """

    hour: int
    people: int
    identities: int
    remembered: int
    memory_kb: float
    state_kb: float
    snapshot_ms: float
    frame_ms: float
    rss_mb: float
    online: float
    settled: float


@dataclass(slots=True)
class Fed:
    """A tracker being fed, and what each frame cost.  spent_ms: CPU milliseconds a frame.

    Its loops are compiled before and memory is treated as the service does at its start.
    """

    simulation: Simulation
    core: TrackerCore = field(default_factory=lambda: TrackerCore(Config()))
    spent_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        keep_freed_memory()
        collect_rarely()
        warm()

    def run(self, seconds: float) -> Iterator[tuple[Tracks, Truth]]:
        """Every frame of the next seconds of the simulation."""
        for _ in range(round(seconds * self.simulation.fps)):
            for people, truth in self.simulation.step():
                begun_ns = time.process_time_ns()
                tracks = self.core.process(people)
                self.spent_ms.append((time.process_time_ns() - begun_ns) * 1e-6)
                yield tracks, truth


def load(world: Simulation, settle_s: float, scored_s: float, budget_s: float) -> Load:
    """Feed a world at 10 frames a second; ends early once the tracker has used `budget_s` of CPU."""
    fed, cameras = Fed(world), world.cameras
    score = IdentityScore()
    first = round(settle_s * 10) * cameras
    complete = True
    spent_s = 0.0
    for tracks, truth in fed.run(settle_s + scored_s):
        spent_s += fed.spent_ms[-1] * 1e-3
        if len(fed.spent_ms) > first:
            score.add(tracks, truth)
        score.assign(tracks)
        if spent_s > budget_s:
            complete = False
            break
    measured = np.array(fed.spent_ms[first:] if complete else fed.spent_ms[len(fed.spent_ms) // 2 :])
    return Load(
        simulated_s=len(fed.spent_ms) / cameras / 10,
        frames=len(measured),
        factor=len(measured) / cameras / 10 / (measured.sum() * 1e-3),
        frame_ms=float(measured.mean()),
        p99_ms=float(np.percentile(measured, 99)),
        longest_ms=float(measured.max()),
        online=score.online * 100 if complete else None,
        settled=score.settled * 100 if complete else None,
        people=fed.simulation.seen,
        identities=fed.core.counters["identities"],
        complete=complete,
    )


def by_people(counts: tuple[int, ...], seconds: float, seed: int) -> dict[int, tuple[float, float]]:
    """CPU milliseconds a frame, mean and median, by the people in view of each of 4 cameras."""
    costs = {}
    for count in counts:
        fed = Fed(Simulation(4, count, 10.0, seed=seed))
        for _ in fed.run(2 * seconds):
            pass
        late = fed.spent_ms[len(fed.spent_ms) // 2 :]
        costs[count] = float(np.mean(late)), float(np.median(late))
    return costs


def growth(costs: dict[int, tuple[float, float]]) -> float:
    """The exponent with which the mean cost grows from the last but one count of people to the last."""
    (few, (low, _)), (many, (high, _)) = list(costs.items())[-2:]
    return float(np.log(high / low) / np.log(many / few))


def day(hours: int, cameras: int, hour_s: float, seed: int) -> Iterator[Hour]:
    """Feed the cameras at one frame a second, hour by hour."""
    fed = Fed(Simulation(cameras, 1.0, 1.0, seed=seed, rooms=20.0))
    remembered: dict[int, int] = {}
    process = psutil.Process()
    scored_s = min(SCORED_S, hour_s / 3)
    for hour in range(1, hours + 1):
        score = IdentityScore()
        fed.spent_ms.clear()
        state, snapshot_ms = b"", 0.0
        for number, (tracks, truth) in enumerate(fed.run(hour_s)):
            t_s = number / cameras
            left_s = hour_s - SETTLING_S - t_s
            if 0 < left_s <= scored_s:
                score.add(tracks, truth)
            score.assign(tracks)
            if number % round(SNAPSHOT_S * cameras) == 0 or number == round(hour_s) * cameras - 1:
                begun_ns = time.process_time_ns()
                state, changed = fed.core.snapshot()
                snapshot_ms = (time.process_time_ns() - begun_ns) * 1e-6
                for identity, content in changed.items():
                    remembered[identity] = len(content)
                    if content == FORGOTTEN:
                        del remembered[identity]
        yield Hour(
            hour=hour,
            people=fed.simulation.seen,
            identities=fed.core.counters["identities"],
            remembered=len(remembered),
            memory_kb=sum(remembered.values()) / 1024,
            state_kb=len(state) / 1024,
            snapshot_ms=snapshot_ms,
            frame_ms=float(np.mean(fed.spent_ms)),
            rss_mb=process.memory_info().rss / 2**20,
            online=score.online * 100,
            settled=score.settled * 100,
        )


def main() -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a minute or less of everything")
    parser.add_argument("--seed", type=int, default=1, help="of the simulation")
    parser.add_argument("--cameras", type=int, default=64, help="of the load")
    parser.add_argument("--people", type=float, default=20.0, help="in view of each of them")
    parser.add_argument("--settle-s", type=float, default=60.0, help="before the load is measured")
    parser.add_argument("--budget-s", type=float, default=600.0, help="CPU time for the load")
    parser.add_argument("--day-hours", type=int, default=24, help="hours of the day")
    parser.add_argument("--part", choices=PARTS, action="append", help="one alone (default: all)")
    options = parser.parse_args()
    parts = options.part or PARTS
    results: dict[str, object] = {"benchmark": "scale", "seed": options.seed}
    if "load" in parts:
        results["load"] = told_load(options)
    if "people" in parts:
        results |= told_people(options)
    if "day" in parts:
        results["day"] = told_day(options)
    print(json.dumps(results))


def told_load(options: argparse.Namespace) -> dict[str, object]:
    """Measure and print the load."""
    world = Simulation(options.cameras, options.people, 10.0, seed=options.seed)
    settle_s, scored_s, budget_s = (
        (3.0, 5.0, 15.0) if options.quick else (options.settle_s, 60.0, options.budget_s)
    )
    under = load(world, settle_s, scored_s, budget_s)
    print(f"{options.cameras} cameras, {options.people:g} people in view of each, 10 frames a second")
    for name, value in asdict(under).items():
        print(f"  {name:12} {value:.2f}" if isinstance(value, float) else f"  {name:12} {value}")
    return asdict(under)


def told_people(options: argparse.Namespace) -> dict[str, object]:
    """Measure and print the cost by people."""
    counts, seconds = (PEOPLE[::2], 1.0) if options.quick else (PEOPLE, 20.0)
    costs = by_people(counts, seconds, options.seed)
    print(f"\n{'people':>6} {'mean ms':>8} {'median ms':>9}")
    for count, (mean, median) in costs.items():
        print(f"{count:6} {mean:8.3f} {median:9.3f}")
    exponent = growth(costs)
    print(f"the mean grows with people to the power of {exponent:.2f}\n", flush=True)
    return {
        "cost_ms_by_people": {count: mean for count, (mean, _) in costs.items()},
        "growth_exponent": exponent,
    }


def told_day(options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure and print the day, hour by hour."""
    print(" ".join(f"{title:>11}" for title in Hour.__slots__))
    hours = []
    last, cameras, hour_s = (2, 4, 600.0) if options.quick else (options.day_hours, 4, 3600.0)
    for hour in day(last, cameras, hour_s, options.seed):
        hours.append(asdict(hour))
        cells = (
            f"{value:11.2f}" if isinstance(value, float) else f"{value:11}" for value in hours[-1].values()
        )
        print(" ".join(cells), flush=True)
    return hours


if __name__ == "__main__":
    main()
