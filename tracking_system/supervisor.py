"""A table of child processes: started, watched, restarted with growing pauses, ended in order.

It knows nothing of what the programs do.  All its methods belong to one thread, which has to live as
long as the children, for the kernel counts that thread as their parent.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.progress_signal import VARIABLE as PROGRESS_VARIABLE

PERMANENT_CODES = (2, 3)
"""Exit codes by which a program says itself that trying again is of no use."""

_LAST_WORDS = 20

Verdict = Literal["finished", "stopped", "restarting", "given up"]


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: a name of its own, and the command line."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to pause before a crashed program is started again, and when to give up.

    What counts is whether a program gets anywhere, not how long it lives: one that loads its networks for a
    minute and then dies of the first frame, each time, is as hopeless as one that dies at once.

    first_s, longest_s: the pause, doubling with each fruitless life from the first to the longest.
    most_fruitless: crashes in a row without any progress between them, after which it is given up.
    steady_s: a program that lived longer than this counts as one that made progress; it may have had nothing
        to do.
    """

    first_s: float = 0.5
    longest_s: float = 10.0
    most_fruitless: int = 6
    steady_s: float = 600.0

    def pause_s(self, fruitless: int) -> float | None:
        """Seconds to wait after this many crashes in a row without progress; None: give up."""
        if fruitless >= self.most_fruitless:
            return None
        return min(self.first_s * 2.0 ** max(0, fruitless - 1), self.longest_s)


@dataclass(frozen=True, slots=True)
class Exit:
    """A program that ended.

    code: exit code, negative for a signal.  pause_s: until the restart, for "restarting".
    fruitless: crashes in a row, this one included, without progress between them.
    last_words: the newest lines it wrote to stderr.
    """

    name: str
    pid: int
    code: int
    lived_s: float
    verdict: Verdict
    pause_s: float = 0.0
    fruitless: int = 0
    last_words: tuple[str, ...] = ()

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-self.code).name}"
        return f"ended with code {self.code}"


@dataclass(slots=True)
class _Entry:
    program: Program
    process: subprocess.Popen[str] | None = None
    started_s: float = 0.0
    restart_at_s: float | None = None
    fruitless: int = 0
    stopping: bool = False
    progress_fd: int = -1
    reaping: threading.Lock = field(default_factory=threading.Lock)
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_WORDS))


