"""What a run does about its programs, with small programs in the services' places."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from shared.config import CameraConfig, Config
from shared.config_file import Setup
from tracking_system import local_run
from tracking_system.local_run import FAILED, FINISHED, INTERRUPTED, LocalRun
from tracking_system.progress import Progress
from tracking_system.supervisor import Exit, Program, RestartPolicy

STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({ready!r}, "x").close()
while True:
    signal.pause()
"""
FAILS_WHEN_READY = """
import os, time
while not os.path.exists({ready!r}):
    time.sleep(0.01)
raise SystemExit(3)
"""
CLEAN = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()"
AT_ONCE_S = 15.0

MakeRun: TypeAlias = Callable[..., "SmallRun"]


class SmallRun(LocalRun):
    """A run whose programs are Python code, by service."""

    programs: dict[str, str]

    def _program(self, name: str, service: str, *more: str) -> Program:
        return Program(name, (sys.executable, "-u", "-c", self.programs.get(name, self.programs[service])))


class Interrupter(logging.Handler):
    """Does what Ctrl-C does, each time that one of these texts is logged."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        if any(text in record.getMessage() for text in self._texts):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A run of these programs on cameras with these sources."""
    monkeypatch.setattr(local_run, "_TELL_TRACKER_S", 60.0)

    def made(sources: list[str], programs: dict[str, str]) -> SmallRun:
        cameras = {number: CameraConfig(number, source) for number, source in enumerate(sources, 1)}
        run = SmallRun(Setup(cameras, Config()), tmp_path / "x.yaml", tmp_path, window=False)
        hubs = dict.fromkeys(("detector", "tracker", "store"), CLEAN)
        run.programs = {**hubs, "ingest": CLEAN, **programs}
        run._table._policy = RestartPolicy(first_s=0.01, longest_s=0.01, most_fruitless=3)
        return run

    return made


@pytest.fixture
def interrupt_at() -> Iterator[Callable[..., None]]:
    """Interrupts the run when something is logged."""
    handlers: list[logging.Handler] = []
    logger = logging.getLogger(local_run.__name__)
    before = logger.level
    logger.setLevel(logging.INFO)

    def add(*texts: str) -> None:
        handlers.append(Interrupter(*texts))
        logger.addHandler(handlers[-1])

    yield add
    logger.setLevel(before)
    for handler in handlers:
        logger.removeHandler(handler)


def ended(run: LocalRun, tmp_path: Path) -> tuple[int, float]:
    """The exit code of a run, and the seconds it took."""
    began_s = time.monotonic()
    with Progress(tmp_path, {}, {}) as progress:
        code = run.run(progress)
    return code, time.monotonic() - began_s


def test_ctrl_c_ends_a_run_that_waits_for_a_tracker_that_does_not_answer(
    make: MakeRun, interrupt_at: Callable[..., None], tmp_path: Path
) -> None:
    run = make(["gate.mp4"], {"ingest": "raise SystemExit(3)"})
    interrupt_at("is taken out")
    code, seconds = ended(run, tmp_path)
    assert code == FAILED
    assert seconds < AT_ONCE_S


def test_a_second_ctrl_c_kills_what_does_not_end_when_it_is_asked_to(
    make: MakeRun, interrupt_at: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready = str(tmp_path / "ready")
    programs = {"ingest": FAILS_WHEN_READY.format(ready=ready), "tracker": STUBBORN.format(ready=ready)}
    run = make(["gate.mp4"], programs)
    interrupt_at("is taken out", "Ctrl-C again ends it at once")
    code, seconds = ended(run, tmp_path)
    assert code == INTERRUPTED
    assert seconds < AT_ONCE_S
    assert "killing tracker, which did not end when asked to" in caplog.text


def test_a_hub_that_never_gets_anywhere_ends_the_run_with_its_last_words_and_what_to_do(
    make: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make(["gate.mp4"], {"tracker": "raise SystemExit('KeyError: 1')"})
    code, seconds = ended(run, tmp_path)
    assert code == FAILED
    assert seconds < AT_ONCE_S
    told = next(record.getMessage() for record in caplog.records if "in a row" in record.getMessage())
    assert "tracker has ended 3 times in a row without getting any further" in told
    assert "KeyError: 1" in told
    assert str(tmp_path / "tracker.log") in told
    assert run.failed == {"tracker": "KeyError: 1"}


def test_a_camera_that_never_gets_anywhere_is_taken_out_and_the_others_finish(
    make: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_run, "_TELL_TRACKER_S", 0.1)
    run = make(["gate.mp4", "hall.mp4"], {"ingest 1": "raise SystemExit('no')", "ingest 2": ""})
    code, _ = ended(run, tmp_path)
    assert code == FAILED
    assert run.failed == {"ingest 1": "no"}


def test_ctrl_c_is_how_a_live_run_ends_well(
    make: MakeRun, interrupt_at: Callable[..., None], tmp_path: Path
) -> None:
    run = make(["rtsp://gate/1"], {})
    interrupt_at("started ingest 1")
    assert ended(run, tmp_path)[0] == FINISHED


def test_a_recording_that_was_interrupted_is_told_by_the_exit_code(
    make: MakeRun, interrupt_at: Callable[..., None], tmp_path: Path
) -> None:
    run = make(["rtsp://gate/1", "gate.mp4"], {})
    interrupt_at("started ingest 2")
    assert ended(run, tmp_path)[0] == INTERRUPTED


def test_ctrl_c_before_a_recording_has_begun_interrupts_it(
    make: MakeRun, interrupt_at: Callable[..., None], tmp_path: Path
) -> None:
    run = make(["gate.mp4"], {})
    interrupt_at("started store")
    assert ended(run, tmp_path)[0] == INTERRUPTED


def test_ctrl_c_after_the_last_recording_is_over_ends_a_run_with_live_cameras_well(
    make: MakeRun, interrupt_at: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(["rtsp://gate/1", "gate.mp4"], {"ingest 2": ""})
    handle = run._handle

    def interrupting(exit_: Exit) -> None:
        handle(exit_)
        if exit_.name == "ingest 2":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run, "_handle", interrupting)
    assert ended(run, tmp_path)[0] == FINISHED
