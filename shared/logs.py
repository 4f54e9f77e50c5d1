"""Logging as every process here does it: all of it in `tracker.log`, what matters on the console.

Several processes write one `tracker.log`; a lock file beside it makes their lines and the rotation (1 MB,
the last 5 kept) take turns.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from shared.errors import StorageError
from shared.private_files import make_private_folder

FILE_NAME = "tracker.log"
MAX_BYTES = 1_000_000
BACKUPS = 5

_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[31;1m"}
_RESET = "\033[0m"
_CONSOLE_LINE = re.compile(r"^\d\d:\d\d:\d\d \S+(?: \d+)? +(?:(?:warning|error|critical): )?")


def configure(
    service: str,
    folder: Path | None = None,
    level: str = "info",
    camera: int | None = None,
    *,
    console_level: str | None = None,
) -> None:
    """Send this process's logging to `folder/tracker.log` (where a folder is given) and to stderr.

    service, camera: who writes, in every line.  level: for the file, and for the console unless
    `console_level` says otherwise.  Also logs what no code caught, in any thread, and Python's warnings.
    Calling it again replaces what an earlier call set up.

    Raises StorageError where the folder cannot be written.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, SharedFileHandler | _Console):
            root.removeHandler(handler)
            handler.close()
    who = service if camera is None else f"{service} {camera}"
    console = _Console()
    console.setFormatter(_ConsoleFormatter(who, coloured=sys.stderr.isatty(), tracebacks=folder is None))
    console.setLevel((console_level or level).upper())
    root.addHandler(console)
    if folder is not None:
        try:
            make_private_folder(folder)
            file = SharedFileHandler(folder / FILE_NAME)
        except OSError as error:
            raise StorageError(f"{folder / FILE_NAME} cannot be written: {error.strerror}") from None
        file.setFormatter(_FileFormatter(service, camera))
        file.setLevel(level.upper())
        root.addHandler(file)
    root.setLevel(min(logging.getLevelName(each.upper()) for each in (level, console_level or level)))
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


class SharedFileHandler(logging.Handler):
    """A rotating file that several processes and their threads write: no line lost, none torn.

    Each line is written under a lock that all processes share; whoever finds the file full rotates it
    (`name.1` is the newest of the kept ones), and the others notice that the file of that name is another
    one and follow.

    Raises OSError where the file cannot be opened; later failures are said once on stderr.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, backups: int = BACKUPS) -> None:
        super().__init__()
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._complained = False
        self._owner = 0
        self._lock_fd = self._file_fd = -1
        with self._alone():
            self._open_current()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, rotating first where it would not fit."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - as in every handler: a wrong logging call never stops a program
            self.handleError(record)
            return
        try:
            with self._alone():
                size = self._open_current()
                if size and size + len(line) > self._max_bytes:
                    self._rotate()
                    self._open_current()
                while line:
                    line = line[os.write(self._file_fd, line) :]
        except OSError as error:
            self._complain(error)

    def close(self) -> None:
        """Close the file and its lock."""
        super().close()
        if self._owner == os.getpid():
            for fd in (self._file_fd, self._lock_fd):
                if fd >= 0:
                    os.close(fd)
            self._file_fd = self._lock_fd = -1
            self._owner = 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._owner != os.getpid():
            # A forked child shares its parent's open lock file, and with it the lock: it needs its own.
            lock = self.path.with_name(self.path.name + ".lock")
            self._lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._file_fd = -1
            self._owner = os.getpid()
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _open_current(self) -> int:
        """Have the file that bears the name now, and tell its size in bytes."""
        if self._file_fd >= 0:
            mine = os.fstat(self._file_fd)
            try:
                if os.path.samestat(mine, self.path.stat()):
                    return mine.st_size
            except FileNotFoundError:
                pass
            os.close(self._file_fd)
            self._file_fd = -1
        self._file_fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return os.fstat(self._file_fd).st_size

    def _rotate(self) -> None:
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n + 1}") for n in range(self._backups))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                newer.replace(older)

    def _complain(self, error: OSError) -> None:
        # Once only: a full disk must not flood the console as well.
        if not self._complained:
            self._complained = True
            print(f"{self.path} cannot be written ({error.strerror}): lines are lost", file=sys.stderr)  # noqa: T201 - the log itself is what failed


class _FileFormatter(logging.Formatter):
    """One line a record: UTC time, level, service, camera, thread, module, text (tracebacks below it)."""

    def __init__(self, service: str, camera: int | None) -> None:
        who = service if camera is None else f"{service} camera={camera}"
        who = who.replace("%", "%%")
        super().__init__(f"%(asctime)s %(levelname)-7s {who} [%(threadName)s] %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the name is logging's
        """UTC to the millisecond."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class _Console(logging.StreamHandler):  # type: ignore[type-arg] # not generic when run
    """stderr as it is at the time of each line, so that a test's or a progress bar's own is used."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _ConsoleFormatter(logging.Formatter):
    """Short lines: local time, who, text; the level only where it is a warning or worse.

    tracebacks: shown only where no file keeps them.
    """

    def __init__(self, who: str, *, coloured: bool, tracebacks: bool) -> None:
        super().__init__()
        self._who = who
        self._coloured = coloured
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
            if self._coloured:
                text = f"{_COLOURS.get(record.levelno, '')}{text}{_RESET}"
        if record.exc_info and record.exc_info[0] is not None:
            if self._tracebacks:
                text += "\n" + self.formatException(record.exc_info)
            else:
                text += f" (the traceback is in {FILE_NAME})"
        return f"{moment} {self._who:<10} {text}"


def console_text(line: str) -> str:
    """What a console line says, without time, name and level; any other line as it is."""
    return _CONSOLE_LINE.sub("", line, count=1)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("uncaught").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        _log_uncaught(what.exc_type, what.exc_value, what.exc_traceback)
