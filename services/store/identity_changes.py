"""What an operator's decision about an identity does to all that is stored of it.

The functions run inside a transaction that `DatabaseManager` opens.
"""

from __future__ import annotations

import sqlite3


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


def forget(connection: sqlite3.Connection, identity: int) -> None:
    """Erase a person: tracks, observations, sightings, name, decisions and appearance."""
    tracks = connection.execute(
        "SELECT track, session_key, first_ns, last_ns FROM tracks WHERE identity = ?", (identity,)
    ).fetchall()
    connection.executemany(
        "DELETE FROM observations WHERE track = ? AND frame IN "
        "(SELECT frame FROM frames WHERE session_key = ? AND t_ns BETWEEN ? AND ?)",
        tracks,
    )
    # Tracks that were shown as this person for a while but turned out to be another's.
    connection.execute("UPDATE observations SET shown = 0 WHERE shown = ?", (identity,))
    connection.execute("DELETE FROM sightings WHERE identity = ?", (identity,))
    connection.execute("DELETE FROM tracks WHERE identity = ?", (identity,))
    connection.execute("DELETE FROM events WHERE identity = ?", (identity,))
    connection.execute("DELETE FROM identities WHERE identity = ?", (identity,))
