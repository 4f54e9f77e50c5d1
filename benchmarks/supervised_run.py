"""A `tracking-system run` in a process of its own, whose services can be killed."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.store.export import export

_STARTED = re.compile(r"started (\w+(?: \d+)?) \(process (\d+)\)")


@dataclass(slots=True)
class Outcome:
    """How a run went.

    frames: rows of each camera in the database.  repeated: rows beyond one for a frame.
    """

    code: int
    frames: dict[int, int]
    repeated: int


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

    def __init__(
        self,
        config: Path,
        data: Path,
        log: Path | None = None,
        *,
        command: tuple[str, ...] = (sys.executable, "-m", "tracking_system"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """log: what the run writes to its console.  command: in place of `tracking-system`."""
        self.data = data
        self.log = log or data.parent / f"{data.name}.log"
        output = self.log.open("w")
        self._process = subprocess.Popen(
            [*command, "run", str(config), "--headless", "--data", str(data)],
            env=environment,
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
        child = next((each for each in self._children() if each.pid == pid), None)
        if child is None:
            return False
        with suppress(psutil.NoSuchProcess):
            child.kill()
        return True

    def kill_supervisor(self) -> None:
        """SIGKILL the run itself; the kernel kills its services with it."""
        self._process.kill()
        self._process.wait()

    def kill_everything(self) -> None:
        """SIGKILL the run and all its services."""
        children = self._children()
        self._process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait()

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []

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
        self.wait_until(lambda: self.over or self.frames() >= count)
        return self.frames() >= count

    def wait_for_log(self, text: str) -> bool:
        """Wait until the console shows this text; False where the run ended or stood still before."""
        self.wait_until(lambda: self.over or text in self.log.read_text())
        return text in self.log.read_text()

    def frames(self) -> int:
        """How many are on disk."""
        return sum(frames_on_disk(self.data)[0].values())

    def finish(self, timeout_s: float = 600.0) -> Outcome:
        """Wait for the end."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)
            code = self._process.wait(30)
        frames, repeated = frames_on_disk(self.data)
        return Outcome(code, frames, repeated)


def exported(data: Path, out: Path, *, online: bool = False) -> dict[str, bytes]:
    """The MOTChallenge files of a run, by name; online: with the identities that were shown live."""
    return {path.name: path.read_bytes() for path in export(data, "mot", out, online=online).files}
