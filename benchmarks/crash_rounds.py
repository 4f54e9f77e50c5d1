"""The runs that `benchmarks.crashes` kills, each on a data folder of its own.

Beside each run a viewer and an operator work: what the first is shown and the second is confirmed is kept in
a `Ledger`, and compared with the database after every kill.
"""

from __future__ import annotations

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import yaml
import zmq

from benchmarks import crash_service
from benchmarks.crash_ledger import Decision, Ledger, Outcome, Stored
from benchmarks.crash_world import CAMERAS, SETTINGS, World, rows_of
from benchmarks.supervised_run import Run
from shared.endpoints import Endpoints
from shared.errors import LinkError, StorageError, TrackingError
from shared.feed import FeedSubscriber
from shared.messages import Followed, Tracks
from shared.request import Requester

WORKS_AGAIN_S = 60.0
"""A restart has failed where no new frame is there so long after a kill."""

_FINISH_S = 300.0
_NEW_FRAMES = 6
_LOOK_EVERY_S = 0.05
_DECIDE_EVERY_S = 0.5
_ANSWER_S = 8.0

RUN, EVERYTHING, PROGRAM = "run", "run and services", "program"


class Round(ABC):
    """A run that is killed and started again on one data folder until `finish`.

    folder: with the data, and the logs.  expected: frames of each recorded camera, 0 for live ones.

    kills: by process.  failed: restarts after which nothing worked, and ends that were not clean.
    missing, twice: frames of recorded cameras, as the newest check found them.
    """

    def __init__(self, folder: Path, world: World, seed: int, *, expected: int = 0) -> None:
        self.ledger = Ledger(world, seed, replayed=expected > 0)
        self.kills: Counter[str] = Counter()
        self.failed: list[str] = []
        self.missing = self.twice = self.frames = 0
        self.folder = folder
        self.data = folder / "data"
        self._world = world
        self._expected = expected
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._operate, daemon=True)]
        self.start()

    def __enter__(self) -> Round:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything at once."""
        self._stop.set()
        self.end()
        for thread in self._threads:
            thread.join()

    @abstractmethod
    def start(self) -> None:
        """Start the run on its folder, for the first time or again."""

    @abstractmethod
    def end(self) -> None:
        """End what still runs, at once."""

    @abstractmethod
    def kill(self) -> str | None:
        """SIGKILL a process; its name, or None where the run is over."""

    @abstractmethod
    def works(self) -> bool:
        """Wait until there are new frames after the newest kill; False where the run is over.

        Counts in `failed` what does not come to work.
        """

    @abstractmethod
    def ask(self, decision: Decision) -> Outcome:
        """Have the tracker decide."""

    @abstractmethod
    def close(self) -> None:
        """Let the run end in order; counts in `failed` where it does not."""

    def check(self) -> Stored | None:
        """Compare the database with what was given out and confirmed; None before there is one."""
        try:
            stored = self.ledger.check(self.data)
        except StorageError:
            return None
        self.frames = sum(rows for rows, _, _ in stored.frames.values())
        if self._expected:
            self.twice = max(self.twice, sum(rows - times for rows, times, _ in stored.frames.values()))
            self.missing = max(self.missing, sum(up_to - times for _, times, up_to in stored.frames.values()))
        return stored

    def finish(self) -> None:
        """Let the run end, and check what it leaves behind."""
        self.close()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        stored = self.check()
        if stored is None:
            self.failed.append("there is no database at the end")
        elif self._expected:
            wanted = dict.fromkeys(range(1, CAMERAS + 1), self._expected)
            found = {camera: times for camera, (_, times, _) in stored.frames.items()}
            self.missing = max(self.missing, sum(wanted[camera] - found.get(camera, 0) for camera in wanted))

    def violations(self) -> list[str]:
        """What was found so far, in words."""
        ledger = self.ledger
        return [
            *(
                f"{kind} {number} stands for the people {sorted(persons)}"
                for (kind, number), persons in ledger.reused.items()
            ),
            *(f"lost: {decision}" for decision in ledger.lost),
            *(f"moved: {name!r} is the name of identity {identity}" for identity, name in ledger.moved),
            *self.failed,
            *([f"{self.missing} frames are missing"] if self.missing else []),
            *([f"{self.twice} frames are there twice"] if self.twice else []),
        ]

    def _operate(self) -> None:
        while not self._stop.wait(self._random.uniform(0, 2 * _DECIDE_EVERY_S)):
            decision = self.ledger.propose()
            if decision is not None:
                self.ledger.settle(decision, self.ask(decision))


class SupervisedRound(Round):
    """`tracking-system run` on simulated cameras.

    sources: by camera.  victims: names of processes, `RUN` or `EVERYTHING`, with the weight of each.
    """

    def __init__(
        self,
        folder: Path,
        world: World,
        seed: int,
        *,
        sources: Mapping[int, Mapping[str, str]],
        victims: Mapping[str, float],
        expected: int = 0,
    ) -> None:
        self._victims = victims
        self._config = folder / "cameras.yaml"
        self._config.write_text(
            yaml.safe_dump({"cameras": {k: dict(v) for k, v in sources.items()}, **SETTINGS})
        )
        kind = "recorded" if expected else "live"
        site = f"{kind} {world.seed} {world.origin_ns}"
        self._environment = {**os.environ, crash_service.VARIABLE: site}
        self._endpoints = Endpoints.local(folder / "data")
        self._starts = 0
        self._frames_at_kill = 0
        super().__init__(folder, world, seed, expected=expected)
        self._threads.append(threading.Thread(target=self._view, daemon=True))

    def start(self) -> None:
        """Start the run on its folder, for the first time or again."""
        self._starts += 1
        self._run = Run(
            self._config,
            self.data,
            self.folder / f"run-{self._starts}.log",
            command=crash_service.COMMAND,
            environment=self._environment,
        )

    def end(self) -> None:
        """End what still runs, at once."""
        self._run.kill_everything()

    def kill(self) -> str | None:
        """SIGKILL a process, and start the run again where that is not the supervisor's work."""
        names, weights = list(self._victims), list(self._victims.values())
        while not self._run.over:
            victim = self._random.choices(names, weights)[0]
            frames = self._run.frames()
            if victim == RUN:
                self._run.kill_supervisor()
            elif victim == EVERYTHING:
                self._run.kill_everything()
            elif not self._run.kill(victim):
                time.sleep(_LOOK_EVERY_S)
                continue
            if victim in (RUN, EVERYTHING):
                self.start()
            self._frames_at_kill = frames
            self.kills[victim.split()[0] if victim.startswith("ingest") else victim] += 1
            return victim
        return None

    def works(self) -> bool:
        """Wait until there are new frames after the newest kill."""
        is_new = self._run.wait_until(
            lambda: self._run.over or self._run.frames() >= self._frames_at_kill + _NEW_FRAMES, WORKS_AGAIN_S
        )
        if not self._run.over:
            if not is_new:
                self.failed.append(f"no new frames {WORKS_AGAIN_S:g} s after a kill, see {self._run.log}")
            return True
        if self._run.finish(1.0).code == 0 and self._expected:
            return False
        self.failed.append(f"the run has ended, see {self._run.log}")
        self.start()
        return True

    def close(self) -> None:
        """Let the run end in order."""
        if not self._expected and not self._run.over:
            self._run.interrupt()
        if self._run.finish(_FINISH_S).code != 0:
            self.failed.append(f"the run did not end in order, see {self._run.log}")

    def ask(self, decision: Decision) -> Outcome:
        """Have the tracker decide."""
        with zmq.Context() as context:
            requester = Requester(context, self._endpoints.control, self._stop)
            try:
                requester.ask(decision.kind, decision.fields, _ANSWER_S)
            except LinkError:
                return "doubtful"
            except TrackingError as error:
                return "doubtful" if "in effect" in str(error) else "refused"
            finally:
                requester.close()
        return "confirmed"

    def _view(self) -> None:
        with zmq.Context() as context:
            feed = FeedSubscriber(context, self._endpoints.live)
            while not self._stop.is_set():
                feed.socket.poll(100)
                for message in feed.receive():
                    if isinstance(message, Tracks):
                        self.ledger.see(message.stamp.camera, message.stamp.t_ns, rows_of(message))
                    elif isinstance(message, Followed):
                        self.ledger.see_names((each.identity, each.name) for each in message.people)
            feed.close()


