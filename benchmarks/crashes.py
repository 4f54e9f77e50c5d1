"""Kill processes with SIGKILL at random moments in all kinds of run, and count what is wrong afterwards.

Recorded cameras: `tracking-system run` on painted videos; an ingest, the detector, the tracker, the store,
the run or all of them are killed.  Live cameras: the same with a detector that sends who would be in view
now.  Library: a program that uses `MultiCameraTracker` on a data folder.  The people are known, so each
number can be compared with whom it stands for.  While processes are killed, an operator names, follows,
merges and forgets people.

Nothing may be wrong after any kill or at the end.  A folder in which something was found stays, and is named.

    python -m benchmarks.crashes --kills 200 --seed 1
    python -m benchmarks.crashes --quick
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import cv2

from benchmarks.crash_rounds import EVERYTHING, RUN, LibraryRound, Round, SupervisedRound
from benchmarks.crash_world import CAMERAS, FPS, HEIGHT, WIDTH, World

SHARES = {"recorded": 0.35, "live": 0.4, "library": 0.25}
"""Of all kills."""

MOST_KILLS = {"recorded": 12, "live": 27, "library": 25}
"""In one folder; then the next round begins with an empty one."""

RECORDED_START, RECORDED_START_NS = "2023-11-14T22:13:20Z", 1_700_000_000_000_000_000
RECORDED_S = 60

RECORDED_VICTIMS = {
    **{f"ingest {camera}": 0.5 for camera in range(1, CAMERAS + 1)},
    "detector": 1.5,
    "tracker": 2.0,
    "store": 2.0,
    RUN: 0.75,
    EVERYTHING: 0.75,
}
LIVE_VICTIMS = {"detector": 1.0, "tracker": 3.0, "store": 2.0, RUN: 0.75, EVERYTHING: 0.75}

SOONEST_SHARE = 0.4
"""Share of the kills that do not wait until everything works again after the one before."""

SOONEST_S, WORKING_S = 2.5, 2.5
"""Longest time to a kill, since the one before and since everything worked again."""

QUICK_KILLS = 6


@dataclass(slots=True)
class Result:
    """All rounds of one kind of run."""

    kills: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    numbers: int = 0
    decisions: int = 0
    reshown: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, done: Round) -> None:
        """Count a round that is over."""
        ledger = done.ledger
        self.kills += done.kills
        self.frames += done.frames
        self.numbers += ledger.numbers
        self.decisions += ledger.confirmed
        self.reshown += len(ledger.reshown)
        self.violations.update(
            {
                "numbers_reused": len(ledger.reused),
                "decisions_lost": len(ledger.lost),
                "frames_missing": done.missing,
                "frames_twice": done.twice,
                "names_moved": len(ledger.moved),
                "restarts_failed": len(done.failed),
            }
        )


VIOLATIONS = (
    "numbers_reused",
    "decisions_lost",
    "frames_missing",
    "frames_twice",
    "names_moved",
    "restarts_failed",
)


class Site:
    """Makes the rounds of each kind.

    folder: for videos and data.  recorded_s: length of the recordings.
    """

    def __init__(self, folder: Path, seed: int, recorded_s: int) -> None:
        self._folder = folder
        self._seed = seed
        self._rounds = count(1)
        self._world = World(seed, RECORDED_START_NS)
        self._frames = recorded_s * FPS
        self.kinds: Mapping[str, Callable[[], Round]] = {
            "recorded": self._recorded,
            "live": self._live,
            "library": self._library,
        }

    def _next(self) -> tuple[Path, int]:
        """Folder and seed of the next round."""
        number = next(self._rounds)
        folder = self._folder / f"round-{number}"
        folder.mkdir()
        return folder, 1000 * self._seed + number

    def _recorded(self) -> Round:
        folder, seed = self._next()
        sources = {
            camera: {"source": str(self._video(camera)), "start": RECORDED_START}
            for camera in range(1, CAMERAS + 1)
        }
        return SupervisedRound(
            folder, self._world, seed, sources=sources, victims=RECORDED_VICTIMS, expected=self._frames
        )

    def _live(self) -> Round:
        folder, seed = self._next()
        sources = {
            camera: {"source": f"rtsp://simulated.invalid/{camera}"} for camera in range(1, CAMERAS + 1)
        }
        return SupervisedRound(
            folder, World(seed, time.time_ns()), seed, sources=sources, victims=LIVE_VICTIMS
        )

    def _library(self) -> Round:
        folder, seed = self._next()
        return LibraryRound(folder, World(seed, time.time_ns()), seed)

    def _video(self, camera: int) -> Path:
        path = self._folder / f"camera-{camera}.mp4"
        if not path.exists():
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
            for index in range(self._frames):
                t_ns = RECORDED_START_NS + index * 1_000_000_000 // FPS
                writer.write(self._world.picture(camera, t_ns))
            writer.release()
        return path


class Campaign:
    """Kills until it has been done so often, and tells on stderr how it goes."""

    def __init__(self, site: Site, kills: int, seed: int) -> None:
        self._site = site
        self._kills = kills
        self._random = random.Random(seed)
        self._done = 0

    def results(self, shares: Mapping[str, int]) -> Iterator[tuple[str, Result]]:
        """One kind of run after another; shares: how many kills in each."""
        for kind, kills in shares.items():
            result, began_s = Result(), time.monotonic()
            while (left := kills - result.kills.total()) > 0:
                current = self._site.kinds[kind]()
                try:
                    with current:
                        self._round(kind, current, min(left, MOST_KILLS[kind]))
                finally:
                    if not current.violations():
                        shutil.rmtree(current.folder)
                result.add(current)
            result.seconds = time.monotonic() - began_s
            yield kind, result

    def _round(self, kind: str, current: Round, kills: int) -> None:
        known: set[str] = set()
        goes_on = current.works()
        while goes_on and current.kills.total() < kills:
            time.sleep(self._random.uniform(0, WORKING_S))
            victim = current.kill()
            if victim is None:
                break
            self._done += 1
            current.check()
            known = self._tell(kind, current, f"{victim} killed", known)
            if self._random.random() < SOONEST_SHARE:
                time.sleep(self._random.uniform(0, SOONEST_S))
            else:
                goes_on = current.works()
        current.works()
        current.finish()
        self._tell(kind, current, "over", known)

    def _tell(self, kind: str, current: Round, what: str, known: set[str]) -> set[str]:
        found = current.violations()
        print(
            f"{self._done:4}/{self._kills} {kind:9} {what:24} {current.frames:7} frames "
            f"{current.ledger.numbers:6} numbers {current.ledger.confirmed:5} decisions",
            file=sys.stderr,
            flush=True,
        )
        for violation in found:
            if violation not in known:
                print(f"     WRONG in {current.folder}: {violation}", file=sys.stderr, flush=True)
        return set(found)


def table(results: Mapping[str, Result]) -> list[str]:
    """A row for each kind of run."""
    heads = ("frames", "numbers", "reshown", "decisions", *VIOLATIONS)
    lines = [f"{'run':9} {'kills':>5} {'s/kill':>6} " + " ".join(f"{head:>9}" for head in heads)]
    for kind, each in results.items():
        kills = each.kills.total()
        values = (
            each.frames,
            each.numbers,
            each.reshown,
            each.decisions,
            *(each.violations[name] for name in VIOLATIONS),
        )
        cells = " ".join(f"{value:>{max(9, len(head))}}" for value, head in zip(values, heads, strict=True))
        lines.append(f"{kind:9} {kills:5} {each.seconds / max(1, kills):6.1f} {cells}")
        lines.append(
            f"{'':9} " + ", ".join(f"{victim} {times}" for victim, times in each.kills.most_common())
        )
    return lines


def summary(results: Mapping[str, Result], seed: int) -> dict[str, object]:
    """The last line: figures, and each goal as value, goal, and whether it holds."""
    wrong: Counter[str] = Counter()
    for each in results.values():
        wrong.update(each.violations)
    return {
        "benchmark": "crashes",
        "seed": seed,
        "kills": {kind: dict(each.kills) for kind, each in results.items()},
        "frames": {kind: each.frames for kind, each in results.items()},
        "numbers": {kind: each.numbers for kind, each in results.items()},
        "reshown": {kind: each.reshown for kind, each in results.items()},
        "decisions": {kind: each.decisions for kind, each in results.items()},
        "goals": {name: [wrong[name], 0, wrong[name] == 0] for name in VIOLATIONS},
    }


def main() -> int:
    """Kill, print the table and the JSON line; 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="how many, in all kinds of run together")
    parser.add_argument("--seed", type=int, default=1, help="of the people, the moments and the decisions")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills on short recordings")
    options = parser.parse_args()
    if options.kills < len(SHARES):
        parser.error(f"--kills must be at least {len(SHARES)}, one for each kind of run")
    kills = QUICK_KILLS if options.quick else options.kills
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    site = Site(folder, options.seed, RECORDED_S // 4 if options.quick else RECORDED_S)
    shares = {kind: round(kills * share) for kind, share in SHARES.items()}
    try:
        results = dict(Campaign(site, kills, options.seed).results(shares))
    except KeyboardInterrupt:
        print("interrupted; everything is ended", file=sys.stderr)
        return 130
    finally:
        for video in folder.glob("*.mp4"):
            video.unlink()
        with suppress(OSError):
            folder.rmdir()  # unless something was wrong in one of its rounds
    print("\n".join(table(results)))
    print(json.dumps(summary(results, options.seed)))
    return int(any(any(each.violations.values()) for each in results.values()))


if __name__ == "__main__":
    sys.exit(main())
