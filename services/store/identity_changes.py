"""What an operator's decision about an identity does to all that is stored of it.

The functions run inside a transaction that `DatabaseManager` opens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

MAX_ERASED_TRACKS = 10_000
"""Erased tracks that are remembered, the newest; messages about older ones are not on their way any more."""


def merge(connection: sqlite3.Connection, identity: int, other: int) -> None:
    """Make everything of `other` part of `identity`; a name and being followed are taken over."""
    connection.execute("INSERT INTO identities (identity) VALUES (?) ON CONFLICT DO NOTHING", (identity,))
    connection.execute(
        "UPDATE identities SET followed = max(followed, coalesce((SELECT followed FROM identities WHERE "
        "identity = :other), 0)), name = iif(name = '', coalesce((SELECT name FROM identities WHERE "
        "identity = :other), ''), name) WHERE identity = :identity",
        {"identity": identity, "other": other},
    )
    for table in ("tracks", "sightings", "events"):
        connection.execute(f"UPDATE {table} SET identity = ? WHERE identity = ?", (identity, other))
    connection.execute("DELETE FROM identities WHERE identity = ?", (other,))


def forget(connection: sqlite3.Connection, identity: int, tracks: Iterable[int] = ()) -> list[int]:
    """Erase a person: tracks, observations, sightings, name, decisions and appearance.

    tracks: tracks of the person that may not be assigned yet, or of which messages are still on their way.
    Returns all tracks that were erased.  `erased_tracks` keeps the given ones, so that late messages do not
    bring them back.
    """
    connection.executemany(
        "INSERT INTO erased_tracks (track) VALUES (?) ON CONFLICT DO NOTHING", [(track,) for track in tracks]
    )
    connection.execute(
        "DELETE FROM erased_tracks WHERE track <= (SELECT track FROM erased_tracks ORDER BY track DESC "
        "LIMIT 1 OFFSET ?)",
        (MAX_ERASED_TRACKS,),
    )
    rows = connection.execute(
        "SELECT track, session_key, first_ns, last_ns FROM tracks "
        "WHERE identity = ? OR track IN (SELECT track FROM erased_tracks)",
        (identity,),
    ).fetchall()
    connection.executemany(
        "DELETE FROM observations WHERE track = ? AND frame IN "
        "(SELECT frame FROM frames WHERE session_key = ? AND t_ns BETWEEN ? AND ?)",
        rows,
    )
    # Tracks that were shown as this person for a while but turned out to be another's.
    connection.execute("UPDATE observations SET shown = 0 WHERE shown = ?", (identity,))
    numbers = [(row[0],) for row in rows]
    connection.executemany("DELETE FROM sightings WHERE track = ?", numbers)
    connection.executemany("DELETE FROM early_assignments WHERE track = ?", numbers)
    connection.executemany("DELETE FROM tracks WHERE track = ?", numbers)
    connection.execute("DELETE FROM sightings WHERE identity = ?", (identity,))
    connection.execute("DELETE FROM events WHERE identity = ?", (identity,))
    connection.execute("DELETE FROM identities WHERE identity = ?", (identity,))
    return [number for (number,) in numbers]
