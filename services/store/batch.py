"""Messages into rows: what one transaction of the store writes.

A batch reads the few rows it continues (positions, sessions, the tracks it touches), folds the messages
over them in memory, and writes each changed row once.  The result does not depend on how a stream was
cut into batches.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from services.store.identity_changes import forget, merge
from services.store.positions import known_as_recorded, position, write_positions
from services.store.reports import store_report
from services.store.rows import SessionRow, SightingRow, TrackRow
from shared.clock import now_ns
from shared.messages import Checkpoint, End, Float32, FrameStamp, IdentityEvent, Report, Settled, Tracks

PIXEL_UNITS = 100
SCORE_UNITS = 10_000

# Far outside any picture, far inside the integers: garbage must not overflow.
_LARGEST = 1e9

_DIGITS = 19

_TRACKS_ON_THEIR_WAY = 100_000
"""An identity that was decided for a track before its first row came is dropped when so many later tracks are
known: more cannot be begun while one message is on its way, and tracks that were erased never come."""

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
        self._tracks: dict[int, TrackRow | None] = {}
        self._identities: set[int] = set()
        self._replacements: dict[int, int] = {}  # those asked for so far; an identity that stands is its own
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
        execute_many(
            "INSERT INTO identities (identity) VALUES (?) ON CONFLICT DO NOTHING",
            [(identity,) for identity in sorted(self._identities)],
        )
        tracks = [(number, track) for number, track in self._tracks.items() if track is not None]
        execute_many(
            "INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET identity = "
            "excluded.identity, first_ns = excluded.first_ns, last_ns = excluded.last_ns, "
            "frames = excluded.frames, decision = excluded.decision",
            [(n, t.session_key, t.identity, t.first_ns, t.last_ns, t.frames, t.decision) for n, t in tracks],
        )
        execute_many(
            "UPDATE sightings SET identity = ? WHERE track = ?",
            [(t.identity, n) for n, t in tracks if t.identity != t.stored_identity],
        )
        execute_many(
            "INSERT INTO sightings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "last_ns = excluded.last_ns, x0 = excluded.x0, y0 = excluded.y0, x1 = excluded.x1, "
            "y1 = excluded.y1, score = excluded.score",
            [
                (n, s.first_ns, s.last_ns, t.identity, t.camera, *s.box, s.score)
                for n, t in tracks
                for s in t.sightings
            ],
        )
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
        self._decide(message.assignments.tolist(), message.decision)

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
                track = self._track(number)
                if track is None:
                    track = self._new_track(number, session, each.stamp)
                track.show(each.stamp.t_ns)
                self._settled.append((row[0], number, *rest))

    def _decide(self, assignments: Iterable[Sequence[int]], decision: int) -> None:
        for number, said in assignments:
            track, identity = self._track(number), self._current(said)
            if track is not None:
                self._assign(track, identity, decision)
            else:
                # Its camera's rows are still on their way (or retention has erased it).
                self._connection.execute(
                    "INSERT INTO early_assignments VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET identity = "
                    "excluded.identity, decision = excluded.decision WHERE excluded.decision >= decision",
                    (number, identity, decision),
                )
                self._connection.execute(
                    "DELETE FROM early_assignments WHERE track < (SELECT max(track) FROM tracks) - ?",
                    (_TRACKS_ON_THEIR_WAY,),
                )

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
        rows[:, 10] = [self._current(identity) for identity in message.identity_ids.tolist()]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]  # in the order of the table's key
        previous = None
        for row in rows.tolist():
            number, shown, score, observed, identity = row[0], row[1], row[8], row[9], row.pop()
            if number == previous:
                continue  # a track is in one place at a time
            previous = number
            track = self._track(number)
            if track is None:
                track = self._new_track(number, session, stamp)
            track.show(stamp.t_ns)
            if observed:
                track.observe(stamp.t_ns, row[2:6], score)
            if identity > 0:
                self._assign(track, identity, message.decision)
                self._shown_as.add((number, shown))
            else:
                row[1] = 0  # nobody, or somebody who was forgotten meanwhile
            self._observations.append((frame, *row))

    def _assign(self, track: TrackRow, identity: int, decision: int) -> None:
        track.assign(identity, decision)
        if identity > 0:
            self._identities.add(identity)

    def _current(self, identity: int) -> int:
        """The identity that this one has become by an operator's decision; 0 where it was forgotten."""
        while identity:
            replacement = self._replacements.get(identity)
            if replacement is None:
                row = self._connection.execute(
                    "SELECT replacement FROM replaced_identities WHERE identity = ?", (identity,)
                ).fetchone()
                replacement = self._replacements[identity] = identity if row is None else row[0]
            if replacement == identity:
                break
            identity = replacement
        return identity

    def _new_track(self, number: int, session: SessionRow, stamp: FrameStamp) -> TrackRow:
        """A track that was not known, with the identity that was decided before its first row came."""
        track = TrackRow(session.key, stamp.camera, None, stamp.t_ns, stamp.t_ns, 0, [])
        self._tracks[number] = track
        row = self._connection.execute(
            "SELECT identity, decision FROM early_assignments WHERE track = ?", (number,)
        ).fetchone()
        if row is not None:
            identity, decision = row
            self._assign(track, self._current(identity), decision)
            self._connection.execute("DELETE FROM early_assignments WHERE track = ?", (number,))
        return track

    def _track(self, number: int) -> TrackRow | None:
        if number not in self._tracks:
            self._tracks[number] = self._stored_track(number)
        return self._tracks[number]

    def _stored_track(self, number: int) -> TrackRow | None:
        row = self._connection.execute(
            "SELECT session_key, camera, identity, tracks.first_ns, tracks.last_ns, tracks.frames, decision "
            "FROM tracks JOIN sessions USING (session_key) WHERE track = ?",
            (number,),
        ).fetchone()
        if row is None:
            return None
        session_key, camera, identity, first_ns, last_ns, frames, decision = row
        track = TrackRow(session_key, camera, identity, first_ns, last_ns, frames, [], decision, identity)
        newest = self._connection.execute(
            "SELECT first_ns, last_ns, x0, y0, x1, y1, score FROM sightings WHERE track = ? "
            "ORDER BY first_ns DESC LIMIT 1",
            (number,),
        ).fetchone()
        if newest is not None:
            first_ns, last_ns, *box, score = newest
            track.sightings.append(SightingRow(first_ns, last_ns, box, score))
        return track

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
        self._decide(message.assignments, message.decision)

    def _add_checkpoint(self, message: Checkpoint) -> None:
        positions = [[camera, *position] for camera, position in sorted(message.positions.items())]
        self._connection.execute(
            "INSERT INTO checkpoint VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET "
            "positions = excluded.positions, state = excluded.state",
            (json.dumps(positions), message.state),
        )
        self._connection.executemany(
            "INSERT INTO identities (identity, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "state = excluded.state",
            list(message.identities.items()),
        )

    def _add_event(self, message: IdentityEvent) -> None:
        identity = self._current(message.identity)
        if not identity:
            return  # forgotten since
        if message.kind == "forget":
            self._replace(identity, 0)
            forget(self._connection, identity)
            return
        if message.kind == "merge":
            gone = int(message.value) if message.value.isdecimal() and len(message.value) < _DIGITS else 0
            if self._current(gone) in (0, identity):
                _log.warning("%r cannot be merged into person %d: passed over", message.value, identity)
                return
            gone = self._current(gone)
            self._replace(gone, identity)
            merge(self._connection, identity, gone)
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

    def _replace(self, gone: int, identity: int) -> None:
        """From now on `gone` means `identity`, 0 for nobody; what is in memory is written first."""
        self.flush()
        self._tracks.clear()
        self._observations.clear()
        self._shown_as.clear()
        self._settled.clear()
        self._settled_frames.clear()
        self._identities.discard(gone)
        self._replacements[gone] = identity
        self._connection.execute(
            "INSERT INTO replaced_identities (identity, replacement, frame) "
            "VALUES (?, ?, (SELECT coalesce(max(frame), 0) FROM frames))",
            (gone, identity),
        )


def _units(values: Float32, units: int) -> NDArray[np.float64]:
    """Numbers as whole multiples of 1/units."""
    return np.rint(np.clip(values.astype(np.float64) * units, -_LARGEST, _LARGEST))
