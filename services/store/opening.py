"""Opening the database that another process may hold for a while: a backup, or a `sqlite3` shell."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from services.store.database import DatabaseManager
from shared.errors import StorageError

log = logging.getLogger(__name__)

_RETRY_S = 1.0


def open_database(folder: Path, stop: threading.Event) -> DatabaseManager | None:
    """The database of a data folder, as soon as it can be written; None when stopped before.

    Raises StorageError where waiting would be of no use.
    """
    waited = False
    while not stop.is_set():
        try:
            database = _opened(folder)
        except StorageError as error:
            if error.permanent:
                raise
            if not waited:
                log.error("%s; trying again every %g s", error, _RETRY_S)
            waited = True
            stop.wait(_RETRY_S)
            continue
        if waited:
            log.info("the database is open now")
        return database
    return None


def _opened(folder: Path) -> DatabaseManager:
    """The database, after a write has shown that nobody else holds it."""
    database = DatabaseManager(folder)
    try:
        database.set_cameras({})
    except BaseException:
        database.close()
        raise
    return database
