"""Kill every service in turn, at random moments, and see that nothing is missing or there twice.

Runs `tracking-system run` on recorded cameras, ends one service after another with SIGKILL while frames
flow, several rounds, and lets the run end by itself.  Then the database must hold every frame of every
camera exactly once, and the exported identities are compared with those of a run that nobody disturbed.

    python -m benchmarks.crashes CAMERAS.yaml [--rounds N] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from services.store.export import export

_STARTED = re.compile(r"started (\w+(?: \d+)?) \(process (\d+)\)")
SETTLE_S = 0.3


@dataclass(slots=True)
class Outcome:
    """How a run went.

    frames: rows of each camera in the database.  repeated: rows beyond one for a frame.
    """

    code: int
    seconds: float
    kills: list[str] = field(default_factory=list)
    frames: dict[int, int] = field(default_factory=dict)
    repeated: int = 0


def frames_on_disk(data: Path) -> tuple[dict[int, int], int]:
    """Rows of each camera, and how many of them are there more than once."""
    path = data / "tracking.db"
    if not path.exists():
        return {}, 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            rows = database.execute(
                "SELECT camera, COUNT(*), COUNT(DISTINCT frame_index) FROM frames "
                "JOIN sessions USING (session_key) GROUP BY camera"
            ).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return {}, 0
    return {camera: count for camera, count, _ in rows}, sum(count - once for _, count, once in rows)


class Run:
    """A `tracking-system run` in its own process, whose services' process ids are known."""

    def __init__(self, config: Path, data: Path, log: Path | None = None) -> None:
        self.data = data
        self.log = log or data.parent / f"{data.name}.log"
        self._began_s = time.monotonic()
        output = self.log.open("w")
        command = [sys.executable, "-m", "tracking_system", "run", str(config)]
        self._process = subprocess.Popen(
            [*command, "--headless", "--data", str(data)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        output.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        """End it at once where it still runs; its services end with it."""
        if not self.over:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self._process.poll() is not None

    def services(self) -> dict[str, int]:
        """Process ids by service, of those that run now."""
        return {name: int(pid) for name, pid in _STARTED.findall(self.log.read_text())}

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def kill(self, service: str) -> bool:
        """SIGKILL a service; False where it is not there to be killed."""
        pid = self.services().get(service)
        try:
            if pid is None:
                return False
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> bool:
        """Look again and again until the condition holds; whether it came to hold in time."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if condition():
                return True
            time.sleep(0.05)
        return False

    def wait_for_frames(self, count: int) -> bool:
        """Wait until so many frames are on disk; False where the run ended or stood still before."""
        self.wait_until(lambda: self.over or self._frames() >= count)
        return self._frames() >= count

    def wait_for_log(self, text: str) -> bool:
        """Wait until the console shows this text; False where the run ended or stood still before."""
        self.wait_until(lambda: self.over or text in self.log.read_text())
        return text in self.log.read_text()

    def _frames(self) -> int:
        return sum(frames_on_disk(self.data)[0].values())

    def finish(self, timeout_s: float = 600.0) -> Outcome:
        """Wait for the end."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)
            code = self._process.wait(30)
        frames, repeated = frames_on_disk(self.data)
        return Outcome(code, time.monotonic() - self._began_s, [], frames, repeated)


def disturbed_run(config: Path, data: Path, rounds: int, total: int, seed: int) -> Outcome:
    """A run in which every service is killed `rounds` times, spread over the first nine tenths."""
    chance = random.Random(seed)
    run = Run(config, data)
    run.wait_for_frames(1)
    order = [
        name for _ in range(rounds) for name in chance.sample(sorted(run.services()), k=len(run.services()))
    ]
    kills: list[str] = []
    for number, service in enumerate(order):
        at = int(total * 0.9 * (number + chance.random()) / len(order))
        if not run.wait_for_frames(at):
            break
        time.sleep(chance.random() * SETTLE_S)
        if run.kill(service):
            kills.append(service)
    outcome = run.finish()
    outcome.kills = kills
    return outcome


def exported(data: Path, out: Path, *, online: bool = False) -> dict[str, bytes]:
    """The MOTChallenge files of a run, by name; online: with the identities that were shown live."""
    return {path.name: path.read_bytes() for path in export(data, "mot", out, online=online).files}


def main() -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="cameras of recorded sources")
    parser.add_argument("--rounds", type=int, default=5, help="how often each service is killed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crashes-") as name:
        folder = Path(name)
        calm = Run(options.config, folder / "calm").finish()
        total = sum(calm.frames.values())
        rough = disturbed_run(options.config, folder / "rough", options.rounds, total, options.seed)
        same = exported(folder / "calm", folder / "calm-mot") == exported(
            folder / "rough", folder / "rough-mot"
        )
    print(f"{'run':10} {'code':>4} {'seconds':>8} {'kills':>6} {'frames':>8} {'repeated':>9}")
    for title, each in (("calm", calm), ("disturbed", rough)):
        frames = sum(each.frames.values())
        print(
            f"{title:10} {each.code:4} {each.seconds:8.1f} {len(each.kills):6} {frames:8} {each.repeated:9}"
        )
    print(
        json.dumps(
            {
                "benchmark": "crashes",
                "kills": len(rough.kills),
                "exit_code": rough.code,
                "frames_expected": calm.frames,
                "frames_found": rough.frames,
                "repeated": rough.repeated,
                "every_frame_once": rough.frames == calm.frames and not rough.repeated,
                "same_identities_as_undisturbed": same,
                "slower": round(rough.seconds / calm.seconds, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
