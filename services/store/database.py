"""The writer: everything the store remembers, exactly once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from services.store import retention
from services.store.batch import Batch, decisions, position, store_report
from services.store.checkpoint import (
    Numbers,
    checkpoint_ends,
    identity_states,
    newest_checkpoint,
    newest_numbers,
)
from services.store.connection import DATABASE_NAME, open_writer, storage_errors
from services.store.transaction import transaction
from shared.config import CameraConfig
from shared.messages import Checkpoint, Message, Report
from shared.redaction import redacted

Sequenced: TypeAlias = tuple[int, int, int, Message]
"""stream (the camera's id), session, sequence number, message."""

_FRAMES_AT_ONCE = 1000


class DatabaseManager:
    """The one connection that writes DIR/tracking.db; every method may be called from any thread.

    Reading is `services.store.history.History`, on connections of its own.

    folder: the data folder, made where there is none; an older schema is brought up to date.
    busy_timeout_s: how long to wait for another process that holds the database.

    Raises StorageError where the file is no database, another program's, or a newer release's.
    """

    def __init__(self, folder: Path, *, busy_timeout_s: float = 5.0) -> None:
        self.path = folder / DATABASE_NAME
        self._lock = threading.RLock()
        with storage_errors(self.path):
            self._connection = open_writer(self.path, busy_timeout_s)

    def position(self, stream: int, session: int) -> int:
        """The last committed sequence number of a stream's session, -1 before its first."""
        with self._reading():
            return position(self._connection, stream, session)

    def commit(self, batch: Sequence[Sequenced]) -> None:
        """Store all of these messages, or none; on return they are on the disk.

        Messages at or below their stream's position are already stored and pass without effect, so
        anything may be sent again.  The identity a Tracks message shows for a track is that track's
        from its first frame on, until another one is shown or assigned.  A frame that is already
        stored under another sequence number is kept as it was.

        Raises StorageError (disk full, locked, I/O) with nothing applied: call again with the same.
        """
        with self._writing():
            rows = Batch(self._connection)
            for stream, session, seq, message in batch:
                rows.add(stream, session, seq, message)
            rows.flush()
        if any(event.kind == "forget" for *_, message in batch for event in decisions(message)):
            self._empty_log()

    def checkpoint(self, *, identities: bool = True) -> Checkpoint | None:
        """The newest Checkpoint, by default with the state of everybody whom the tracker remembers.

        None before the first.
        """
        with self._reading():
            return newest_checkpoint(self._connection, identities=identities)

    def identity_states(self, after: int, most_bytes: int) -> dict[int, bytes]:
        """The states of the next people whom the tracker remembers, above an identity, in order."""
        with self._reading():
            return identity_states(self._connection, after, most_bytes)

    def has_identity(self, identity: int) -> bool:
        """Whether there is a person of this number."""
        with self._reading():
            row = self._connection.execute(
                "SELECT 1 FROM identities WHERE identity = ?", (identity,)
            ).fetchone()
        return row is not None

    def newest_numbers(self) -> Numbers:
        """The highest track and identity that the database knows of: later ones have to be above."""
        with self._reading():
            return newest_numbers(self._connection)

    def checkpoint_ends(self) -> dict[int, tuple[int, int]]:
        """The ends of recordings that the newest checkpoint contains: camera -> session and number."""
        with self._reading():
            return checkpoint_ends(self._connection)

    def ended_cameras(self) -> list[int]:
        """Cameras whose newest session has ended: nothing of it is to come."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT camera FROM (SELECT camera, ended, max(session_key) FROM sessions GROUP BY camera) "
                "WHERE ended IS NOT NULL ORDER BY camera"
            )
            return [camera for (camera,) in rows]

    def set_cameras(self, cameras: Mapping[int, CameraConfig]) -> None:
        """Remember the cameras as configured, by id; secrets in an address are not kept."""
        with self._writing():
            self._connection.executemany(
                "INSERT INTO cameras VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "name = excluded.name, source = excluded.source, delivery = excluded.delivery, "
                "start_ns = excluded.start_ns, fps = excluded.fps",
                [
                    (number, c.name, redacted(c.source), c.delivery, c.start_ns, c.fps)
                    for number, c in cameras.items()
                ],
            )

    def keep_reports(self, reports: Iterable[Report]) -> None:
        """Keep reports that came without a sequence number; of each process the newest stays."""
        with self._writing():
            for report in reports:
                store_report(self._connection, report)

    def erase_before(self, t_ns: int, *, most: int | None = None) -> int:
        """Erase what was seen before `t_ns`, and return how many frames that were.

        People of whom nothing newer is left go with it, unless an operator named or follows them; whoever
        stays keeps a last known place, however old.

        most: frames erased in one call, the oldest first; whoever must not be held up asks again until
            nothing is erased.  Without it everything is erased, in short transactions between which other
            threads commit.
        """
        erased = 0
        while most is None or erased < most:
            wanted = _FRAMES_AT_ONCE if most is None else min(most - erased, _FRAMES_AT_ONCE)
            with self._writing():
                frames = retention.erase_frames(self._connection, t_ns, wanted)
                if not frames:
                    retention.erase_tracks(self._connection, t_ns)
            erased += frames
            if not frames:
                self._empty_log()
                break
        return erased

    def close(self) -> None:
        """Close the database; the second time does nothing."""
        with self._lock, storage_errors(self.path):
            self._connection.close()

    def __enter__(self) -> DatabaseManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _empty_log(self) -> None:
        """Move the write-ahead log into the database, so that erased content is in neither."""
        with self._reading():
            # While somebody reads it only moves what it can; the next checkpoint does the rest.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, storage_errors(self.path):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, storage_errors(self.path), transaction(self._connection):
            yield