class ProcessTable:
    """Child processes by name.

    on_line: gets each line a child writes to stderr, with the child's name, in a thread of its own.
    on_start: gets each program's name when it was started or restarted.
    environment: of the children; by default this process's.
    """

    def __init__(
        self,
        *,
        policy: RestartPolicy | None = None,
        on_line: Callable[[str, str], None] = lambda name, line: None,
        on_start: Callable[[str, int], None] = lambda name, pid: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._policy = policy or RestartPolicy()
        self._on_line = on_line
        self._on_start = on_start
        self._environment = environment
        self._entries: dict[str, _Entry] = {}
        # A SimpleQueue, because a signal handler may put into it.
        self._exits: queue.SimpleQueue[tuple[str, subprocess.Popen[str], int] | None] = queue.SimpleQueue()

    def start(self, program: Program) -> None:
        """Run a program, in a session of its own: a terminal's Ctrl-C does not reach it."""
        if program.name in self._entries:
            raise ValueError(f"{program.name} has been started already")
        self._entries[program.name] = _Entry(program)
        self._spawn(self._entries[program.name])

    def alive(self, names: Iterable[str] | None = None) -> list[str]:
        """The programs that run, or will again after a pause."""
        wanted = self._entries if names is None else names
        return [
            name
            for name in wanted
            if (entry := self._entries.get(name)) is not None
            and (entry.process is not None or entry.restart_at_s is not None)
        ]

    def pid(self, name: str) -> int | None:
        """The process id, None while it does not run."""
        process = self._entries[name].process
        return None if process is None else process.pid

    def wake(self) -> None:
        """Make a waiting `wait` return at once; may be called from a signal handler or another thread."""
        self._exits.put(None)

    def wait(self, timeout_s: float) -> Exit | None:
        """The next exit; None where there is none in time, or `wake` was called.  Restarts what is due."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            now_s = time.monotonic()
            for entry in self._entries.values():
                if entry.restart_at_s is not None and entry.restart_at_s <= now_s:
                    entry.restart_at_s = None
                    self._spawn(entry)
            due_s = [e.restart_at_s for e in self._entries.values() if e.restart_at_s is not None]
            try:
                item = self._exits.get(timeout=max(0.0, min([deadline_s, *due_s]) - now_s))
            except queue.Empty:
                if time.monotonic() >= deadline_s:
                    return None
                continue
            if item is None:
                return None
            return self._exited(*item)

    def terminate(self, names: Iterable[str]) -> None:
        """Ask programs to end: SIGTERM; one that waits for its restart is not started again."""
        self._signal(names, signal.SIGTERM)

    def kill(self, names: Iterable[str]) -> None:
        """End programs at once, with all the processes they started: SIGKILL."""
        self._signal(names, signal.SIGKILL)

    def _spawn(self, entry: _Entry) -> None:
        entry.last_words.clear()
        entry.started_s = time.monotonic()
        entry.progress_fd, child_fd = os.pipe()
        os.set_blocking(entry.progress_fd, False)
        try:
            process = entry.process = self._launch(entry.program, child_fd)
        except OSError:
            os.close(entry.progress_fd)
            raise
        finally:
            os.close(child_fd)
        reader = threading.Thread(
            target=self._read, args=(entry, process), name=f"{entry.program.name}-stderr", daemon=True
        )
        reader.start()
        threading.Thread(
            target=self._await, args=(entry, process, reader), name=f"{entry.program.name}-exit", daemon=True
        ).start()
        self._on_start(entry.program.name, process.pid)

    def _launch(self, program: Program, progress_fd: int) -> subprocess.Popen[str]:
        environment = dict(os.environ if self._environment is None else self._environment)
        return subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**environment, PROGRESS_VARIABLE: str(progress_fd)},
            pass_fds=(progress_fd,),
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def _read(self, entry: _Entry, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                entry.last_words.append(line.rstrip())
                self._on_line(entry.program.name, line.rstrip())

    def _await(self, entry: _Entry, process: subprocess.Popen[str], reader: threading.Thread) -> None:
        # Not reaped yet: until then its number cannot become another process's, and may be signalled.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        # A grandchild may hold stderr open, so the end of the lines is not waited for long.
        reader.join(1.0)
        with entry.reaping:
            code = process.wait()
        self._exits.put((entry.program.name, process, code))

    def _exited(self, name: str, process: subprocess.Popen[str], code: int) -> Exit:
        entry = self._entries[name]
        lived_s = time.monotonic() - entry.started_s
        entry.process = None
        progressed = _said_progress(entry) or lived_s >= self._policy.steady_s
        pause_s: float | None = 0.0
        verdict: Verdict
        if entry.stopping:
            verdict = "stopped"
        elif code == 0:
            verdict = "finished"
        else:
            entry.fruitless = 1 if progressed else entry.fruitless + 1
            pause_s = None if code in PERMANENT_CODES else self._policy.pause_s(entry.fruitless)
            verdict = "given up" if pause_s is None else "restarting"
            if pause_s is not None:
                entry.restart_at_s = time.monotonic() + pause_s
        return Exit(
            name,
            process.pid,
            code,
            lived_s,
            verdict,
            pause_s or 0.0,
            entry.fruitless,
            tuple(entry.last_words),
        )

    def _signal(self, names: Iterable[str], number: signal.Signals) -> None:
        for name in names:
            entry = self._entries.get(name)
            if entry is None:
                continue
            entry.stopping = True
            entry.restart_at_s = None
            with entry.reaping:
                process = entry.process
                if process is None or process.returncode is not None:
                    continue
                with contextlib.suppress(ProcessLookupError):
                    if number is signal.SIGKILL:
                        os.killpg(process.pid, number)
                    else:
                        os.kill(process.pid, number)


def _said_progress(entry: _Entry) -> bool:
    """Whether the process that has just ended gave the sign of `shared.progress_signal`."""
    try:
        return bool(os.read(entry.progress_fd, 1))
    except BlockingIOError:  # a grandchild holds the other end open
        return False
    finally:
        os.close(entry.progress_fd)
