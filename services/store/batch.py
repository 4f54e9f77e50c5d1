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
from services.store.losses import carried_over
from services.store.rows import SessionRow, SightingRow, TrackRow
from shared.messages import Checkpoint, End, Float32, FrameStamp, IdentityEvent, Report, Settled, Tracks

PIXEL_UNITS = 100
SCORE_UNITS = 10_000

# Far outside any picture, far inside the integers: garbage must not overflow.
_LARGEST = 1e9

_DIGITS = 19

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
        self._replaced = dict(connection.execute("SELECT identity, replacement FROM replaced_identities"))
        self._erased = {track for (track,) in connection.execute("SELECT track FROM erased_tracks")}
        self._observations: list[tuple[int, ...]] = []
        self._settled: list[tuple[int, ...]] = []

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
        execute_many(
            "INSERT INTO observations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", self._observations
        )
        execute_many(
            "INSERT INTO observations VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, 2) ON CONFLICT DO UPDATE SET "
            "x0 = excluded.x0, y0 = excluded.y0, x1 = excluded.x1, y1 = excluded.y1, vx = excluded.vx, "
            "vy = excluded.vy, score = excluded.score, observed = excluded.observed, "
            "settled = iif(settled = 2, 2, 1)",
            self._settled,
        )
        execute_many(
            "INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq",
            [(*key, seq) for key, seq in self._positions.items()],
        )

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
                "UPDATE frames SET settled = 1 WHERE session_key = ? AND frame_index = ? RETURNING frame",
                (session.key, each.stamp.frame_index),
            ).fetchone()
            if row is None:
                continue
            rows = np.empty((len(each.track_ids), 9), dtype=np.int64)
            rows[:, 0] = each.track_ids
            rows[:, 1:5] = _units(each.boxes, PIXEL_UNITS)
            rows[:, 5:7] = _units(each.velocities, PIXEL_UNITS)
            rows[:, 7] = _units(each.scores, SCORE_UNITS)
            rows[:, 8] = each.observed
            for number, *rest in rows.tolist():
                if number in self._erased:
                    continue
                track = self._track(number)
                if track is None:
                    track = self._new_track(number, session, each.stamp)
                track.show(each.stamp.t_ns)
                self._settled.append((row[0], number, *rest))

    def _decide(self, assignments: Iterable[Sequence[int]], decision: int) -> None:
        for number, said in assignments:
            if number in self._erased:
                continue
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
        rows = np.empty((len(message.track_ids), 10), dtype=np.int64)
        rows[:, 0] = message.track_ids
        rows[:, 1] = [self._current(identity) for identity in message.identity_ids.tolist()]
        rows[:, 2:6] = _units(message.boxes, PIXEL_UNITS)
        rows[:, 6:8] = _units(message.velocities, PIXEL_UNITS)
        rows[:, 8] = _units(message.scores, SCORE_UNITS)
        rows[:, 9] = message.observed
        rows = rows[np.argsort(rows[:, 0], kind="stable")]  # in the order of the table's key
        previous = None
        for row in rows.tolist():
            number, identity, score, observed = row[0], row[1], row[8], row[9]
            if number == previous or number in self._erased:
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
            self._observations.append((frame, *row))

    def _assign(self, track: TrackRow, identity: int, decision: int) -> None:
        track.assign(identity, decision)
        if identity > 0:
            self._identities.add(identity)

    def _current(self, identity: int) -> int:
        """The identity that this one has become by an operator's decision; 0 where it was forgotten."""
        while identity in self._replaced:
            identity = self._replaced[identity]
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
            self._connection.execute(
                "INSERT INTO sessions (camera, session, first_ns, last_ns) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (*key, stamp.t_ns, stamp.t_ns),
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
        """Take in decisions first: the states of people are those after them."""
        for event in message.events:
            self._add_event(event)
        positions, ends = (
            json.dumps([[camera, *position] for camera, position in sorted(each.items())])
            for each in (message.positions, message.ends)
        )
        self._connection.execute(
            "INSERT INTO checkpoint (id, positions, state, ends) VALUES (1, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET positions = excluded.positions, state = excluded.state, ends = excluded.ends",
            (positions, message.state, ends),
        )
        remembered = [(identity, state) for identity, state in message.identities.items() if state]
        dropped = [(identity,) for identity, state in message.identities.items() if not state]
        self._connection.executemany(
            "INSERT INTO identities (identity, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "state = excluded.state",
            remembered,
        )
        self._connection.executemany("UPDATE identities SET state = NULL WHERE identity = ?", dropped)

    def _add_event(self, message: IdentityEvent) -> None:
        identity = self._current(message.identity)
        if not identity:
            return  # forgotten since
        if message.kind == "forget":
            self._replace(identity, 0)
            self._erased |= set(message.tracks) | set(forget(self._connection, identity, message.tracks))
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
        gone = self._current(gone)
        if gone in (0, identity):
            _log.warning("%r cannot be merged into person %d: passed over", value, identity)
            return False
        self._replace(gone, identity)
        merge(self._connection, identity, gone)
        return True

    def _replace(self, gone: int, identity: int) -> None:
        """From now on `gone` means `identity`, 0 for nobody; what is in memory is written first."""
        self.flush()
        self._tracks.clear()
        self._observations.clear()
        self._settled.clear()
        self._identities.discard(gone)
        self._replaced[gone] = identity
        self._connection.execute("INSERT INTO replaced_identities VALUES (?, ?)", (gone, identity))


def decisions(message: object) -> tuple[IdentityEvent, ...]:
    """The operator's decisions in a message."""
    if isinstance(message, Checkpoint):
        return message.events
    return (message,) if isinstance(message, IdentityEvent) else ()


def store_report(connection: sqlite3.Connection, report: Report) -> None:
    """Keep a process's report, unless a newer one is stored."""
    readings = report.readings
    earlier = connection.execute(
        "SELECT pid, readings FROM reports WHERE service = ? AND instance = ? AND host = ?",
        (report.service, report.instance, report.host),
    ).fetchone()
    if earlier is not None:
        readings = carried_over(json.loads(earlier[1]), readings, same_pid=earlier[0] == report.pid)
    connection.execute(
        "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "pid = excluded.pid, t_ns = excluded.t_ns, state = excluded.state, "
        "readings = excluded.readings WHERE excluded.t_ns >= t_ns",
        (
            report.service,
            report.instance,
            report.host,
            report.pid,
            report.t_ns,
            report.state,
            json.dumps(readings, sort_keys=True),
        ),
    )


def position(connection: sqlite3.Connection, stream: int, session: int) -> int:
    """The last committed sequence number of a stream, -1 before its first."""
    row = connection.execute(
        "SELECT seq FROM positions WHERE stream = ? AND session = ?", (stream, session)
    ).fetchone()
    return -1 if row is None else int(row[0])


def _units(values: Float32, units: int) -> NDArray[np.float64]:
    """Numbers as whole multiples of 1/units."""
    return np.rint(np.clip(values.astype(np.float64) * units, -_LARGEST, _LARGEST))
