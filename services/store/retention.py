"""Erasing what is too old, or one person entirely.

The functions run inside a transaction that `DatabaseManager` opens.  It writes with
`secure_delete`, so what is erased is overwritten in the file, not only unlinked.
"""

from __future__ import annotations

import sqlite3

_OLDEST = "(SELECT frame FROM frames WHERE t_ns < :t_ns ORDER BY t_ns, session_key, frame LIMIT :most)"

# Identities that stay: seen since, named or followed.
_KEPT = (
    "WITH kept AS (SELECT identity FROM identities i WHERE i.name != '' OR i.followed OR EXISTS "
    "(SELECT 1 FROM tracks t WHERE t.identity = i.identity AND t.last_ns >= :t_ns))"
)


def erase_frames(connection: sqlite3.Connection, t_ns: int, most: int) -> int:
    """Erase at most `most` of the frames before `t_ns`, oldest first, and say how many they were."""
    values = {"t_ns": t_ns, "most": most}
    shown = connection.execute(
        "SELECT sum(observed), track FROM observations "
        f"WHERE settled < 2 AND frame IN {_OLDEST} GROUP BY track",
        values,
    ).fetchall()
    connection.executemany("UPDATE tracks SET frames = max(0, frames - ?) WHERE track = ?", shown)
    connection.execute(f"DELETE FROM observations WHERE frame IN {_OLDEST}", values)
    return connection.execute(f"DELETE FROM frames WHERE frame IN {_OLDEST}", values).rowcount


def erase_tracks(connection: sqlite3.Connection, t_ns: int) -> None:
    """Erase tracks, sightings and people of whom nothing since `t_ns` is left; its frames must be gone.

    The newest sighting of an identity that stays is kept whatever its age: the last known place.
    """
    values = {"t_ns": t_ns}
    connection.execute(
        f"{_KEPT} DELETE FROM sightings WHERE last_ns < :t_ns AND (identity IS NULL "
        "OR identity NOT IN kept OR EXISTS (SELECT 1 FROM sightings s WHERE s.identity = sightings.identity "
        "AND (s.last_ns, s.track) > (sightings.last_ns, sightings.track)))",
        values,
    )
    connection.execute(
        "UPDATE sightings SET first_ns = :t_ns WHERE first_ns < :t_ns AND last_ns >= :t_ns", values
    )
    connection.execute(f"{_KEPT} DELETE FROM identities WHERE identity NOT IN kept", values)
    connection.execute(
        "DELETE FROM tracks WHERE last_ns < :t_ns AND NOT EXISTS "
        "(SELECT 1 FROM sightings s WHERE s.track = tracks.track)",
        values,
    )
    connection.execute(
        "UPDATE tracks SET first_ns = :t_ns WHERE first_ns < :t_ns AND last_ns >= :t_ns", values
    )
    connection.execute("DELETE FROM events WHERE identity NOT IN (SELECT identity FROM identities)")
