"""One writer a data folder: locks that end with the process that holds them.

A folder has two lock files.  `supervisor.lock` is held by the program that a user started on the folder,
and `writer.lock` by the one process that writes the database.  `tracking-system run` holds the first and the
store that it starts the second; every other writer (the library, a store of its own, a command that changes
the database) holds both, so that it can never slip in while a run's store is being restarted.

The files stay where they are; what counts is the kernel's `flock` on them, which ends with its process
however that ends.  They name the holder for the others' error messages.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

from shared.errors import FolderInUseError, StorageError
from shared.private_files import make_private_folder

SUPERVISOR_LOCK, WRITER_LOCK = "supervisor.lock", "writer.lock"

Part = Literal["whole", "supervisor", "writer"]

_PATIENCE_S = 3.0
"""How long to wait for a writer whose supervisor has gone: it ends too, but not in the same moment."""

_POLL_S = 0.05
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class FolderLock:
    """Keeps every other writer out of a data folder, from `acquire` to `release` or for a `with` block.

    folder: the data folder, made where there is none.
    owner: what others are told of this process, such as "tracking-system run".
    part: "supervisor" for a program whose child will write, "writer" for that child, "whole" for others.

    `acquire` raises FolderInUseError where another process (or another lock of this one) holds the folder,
    with its process id, name and beginning; StorageError where the folder cannot be written, and where its
    file system has no locks.
    """

    def __init__(self, folder: Path, owner: str, part: Part = "whole") -> None:
        self._folder = folder
        self._owner = owner
        self._part = part
        self._held = ExitStack()

    def acquire(self) -> None:
        """Take the folder, at once or not at all."""
        with ExitStack() as held:
            if self._part != "writer":
                held.enter_context(self._locked(SUPERVISOR_LOCK, 0.0))
            if self._part == "supervisor":
                with self._locked(WRITER_LOCK, _PATIENCE_S):
                    pass  # nobody writes; the lock itself is for the child
            else:
                held.enter_context(self._locked(WRITER_LOCK, _PATIENCE_S))
            self._held = held.pop_all()

    def release(self) -> None:
        """Let others in; the second time does nothing."""
        self._held.close()

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @contextmanager
    def _locked(self, name: str, patience_s: float) -> Iterator[None]:
        path = self._folder / name
        try:
            make_private_folder(self._folder)
            # Opened for appending: whoever fails to get the lock must not wipe the holder's name.
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"the data folder {self._folder} cannot be written: {error.strerror}",
                permanent=error.errno not in _PASSING,
            ) from None
        with file:
            self._lock(file, path, time.monotonic() + patience_s)
            self._sign(file)
            yield
            os.ftruncate(file.fileno(), 0)

    def _lock(self, file: IO[str], path: Path, until_s: float) -> None:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _HELD:
                    raise StorageError(
                        f"{path} cannot be locked ({error.strerror}): its file system has no locks; use a "
                        "data folder on a local disk",
                        permanent=True,
                    ) from None
                if time.monotonic() >= until_s:
                    raise FolderInUseError(
                        f"{self._folder} is in use by {_holder(file)}: end that one, or choose another folder"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return

    def _sign(self, file: IO[str]) -> None:
        since = datetime.now(timezone.utc).isoformat(" ", "seconds")
        entry = {"pid": os.getpid(), "program": self._owner, "since": since, "host": socket.gethostname()}
        # A full disk has no room for the name; what counts is the lock.
        with suppress(OSError):
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), json.dumps(entry).encode() + b"\n")


def _holder(file: IO[str]) -> str:
    """Who holds a lock, in words."""
    file.seek(0)
    try:
        entry = json.loads(file.read())
        where = "" if entry["host"] == socket.gethostname() else f" on {entry['host']}"
        return f"{entry['program']} (process {entry['pid']}{where}, since {entry['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"  # which has not signed yet, or could not
