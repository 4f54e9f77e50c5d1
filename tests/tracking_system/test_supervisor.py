"""The process table, on real child processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking_system.supervisor import Exit, ProcessTable, Program, RestartPolicy

QUICK = RestartPolicy(first_s=0.02, longest_s=0.05, most_fruitless=3)
PATIENCE_S = 30.0


class Watched:
    """A table, with what its callbacks heard."""

    def __init__(self, policy: RestartPolicy = QUICK) -> None:
        self.lines: list[tuple[str, str]] = []
        self.started: list[tuple[str, int]] = []
        self.spoke = threading.Semaphore(0)
        self.table = ProcessTable(
            policy=policy, on_line=self._hear, on_start=lambda name, pid: self.started.append((name, pid))
        )

    def start(self, name: str, code: str) -> None:
        self.table.start(Program(name, (sys.executable, "-u", "-c", code)))

    def exit(self) -> Exit:
        exit_ = self.table.wait(PATIENCE_S)
        assert exit_ is not None
        return exit_

    def await_lines(self, count: int) -> None:
        for _ in range(count):
            assert self.spoke.acquire(timeout=PATIENCE_S)

    def _hear(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self.spoke.release()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.table.kill(watched.table.alive())
    while watched.table.alive():
        watched.table.wait(PATIENCE_S)


READY = "import sys, signal; print('ready', file=sys.stderr, flush=True); "


def test_a_program_that_ends_well_is_finished(watched: Watched) -> None:
    watched.start("a", "")
    exit_ = watched.exit()
    assert (exit_.name, exit_.code, exit_.verdict) == ("a", 0, "finished")
    assert watched.table.alive() == []
    assert watched.table.pid("a") is None


def test_a_program_that_crashes_is_started_again_until_it_ends_well(watched: Watched, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    watched.start("a", f"import sys; f = open({str(marks)!r}, 'a+'); f.write('x'); sys.exit(f.tell() < 3)")
    exits = [watched.exit() for _ in range(3)]
    assert [each.verdict for each in exits] == ["restarting", "restarting", "finished"]
    assert [name for name, _ in watched.started] == ["a"] * 3
    assert len({pid for _, pid in watched.started}) == 3


def test_a_program_that_only_crashes_is_given_up(watched: Watched) -> None:
    watched.start("a", "raise SystemExit(1)")
    assert [watched.exit().verdict for _ in range(3)] == ["restarting", "restarting", "given up"]
    assert watched.table.alive() == []


def test_a_program_that_crashes_again_and_again_is_given_up_however_long_each_life_lasts() -> None:
    watched = Watched(RestartPolicy(first_s=0.0, longest_s=0.0, most_fruitless=3))
    lives = iter([10.0, 20.0, 400.0])
    watched.start("a", READY + "signal.pause()")
    exits = []
    for life_s in lives:
        watched.await_lines(1)
        entry = watched.table._entries["a"]
        entry.started_s -= life_s
        pid = watched.table.pid("a")
        assert pid is not None
        os.kill(pid, signal.SIGABRT)
        exits.append(watched.exit())
        watched.table.wait(0.0)
    assert [each.verdict for each in exits] == ["restarting", "restarting", "given up"]
    assert [each.fruitless for each in exits] == [1, 2, 3]
    assert exits[-1].lived_s > 400


PROGRESS = "from shared.progress_signal import ProgressSignal; ProgressSignal().give(); "


def test_a_program_that_gets_somewhere_before_it_crashes_is_always_started_again() -> None:
    watched = Watched(RestartPolicy(first_s=0.0, longest_s=0.0, most_fruitless=2))
    watched.start("a", PROGRESS + "raise SystemExit(1)")
    exits = [watched.exit() for _ in range(5)]
    assert [(each.verdict, each.fruitless) for each in exits] == [("restarting", 1)] * 5
    watched.table.kill(["a"])
    while watched.table.alive():
        watched.table.wait(PATIENCE_S)


def test_progress_begins_the_count_of_fruitless_lives_anew(tmp_path: Path) -> None:
    watched = Watched(RestartPolicy(first_s=0.0, longest_s=0.0, most_fruitless=3))
    marks = tmp_path / "marks"
    watched.start(
        "a",
        f"f = open({str(marks)!r}, 'a+'); f.write('x'); f.flush()\n"
        f"if f.tell() == 3: {PROGRESS}\nraise SystemExit(1)",
    )
    assert [watched.exit().fruitless for _ in range(5)] == [1, 2, 1, 2, 3]
    assert watched.table.alive() == []


def test_a_program_that_lived_long_counts_as_one_that_got_somewhere() -> None:
    watched = Watched(RestartPolicy(first_s=0.0, longest_s=0.0, most_fruitless=2, steady_s=0.0))
    watched.start("a", "raise SystemExit(1)")
    assert [watched.exit().verdict for _ in range(5)] == ["restarting"] * 5
    watched.table.kill(["a"])
    while watched.table.alive():
        watched.table.wait(PATIENCE_S)


def test_a_grandchild_that_holds_the_pipe_open_delays_nothing(watched: Watched) -> None:
    watched.start(
        "a",
        "import os, subprocess\n"
        "fd = int(os.environ['TRACKING_SYSTEM_PROGRESS_FD'])\n"
        "p = subprocess.Popen(['sleep', '1000'], pass_fds=[fd], stderr=subprocess.DEVNULL)\n"
        "raise SystemExit(str(p.pid))",
    )
    exit_ = watched.exit()
    assert (exit_.verdict, exit_.fruitless) == ("restarting", 1)
    watched.table.terminate(["a"])
    psutil.Process(int(exit_.last_words[0])).kill()


def test_a_process_that_has_ended_is_not_signalled_for_its_number_may_be_anothers_by_now(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.start("a", "")
    pid = watched.table.pid("a")
    assert pid is not None
    signalled: list[int] = []
    while psutil.pid_exists(pid):  # until it has been reaped
        threading.Event().wait(0.001)
    monkeypatch.setattr(os, "killpg", lambda number, _: signalled.append(number))
    monkeypatch.setattr(os, "kill", lambda number, _: signalled.append(number))
    watched.table.terminate(["a"])
    watched.table.kill(["a"])
    monkeypatch.undo()
    assert signalled == []
    assert watched.exit().verdict == "stopped"


@pytest.mark.parametrize("code", [2, 3])
def test_a_program_that_says_trying_again_is_of_no_use_is_given_up_at_once(
    watched: Watched, code: int
) -> None:
    watched.start("a", f"raise SystemExit({code})")
    assert watched.exit().verdict == "given up"


def test_a_program_killed_by_a_signal_is_started_again(watched: Watched) -> None:
    watched.start("a", READY + "signal.pause()")
    watched.await_lines(1)
    pid = watched.table.pid("a")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    exit_ = watched.exit()
    assert (exit_.verdict, exit_.how, exit_.pid) == ("restarting", "was killed by SIGKILL", pid)
    assert watched.table.alive() == ["a"]
    assert watched.table.wait(0.05) is None
    watched.await_lines(1)
    assert watched.table.pid("a") not in (None, pid)


def test_a_program_asked_to_end_is_stopped_and_stays_so(watched: Watched) -> None:
    watched.start("a", READY + "signal.pause()")
    watched.await_lines(1)
    watched.table.terminate(["a"])
    exit_ = watched.exit()
    assert (exit_.verdict, exit_.code) == ("stopped", -signal.SIGTERM)
    assert watched.table.alive() == []


def test_a_program_that_ignores_the_request_can_be_killed_with_its_children(watched: Watched) -> None:
    watched.start(
        "a",
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen(['sleep', '1000']); print(p.pid, file=sys.stderr, flush=True); signal.pause()",
    )
    watched.await_lines(1)
    grandchild = psutil.Process(int(watched.lines[0][1]))
    watched.table.terminate(["a"])
    assert watched.table.wait(0.1) is None
    watched.table.kill(["a"])
    assert watched.exit().code == -signal.SIGKILL
    # Killed with its group; an orphan that nobody reaps may stay as a zombie.
    gone, alive = psutil.wait_procs([grandchild], timeout=PATIENCE_S if grandchild.is_running() else 0)
    assert gone or alive[0].status() == psutil.STATUS_ZOMBIE


def test_a_program_asked_to_end_while_it_waits_for_its_restart_is_not_started() -> None:
    watched = Watched(RestartPolicy(first_s=1000.0, longest_s=1000.0))
    watched.start("a", "raise SystemExit(1)")
    exit_ = watched.exit()
    assert (exit_.verdict, exit_.pause_s) == ("restarting", 1000.0)
    assert watched.table.alive() == ["a"]
    watched.table.terminate(["a"])
    assert watched.table.alive() == []


def test_the_last_words_of_a_program_come_with_its_exit(watched: Watched) -> None:
    watched.start("a", "import sys; [print(n, file=sys.stderr) for n in range(100)]; sys.exit(3)")
    exit_ = watched.exit()
    assert exit_.last_words == tuple(str(n) for n in range(80, 100))
    assert watched.lines == [("a", str(n)) for n in range(100)]


def test_children_have_a_session_of_their_own(watched: Watched) -> None:
    watched.start("a", "import os, sys; print(os.getsid(0) == os.getpid(), file=sys.stderr)")
    watched.await_lines(1)
    assert watched.lines == [("a", "True")]


def test_waiting_ends_when_woken_from_a_signal_handler(watched: Watched) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: watched.table.wake())
    try:
        watched.start("a", f"import os, signal; os.kill({os.getpid()}, signal.SIGUSR1); signal.pause()")
        assert watched.table.wait(PATIENCE_S) is None
        assert watched.table.alive() == ["a"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_one_name_is_started_once(watched: Watched) -> None:
    watched.start("a", "")
    with pytest.raises(ValueError, match="started already"):
        watched.start("a", "")


@given(first_s=st.floats(0.01, 5), longest_s=st.floats(5, 60), most=st.integers(1, 20))
def test_pauses_double_up_to_the_longest_and_end(first_s: float, longest_s: float, most: int) -> None:
    policy = RestartPolicy(first_s, longest_s, most_fruitless=most)
    pauses = [policy.pause_s(n) for n in range(1, most)]
    assert policy.pause_s(most) is None
    for before, after in pairwise(pauses):
        assert before is not None
        assert after == min(2 * before, longest_s)