class LibraryRound(Round):
    """`benchmarks.crash_library`, a program with a tracker of its own."""

    def __init__(self, folder: Path, world: World, seed: int) -> None:
        self._answers: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._asked = 0
        self._told = 0
        self._log = (folder / "program.log").open("w")
        super().__init__(folder, world, seed)

    def start(self) -> None:
        """Start the run on its folder, for the first time or again."""
        site = str(self._world.seed), str(self._world.origin_ns)
        self._program = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crash_library", str(self.data), *site],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        assert self._program.stdout is not None
        self._told = 0
        self._reader = threading.Thread(target=self._read, args=(self._program.stdout,), daemon=True)
        self._reader.start()

    def end(self) -> None:
        """End what still runs, at once."""
        self._program.kill()
        self._join()
        self._log.close()

    def kill(self) -> str | None:
        """SIGKILL a process, and start the run again where that is not the supervisor's work."""
        if self._program.poll() is None:
            self._program.kill()
        self._join()
        if self._program.returncode >= 0:
            self.failed.append(
                f"the program ended with code {self._program.returncode}, see {self._log.name}"
            )
        self.kills[PROGRAM] += 1
        self.start()
        return PROGRAM

    def _join(self) -> None:
        """Wait until the program is over and everything that it told has been read."""
        self._program.wait()
        self._reader.join()
        for pipe in (self._program.stdin, self._program.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def works(self) -> bool:
        """Wait until there are new frames after the newest kill."""
        until_s = time.monotonic() + WORKS_AGAIN_S
        while self._told < _NEW_FRAMES and self._program.poll() is None and time.monotonic() < until_s:
            time.sleep(_LOOK_EVERY_S)
        if self._told < _NEW_FRAMES:
            self.failed.append(f"the program does not work again, see {self._log.name}")
        return True

    def close(self) -> None:
        """Let the run end in order."""
        assert self._program.stdin is not None
        self._program.stdin.close()
        try:
            code = self._program.wait(_FINISH_S)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            self.failed.append(f"the program did not end in order, see {self._log.name}")

    def ask(self, decision: Decision) -> Outcome:
        """Have the tracker decide."""
        self._asked += 1
        program, reader = self._program, self._reader
        assert program.stdin is not None
        request = {"number": self._asked, "kind": decision.kind, "fields": decision.fields}
        try:
            program.stdin.write(json.dumps(request) + "\n")
            program.stdin.flush()
        except (OSError, ValueError):
            return "doubtful"
        while True:
            was_over = not reader.is_alive()
            with suppress(queue.Empty):
                number, error = self._answers.get(timeout=_LOOK_EVERY_S)
                if number == self._asked:
                    return "doubtful" if "in effect" in error else "refused" if error else "confirmed"
            if was_over:
                return "doubtful"

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            if not line.endswith("\n"):
                return  # the program was killed while it wrote
            told = json.loads(line)
            if "rows" in told:
                self.ledger.see(told["camera"], told["t_ns"], [tuple(row) for row in told["rows"]])
                self._told += 1
            else:
                self._answers.put((told["number"], told["error"]))
