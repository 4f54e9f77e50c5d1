"""Files and folders that only their owner may read: they tell who was where."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def make_private_folder(folder: Path) -> None:
    """Make a folder, of mode 0700 where it is new; one that exists keeps its mode.  Raises OSError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:  # Python's word for a file where a folder is needed
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def make_private_file(path: Path) -> None:
    """Make an empty file, of mode 0600 where it is new; one that exists is left as it is.  Raises OSError.

    A file that exists is not even opened: closing it again would end the locks that SQLite holds on it in
    this process.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
