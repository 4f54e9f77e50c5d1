"""Opening the database and saying plainly what went wrong with it.

SQLite runs in WAL mode: one connection writes, any number read at the same time, none waits for
another.  The writer uses `synchronous=FULL`, so a commit returns once its pages have been flushed to
the disk: an acknowledged message survives a killed process and a power failure alike.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.store.migrations import SCHEMA_VERSION, check_version, migrate
from shared.errors import StorageError
from shared.private_files import make_private_file, make_private_folder

DATABASE_NAME = "tracking.db"

_WAL_LIMIT_BYTES = 64 << 20

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)

_PASSING = (
    ("database or disk is full", "the disk is full: free some space, nothing that was sent is lost"),
    ("database is locked", "another process holds the database: stop it, or a second store on this folder"),
    ("disk I/O error", "the disk refused to read or write (full, failing or detached)"),
    ("unable to open", "the database cannot be opened: check that the folder exists and may be written"),
    ("closed database", "the database is already closed"),
)
_PERMANENT = (
    ("file is not a database", "not a database: move the file away or choose another data folder"),
    ("malformed", "the database is damaged: restore a copy or choose another data folder"),
    ("readonly", "the database cannot be written: check the owner and mode of the folder"),
)
_ADVICE = {
    part: (advice, permanent)
    for table, permanent in ((_PASSING, False), (_PERMANENT, True))
    for part, advice in table
}
"""What SQLite says, what to do about it, and whether that is needed before trying again."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into StorageError with the file's name and advice."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{path}: {error}", permanent=error.permanent) from None
    except sqlite3.Error as error:
        text = str(error)
        known = (advice for part, advice in _ADVICE.items() if part in text)
        advice, permanent = next(known, (text, False))
        raise StorageError(f"{path}: {advice}", permanent=permanent) from error
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror or error}", permanent=error.errno in _NOT_ALLOWED
        ) from error


def open_writer(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """The connection that writes; makes the file where there is none, and brings its schema up to date."""
    make_private_folder(path.parent)
    make_private_file(path)  # SQLite gives the files beside it the same mode
    connection = sqlite3.connect(
        path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        check_version(connection)  # before anything is written to a file that may not be ours
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageError(
                "its file system does not support write-ahead logging: use a local disk", permanent=True
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection that can only read; raises StorageError where there is no database."""
    if not path.is_file():
        raise StorageError("no such database: is this the data folder of a run?")
    # On a read-only medium SQLite cannot make the files that readers and the writer share; where there
    # is no write-ahead log either, nobody writes and none are needed.
    finished = not path.with_name(path.name + "-wal").exists() and not os.access(path.parent, os.W_OK)
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{'immutable=1' if finished else 'mode=ro'}",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if check_version(connection) < SCHEMA_VERSION:
            raise StorageError(
                "written by an older release: start the store on this folder once to update it",
                permanent=True,
            )
    except BaseException:
        connection.close()
        raise
    return connection
