"""The rows of tracks that one transaction reads and changes, with their sightings and identities."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from services.store.replacements import Replacements
from services.store.rows import SightingRow, TrackRow

_TRACKS_ON_THEIR_WAY = 100_000
"""An identity that was decided for a track before its first row came is dropped when so many later tracks are
known: more cannot be begun while one message is on its way, and tracks that were erased never come."""


class TrackRows:
    """Rows of tracks by number, read when they are first asked for and written by `flush`.

    replacements: those of the same transaction.
    """

    def __init__(self, connection: sqlite3.Connection, replacements: Replacements) -> None:
        self._connection = connection
        self._replacements = replacements
        self._rows: dict[int, TrackRow | None] = {}
        self._erased: dict[int, bool] = {}
        self._identities: set[int] = set()

    def find(self, number: int) -> TrackRow | None:
        """A track's row; None where the track is not known."""
        if number not in self._rows:
            self._rows[number] = self._stored(number)
        return self._rows[number]

    def find_or_begin(self, number: int, session_key: int, camera: int, t_ns: int) -> TrackRow | None:
        """A track's row, a new one where the track is not known; None where it was erased with a person.

        A new row has the identity that was decided before it came.
        """
        track = self.find(number)
        if track is None and not self._is_erased(number):
            track = self._rows[number] = TrackRow(session_key, camera, None, t_ns, t_ns, 0, [])
            row = self._connection.execute(
                "SELECT identity, decision FROM early_assignments WHERE track = ?", (number,)
            ).fetchone()
            if row is not None:
                identity, decision = row
                self.assign(track, self._replacements.current(identity), decision)
                self._connection.execute("DELETE FROM early_assignments WHERE track = ?", (number,))
        return track

    def assign(self, track: TrackRow, identity: int, decision: int) -> None:
        """Take in whose track it is, 0 for nobody's."""
        track.assign(identity, decision)
        if identity > 0:
            self._identities.add(identity)

    def decide(self, assignments: Iterable[Sequence[int]], decision: int) -> None:
        """Take in whose tracks they are, also of tracks whose rows are still on their way."""
        for number, said in assignments:
            track, identity = self.find(number), self._replacements.current(said)
            if track is not None:
                self.assign(track, identity, decision)
            elif not self._is_erased(number):
                self._decide_early(number, identity, decision)

    def _decide_early(self, number: int, identity: int, decision: int) -> None:
        """Keep an identity for a track whose rows are to come, unless retention has erased it."""
        self._connection.execute(
            "INSERT INTO early_assignments VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET identity = "
            "excluded.identity, decision = excluded.decision WHERE excluded.decision >= decision",
            (number, identity, decision),
        )
        self._connection.execute(
            "DELETE FROM early_assignments WHERE track < (SELECT max(track) FROM tracks) - ?",
            (_TRACKS_ON_THEIR_WAY,),
        )

    def erase(self, numbers: Iterable[int]) -> None:
        """Take in that tracks were erased with a person: rows of them that still come are passed over."""
        self._erased.update(dict.fromkeys(numbers, True))

    def clear(self, gone: int) -> None:
        """Read all rows again, because an identity that is `gone` now changes them in the database."""
        self._rows.clear()
        self._identities.discard(gone)

    def flush(self) -> None:
        """Write the rows, and the identities that are new in them."""
        execute_many = self._connection.executemany
        execute_many(
            "INSERT INTO identities (identity) VALUES (?) ON CONFLICT DO NOTHING",
            [(identity,) for identity in sorted(self._identities)],
        )
        tracks = [(number, track) for number, track in self._rows.items() if track is not None]
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

    def _is_erased(self, number: int) -> bool:
        """Whether a track that is not known was erased with a person."""
        if number not in self._erased:
            self._erased[number] = (
                self._connection.execute("SELECT 1 FROM erased_tracks WHERE track = ?", (number,)).fetchone()
                is not None
            )
        return self._erased[number]

    def _stored(self, number: int) -> TrackRow | None:
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
