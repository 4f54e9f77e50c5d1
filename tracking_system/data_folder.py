"""The folder of one run, held by one supervisor at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from shared.errors import StorageError
from shared.private_files import make_private_folder

_LOCK_NAME = "supervisor.lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the data folder and keep every other run out of it while the block lasts.

    Raises StorageError where the folder cannot be written, or another run holds it.
    """
    try:
        make_private_folder(folder)
        # Opened for appending: whoever fails to get the lock must not wipe the holder's number.
        lock = (folder / _LOCK_NAME).open("a+")
    except OSError as error:
        raise StorageError(f"the data folder {folder} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StorageError(
                f"{folder} is in use by another run (process {holder}): end that one, or choose another "
                "folder with --data"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
