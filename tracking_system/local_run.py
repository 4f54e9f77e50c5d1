"""All services of a run on this machine, as child processes of this one."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import zmq

from shared import logs
from shared.config import setting_names
from shared.config_file import ENVIRONMENT_PREFIX, Setup, dump, is_recorded
from shared.endpoints import Endpoints
from shared.errors import StorageError, TrackingError
from shared.feed import FeedPublisher
from shared.logs import console_text
from shared.private_files import make_private_file
from shared.request import Requester
from tracking_system.progress import Progress
from tracking_system.supervisor import PERMANENT_CODES, Exit, ProcessTable, Program

log = logging.getLogger(__name__)

HUBS = ("detector", "tracker", "store")
"""In the order in which they are drained: each passes on what it has before the next is asked to end."""

_POLL_S = 0.5
_DRAIN_S = 60.0
_BROKEN_DRAIN_S = 3.0
_KILL_S = 5.0
"""How long a killed process may take to go; one that hangs in the kernel is left behind."""

_TELL_TRACKER_S = 60.0
_STILL_S = 5.0
_VIEWER_S = 15.0
_VIEWER_POLL_S = 0.05

FINISHED, FAILED, INTERRUPTED = 0, 1, 130


class LocalRun:
    """One run from start to end.

    setup: cameras and settings.  snapshot: the file that `write_snapshot` made of them.  data: the data
    folder, which the caller holds.  window, record: what the viewer does; without either there is none.

    A recorded run is over when every camera's frames are on disk; one with a live camera when it is asked
    to end (Ctrl-C, SIGTERM).  A camera that fails for good is taken out and the others go on; so they do
    without a viewer.  A hub that fails for good ends the run.  Asked a second time, the run kills what is
    left and ends at once, whatever it waits for.
    """

    def __init__(
        self, setup: Setup, snapshot: Path, data: Path, *, window: bool, record: Path | None = None
    ) -> None:
        self._setup = setup
        self._snapshot = snapshot
        self._data = data
        self._window = window
        self._record = record
        self._endpoints = Endpoints.local(data).with_addresses(setup.addresses)
        self._ingests = {f"ingest {camera}": camera for camera in setup.cameras}
        self._table = ProcessTable(
            on_line=self._forward, on_start=self._started, environment=child_environment()
        )
        self._failed: dict[str, str] = {}
        self._out: dict[int, str] = {}
        self._finished: set[str] = set()
        self._interrupts = 0
        self._tellers: list[threading.Thread] = []

    @property
    def failed(self) -> Mapping[str, str]:
        """What failed for good, and how."""
        return self._failed

    def run(self, progress: Progress) -> int:
        """Start everything, watch over it, end it.

        FINISHED: all recordings are on disk, and live cameras ran until the run was asked to end.  FAILED:
        something failed for good.  INTERRUPTED: the run was asked to end before its recordings were over, or
        a second time before it had ended cleanly.
        """
        self._endpoints.prepare()
        with self._signals():
            try:
                for program in self._hubs_and_viewer():
                    self._table.start(program)
                if "viewer" in self._table.alive():
                    self._await_viewer()
                if not self._interrupts:
                    for program in self._cameras():
                        self._table.start(program)
                return self._watch(progress)
            finally:
                self._table.kill(self._table.alive())

    def _hubs_and_viewer(self) -> Iterator[Program]:
        for service in reversed(HUBS):
            yield self._program(service, service)
        if self._window or self._record is not None:
            shown = [] if self._window else ["--headless"]
            if self._record is not None:
                shown += ["--record", str(self._record)]
            yield self._program("viewer", "viewer", *shown)

    def _cameras(self) -> Iterator[Program]:
        for name, camera in self._ingests.items():
            yield self._program(name, "ingest", "--camera", str(camera))

    def _program(self, name: str, service: str, *more: str) -> Program:
        common = ("--config", str(self._snapshot), "--data", str(self._data))
        own = ("--supervised-by", str(os.getpid()))
        return Program(name, (*python_command(), service, *common, *own, *more))

    def _await_viewer(self) -> None:
        """Let the viewer be watching before the first frame, so that a recording begins with it."""
        deadline_s = time.monotonic() + _VIEWER_S
        with zmq.Context() as context:
            # As a publisher, for these are told who watches.
            feed = FeedPublisher(context, self._endpoints.view_in, bind=False)
            try:
                while time.monotonic() < deadline_s and not self._interrupts and not self._failed:
                    if all(feed.watched(camera) for camera in self._setup.cameras):
                        return
                    exit_ = self._table.wait(_VIEWER_POLL_S)
                    if exit_ is not None:
                        self._handle(exit_)
            finally:
                feed.close()

    def _watch(self, progress: Progress) -> int:
        while self._table.alive(self._ingests):
            exit_ = self._table.wait(_POLL_S)
            if exit_ is not None:
                self._handle(exit_)
            progress.update()
            broken = [hub for hub in HUBS if hub in self._failed]
            if broken:
                log.error("ending the run: it cannot go on without the %s", " and the ".join(broken))
                self._drain([*self._ingests], _BROKEN_DRAIN_S)
                self._drain(self._rest(), _BROKEN_DRAIN_S)
                return FAILED
            if self._interrupts:
                break
        self._await_told()
        if self._interrupts:
            log.info("ending the run; Ctrl-C again ends it at once")
            self._drain([*self._ingests], _DRAIN_S)
        if not self._window:
            self._await_recording()
        for name in self._rest():
            self._drain([name], _DRAIN_S)
        progress.update()
        return self._code()

    def _code(self) -> int:
        recordings = [name for name, c in self._ingests.items() if is_recorded(self._setup.cameras[c])]
        over = self._finished | set(self._failed)
        if self._interrupts > 1 or (self._interrupts and not over.issuperset(recordings)):
            return INTERRUPTED
        return FAILED if self._failed else FINISHED

    def _await_told(self) -> None:
        """Wait until the tracker knows of the cameras that were given up; asked to end, it need not."""
        while not self._interrupts and any(teller.is_alive() for teller in self._tellers):
            exit_ = self._table.wait(_POLL_S)
            if exit_ is not None:
                self._handle(exit_)
            if "tracker" in self._failed:
                return

    def _rest(self) -> list[str]:
        return [*HUBS, "viewer"]

    def _await_recording(self) -> None:
        """A viewer without a window ends by itself when it has seen all cameras end.

        It is not waited for longer than the recording grows: where all was on disk before, it sees nothing.
        """
        size, grown_s = -1, time.monotonic()
        while self._table.alive(["viewer"]) and not self._interrupts:
            exit_ = self._table.wait(_POLL_S)
            if exit_ is not None:
                self._handle(exit_)
            now = self._record.stat().st_size if self._record is not None and self._record.exists() else 0
            if now != size:
                size, grown_s = now, time.monotonic()
            elif time.monotonic() - grown_s > _STILL_S:
                return

    def _drain(self, names: list[str], grace_s: float) -> None:
        """Ask programs to end and wait until they have; kill them after a while or a second Ctrl-C."""
        self._table.terminate(names)
        if self._wait_for_end(names, grace_s, until_asked_again=True):
            return
        alive = self._table.alive(names)
        log.warning("killing %s, which did not end when asked to", ", ".join(alive))
        self._table.kill(alive)
        self._wait_for_end(names, _KILL_S, until_asked_again=False)

    def _wait_for_end(self, names: list[str], longest_s: float, *, until_asked_again: bool) -> bool:
        """Wait until all of these have ended; whether they have."""
        deadline_s = time.monotonic() + longest_s
        while self._table.alive(names):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or (until_asked_again and self._interrupts > 1):
                return False
            exit_ = self._table.wait(min(_POLL_S, left_s))
            if exit_ is not None:
                self._handle(exit_)
        return True

    def _handle(self, exit_: Exit) -> None:
        name = exit_.name
        if exit_.verdict == "restarting":
            log.warning(
                "%s (process %d) %s; starting it again in %.1f s", name, exit_.pid, exit_.how, exit_.pause_s
            )
            self._log_last_words(exit_, logging.INFO)
        elif exit_.verdict == "given up":
            self._give_up(exit_)
        elif exit_.verdict == "stopped":
            if exit_.code:
                log.warning("%s %s while the run was ending", name, exit_.how)
                if name == "viewer" and self._record is not None:
                    self._failed[name] = exit_.how
        elif name in self._ingests:
            self._finished.add(name)
        elif name in HUBS:
            self._failed[name] = "ended although nobody asked it to"
        elif name == "viewer" and self._window:
            log.info("the viewer was closed; the run goes on, Ctrl-C ends it")

    def _give_up(self, exit_: Exit) -> None:
        reason = console_text(exit_.last_words[-1]) if exit_.last_words else exit_.how
        self._failed[exit_.name] = reason
        if exit_.code in PERMANENT_CODES:
            log.error("%s %s and is not started again", exit_.name, exit_.how)
        else:
            log.error(
                "%s has ended %d times in a row without getting any further, and is not started again. The "
                "last time it %s and said: %s. %s tells the cause; when that is mended, the same command "
                "goes on where this run stops",
                exit_.name,
                exit_.fruitless,
                exit_.how,
                reason,
                self._data / logs.FILE_NAME,
            )
        self._log_last_words(exit_, logging.ERROR)
        camera = self._ingests.get(exit_.name)
        if camera is not None:
            log.error("%s is taken out; the other cameras go on", self._setup.cameras[camera].title)
            self._out[camera] = reason
            self._tell_tracker(camera, reason)

    def _log_last_words(self, exit_: Exit, level: int) -> None:
        for line in exit_.last_words:
            if console_text(line) == line:  # what a child logged is on the console and in the log already
                log.log(level, "%s said: %s", exit_.name, line)

    def _started(self, name: str, pid: int) -> None:
        log.info("started %s (process %d)", name, pid)
        if name == "tracker":
            # What it was told may have died with it.
            for camera, reason in self._out.items():
                self._tell_tracker(camera, reason)

    def _tell_tracker(self, camera: int, reason: str) -> None:
        """Have the tracker end a camera that will not end itself, so that the others need not wait for it."""
        teller = threading.Thread(target=self._ask_to_end, args=(camera, reason[:500]), daemon=True)
        self._tellers.append(teller)
        teller.start()

    def _ask_to_end(self, camera: int, reason: str) -> None:
        with zmq.Context() as context:
            requester = Requester(context, self._endpoints.control)
            try:
                requester.ask("end_camera", {"camera": camera, "reason": reason}, timeout_s=_TELL_TRACKER_S)
            except TrackingError as error:
                log.warning("the tracker could not be told that camera %d is out: %s", camera, error)
            finally:
                requester.close()

    def _forward(self, name: str, line: str) -> None:
        """What a child logged goes to this console too; what it wrote otherwise into the log."""
        if console_text(line) != line:
            print(line, file=sys.stderr)
        elif line:
            log.debug("%s said: %s", name, line)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def interrupt(number: int, frame: object) -> None:
            self._interrupts += 1
            self._table.wake()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def write_snapshot(setup: Setup, data: Path) -> Path:
    """A file of what was checked, for the children, however the user's own is edited while they run.

    Raises StorageError where it cannot be written.
    """
    path = data / "run" / "cameras.yaml"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private_file(path)
        path.chmod(0o600)  # addresses of cameras hold passwords
        path.write_text(dump(setup), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from None
    return path


def python_command() -> tuple[str, ...]:
    """How to start this program as another process."""
    return sys.executable, "-m", "tracking_system"


def child_environment() -> dict[str, str]:
    """The environment of this process without the settings, which the children find in their file."""
    settings = {ENVIRONMENT_PREFIX + name.upper() for name in setting_names()}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    package_root = Path(__file__).resolve().parents[1]
    if Path.cwd() != package_root:
        # `python -m` would look for modules in the working directory first, whatever lies there.
        environment["PYTHONSAFEPATH"] = "1"
    return environment
