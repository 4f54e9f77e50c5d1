"""Messages into rows: what one transaction of the store writes.

A batch reads the few rows it continues (positions, sessions, the tracks it touches), folds the messages
over them in memory, and writes each changed row once.  The result does not depend on how a stream was
cut into batches.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.store.checkpoint import write_checkpoint
from services.store.identity_changes import forget, merge
from services.store.positions import known_as_recorded, position, write_positions
from services.store.replacements import Replacements
from services.store.reports import store_report
from services.store.rows import SessionRow, TrackRow
from services.store.track_rows import TrackRows
from shared.clock import now_ns
from shared.messages import Checkpoint, End, Float32, FrameStamp, IdentityEvent, Report, Settled, Tracks

PIXEL_UNITS = 100
SCORE_UNITS = 10_000

# Far outside any picture, far inside the integers: garbage must not overflow.
_LARGEST = 1e9

_DIGITS = 19

_INSERT_SHOWN = (
    "INSERT INTO observations (frame, track, shown, x0, y0, x1, y1, vx, vy, score, observed) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_UPSERT_SETTLED = (
    "INSERT INTO observations (frame, track, shown, x0, y0, x1, y1, vx, vy, score, observed, settled) "
    "VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, 2) ON CONFLICT DO UPDATE SET "
    + ", ".join(
        f"d{column} = excluded.{column} - {column}"
        for column in ("x0", "y0", "x1", "y1", "score", "observed")
    )
    + ", settled = iif(settled = 2, 2, 1)"
)
"""What turned out is written beside what was shown, as the difference; see `migrations.py`."""

_log = logging.getLogger(__name__)


class Batch:
    """The messages of one transaction; `add` them in order, then `flush`.

    Must be used inside an open transaction of `connection`, which it neither begins nor ends.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._positions: dict[tuple[int, int], int] = {}
        self._sessions: dict[tuple[int, int], SessionRow] = {}
        self._replacements = Replacements(connection)
        self._tracks = TrackRows(connection, self._replacements)
        self._observations: list[tuple[int, ...]] = []
        self._shown_as: set[tuple[int, int]] = set()
        self._settled: list[tuple[int, ...]] = []
        self._settled_frames: list[tuple[int]] = []

    def add(self, stream: int, session: int, seq: int, message: object) -> None:
        """Take one message, unless its stream's position says that it is already stored."""
        key = (stream, session)
        if key not in self._positions:
            self._positions[key] = position(self._connection, stream, session)
        if seq <= self._positions[key]:
            return
        if not isinstance(message, End):  # an end does not use up its number: more may follow
            self._positions[key] = seq
        if isinstance(message, Tracks):
            self._add_tracks(message)
        elif isinstance(message, End):
            self._add_end(message)
        elif isinstance(message, Checkpoint):
            self._add_checkpoint(message)
        elif isinstance(message, IdentityEvent):
            self._add_event(message)
        elif isinstance(message, Report):
            store_report(self._connection, message)
        else:
            _log.warning("a %s is nothing to store: passed over", type(message).__name__)

    def flush(self) -> None:
        """Write what the messages have changed."""
        execute_many = self._connection.executemany
        execute_many(
            "UPDATE sessions SET first_ns = ?, last_ns = ?, frames = ?, ended = ?, detail = ?, "
            "announced_frames = ? WHERE session_key = ?",
            [
                (s.first_ns, s.last_ns, s.frames, s.ended, s.detail, s.announced_frames, s.key)
                for s in self._sessions.values()
            ],
        )
        self._tracks.flush()
        execute_many("INSERT INTO shown_identities VALUES (?, ?) ON CONFLICT DO NOTHING", self._shown_as)
        execute_many(_INSERT_SHOWN, self._observations)
        execute_many(_UPSERT_SETTLED, self._settled)
        execute_many(
            "UPDATE observations SET settled = 3 WHERE frame = ? AND settled = 0", self._settled_frames
        )
        write_positions(self._connection, self._positions)

    def _add_tracks(self, message: Tracks) -> None:
        frame, session = self._new_frame(message.stamp)
        if frame is not None:
            self._add_rows(frame, session, message)
        self._settle(message.settled)
        self._tracks.decide(message.assignments.tolist(), message.decision)

    def _settle(self, settled: Sequence[Settled]) -> None:
        """Take in how earlier frames turned out; those that retention has erased meanwhile are left so."""
        for each in settled:
            session = self._session(each.stamp)
            row = self._connection.execute(
                "SELECT frame FROM frames WHERE session_key = ? AND frame_index = ?",
                (session.key, each.stamp.frame_index),
            ).fetchone()
            if row is None:
                continue
            self._settled_frames.append(row)
            rows = np.empty((len(each.track_ids), 9), dtype=np.int64)
            rows[:, 0] = each.track_ids
            rows[:, 1:5] = _units(each.boxes, PIXEL_UNITS)
            rows[:, 5:7] = _units(each.velocities, PIXEL_UNITS)
            rows[:, 7] = _units(each.scores, SCORE_UNITS)
            rows[:, 8] = each.observed
            for number, *rest in rows.tolist():
                track = self._track(number, session, each.stamp)
                if track is None:
                    continue
                track.show(each.stamp.t_ns)
                self._settled.append((row[0], number, *rest))

    def _new_frame(self, stamp: FrameStamp) -> tuple[int | None, SessionRow]:
        """The new frame's key, or None where this frame is already stored, and its session."""
        session = self._session(stamp)
        cursor = self._connection.execute(
            "INSERT INTO frames (session_key, frame_index, t_ns, width, height) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (session.key, stamp.frame_index, stamp.t_ns, stamp.width, stamp.height),
        )
        if not cursor.rowcount:
            _log.warning("camera %d sent frame %d twice: kept the first", stamp.camera, stamp.frame_index)
            return None, session
        session.frames += 1
        session.first_ns = min(session.first_ns, stamp.t_ns)
        session.last_ns = max(session.last_ns, stamp.t_ns)
        session.ended, session.detail, session.announced_frames = None, "", None
        return cursor.lastrowid, session

    def _add_rows(self, frame: int, session: SessionRow, message: Tracks) -> None:
        stamp = message.stamp
        rows = np.empty((len(message.track_ids), 11), dtype=np.int64)
        rows[:, 0] = message.track_ids
        rows[:, 1] = message.identity_ids
        rows[:, 2:6] = _units(message.boxes, PIXEL_UNITS)
        rows[:, 6:8] = _units(message.velocities, PIXEL_UNITS)
        rows[:, 8] = _units(message.scores, SCORE_UNITS)
        rows[:, 9] = message.observed
        rows[:, 10] = [self._replacements.current(identity) for identity in message.identity_ids.tolist()]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]  # in the order of the table's key
        previous = None
        for row in rows.tolist():
            number, shown, score, observed, identity = row[0], row[1], row[8], row[9], row.pop()
            if number == previous:
                continue  # a track is in one place at a time
            previous = number
            track = self._track(number, session, stamp)
            if track is None:
                continue
            track.show(stamp.t_ns)
            if observed:
                track.observe(stamp.t_ns, row[2:6], score)
            if identity > 0:
                self._tracks.assign(track, identity, message.decision)
                self._shown_as.add((number, shown))
            else:
                row[1] = 0  # nobody, or somebody who was forgotten meanwhile
            self._observations.append((frame, *row))

    def _track(self, number: int, session: SessionRow, stamp: FrameStamp) -> TrackRow | None:
        return self._tracks.find_or_begin(number, session.key, stamp.camera, stamp.t_ns)

    def _session(self, stamp: FrameStamp) -> SessionRow:
        key = (stamp.camera, stamp.session)
        session = self._sessions.get(key)
        if session is None:
            self._connection.execute(
                "INSERT INTO cameras (camera) VALUES (?) ON CONFLICT DO NOTHING", (stamp.camera,)
            )
            begun = self._connection.execute(
                "INSERT INTO sessions (camera, session, first_ns, last_ns) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (*key, stamp.t_ns, stamp.t_ns),
            )
            if begun.rowcount and known_as_recorded(self._connection, stamp.camera):
                self._connection.execute(
                    "UPDATE sessions SET lag_ns = ? WHERE camera = ? AND session = ?",
                    (max(0, now_ns() - stamp.t_ns), *key),
                )
            row = self._connection.execute(
                "SELECT session_key, first_ns, last_ns, frames, ended, detail, announced_frames "
                "FROM sessions WHERE camera = ? AND session = ?",
                key,
            ).fetchone()
            session = self._sessions[key] = SessionRow(*row)
        return session

    def _add_end(self, message: End) -> None:
        session = self._session(message.stamp)
        session.ended, session.detail = message.reason, message.detail
        session.announced_frames = message.frames
        self._settle(message.settled)
        self._tracks.decide(message.assignments, message.decision)

    def _add_checkpoint(self, message: Checkpoint) -> None:
        """Take in decisions first: the states of people are those after them."""
        for event in message.events:
            self._add_event(event)
        write_checkpoint(self._connection, message)

    def _add_event(self, message: IdentityEvent) -> None:
        identity = self._replacements.current(message.identity)
        if not identity:
            return  # forgotten since
        if message.kind == "forget":
            self._replace(identity, 0)
            self._tracks.erase(message.tracks)
            self._tracks.erase(forget(self._connection, identity, message.tracks))
            return
        if message.kind == "merge" and not self._merge(identity, message.value):
            return
        execute = self._connection.execute
        execute("INSERT INTO identities (identity) VALUES (?) ON CONFLICT DO NOTHING", (identity,))
        if message.kind in ("follow", "unfollow"):
            followed = message.kind == "follow"
            execute("UPDATE identities SET followed = ? WHERE identity = ?", (followed, identity))
        elif message.kind == "name":
            execute("UPDATE identities SET name = ? WHERE identity = ?", (message.value, identity))
        execute(
            "INSERT INTO events (identity, kind, t_ns, value) VALUES (?, ?, ?, ?)",
            (identity, message.kind, message.t_ns, message.value),
        )

    def _merge(self, identity: int, value: str) -> bool:
        """Make the identity whose number is in `value` part of another; whether that was possible."""
        gone = int(value) if value.isdecimal() and len(value) < _DIGITS else 0
        gone = self._replacements.current(gone)
        if gone in (0, identity):
            _log.warning("%r cannot be merged into person %d: passed over", value, identity)
            return False
        self._replace(gone, identity)
        merge(self._connection, identity, gone)
        return True

    def _replace(self, gone: int, identity: int) -> None:
        """From now on `gone` means `identity`, 0 for nobody; what is in memory is written first."""
        self.flush()
        self._tracks.clear(gone)
        self._observations.clear()
        self._shown_as.clear()
        self._settled.clear()
        self._settled_frames.clear()
        self._replacements.replace(gone, identity)


def decisions(message: object) -> tuple[IdentityEvent, ...]:
    """The operator's decisions in a message."""
    if isinstance(message, Checkpoint):
        return message.events
    return (message,) if isinstance(message, IdentityEvent) else ()


def _units(values: Float32, units: int) -> NDArray[np.float64]:
    """Numbers as whole multiples of 1/units."""
    return np.rint(np.clip(values.astype(np.float64) * units, -_LARGEST, _LARGEST))
