"""Erasing what is too old.

What a live camera saw counts from its capture; a recording counts from when it was stored, because its own
times may be years old on the day it is tracked: `sessions.lag_ns` is the difference.  Hence every session
has its own time before which it is erased.

The functions run inside a transaction that `DatabaseManager` opens, and each takes bounded work.  The
database writes with `secure_delete`, so what is erased is overwritten in the file, not only unlinked.
"""

from __future__ import annotations

import sqlite3

_EXPIRED_FRAMES = (
    "(SELECT frame FROM frames WHERE session_key = :session AND frame_index <= :last AND t_ns < :until_ns)"
)

_BEGUN_BEFORE = "session_key = :session AND first_ns < :until_ns"

# Of an identity `i`: it stays, because it was named, is followed, or was seen since.
_STAYS = (
    "(i.name != '' OR i.followed OR EXISTS (SELECT 1 FROM tracks t JOIN sessions s USING (session_key) "
    "WHERE t.identity = i.identity AND t.last_ns >= :t_ns - s.lag_ns))"
)


def expired_sessions(connection: sqlite3.Connection, t_ns: int) -> list[tuple[int, int]]:
    """The sessions with something that may be older than `t_ns`, as (session_key, time before which)."""
    return connection.execute(
        "SELECT session_key, :t_ns - lag_ns FROM sessions s WHERE first_ns < :t_ns - lag_ns AND ("
        "EXISTS (SELECT 1 FROM frames f WHERE f.session_key = s.session_key) OR "
        "EXISTS (SELECT 1 FROM tracks t WHERE t.session_key = s.session_key)) "
        "ORDER BY first_ns + lag_ns, session_key",
        {"t_ns": t_ns},
    ).fetchall()


def erase_frames(
    connection: sqlite3.Connection, session: int, until_ns: int, most: int
) -> tuple[int, int | None]:
    """Erase frames before `until_ns` that are among the first `most` of a session.

    Returns how many, and the time of the newest of them (None without any).  Frames follow one another in
    time but where a clock was set back: those are erased when all before them are.
    """
    (last,) = connection.execute(
        "SELECT max(frame_index) FROM "
        "(SELECT frame_index FROM frames WHERE session_key = ? ORDER BY frame_index LIMIT ?)",
        (session, most),
    ).fetchone()
    values = {"session": session, "last": last, "until_ns": until_ns}
    (newest_ns,) = connection.execute(
        f"SELECT max(t_ns) FROM frames WHERE frame IN {_EXPIRED_FRAMES}", values
    ).fetchone()
    if newest_ns is None:
        return 0, None
    shown = connection.execute(
        "SELECT sum(observed), track FROM shown_observations "
        f"WHERE frame IN {_EXPIRED_FRAMES} GROUP BY track",
        values,
    ).fetchall()
    connection.executemany("UPDATE tracks SET frames = max(0, frames - ?) WHERE track = ?", shown)
    connection.execute(f"DELETE FROM observations WHERE frame IN {_EXPIRED_FRAMES}", values)
    erased = connection.execute(f"DELETE FROM frames WHERE frame IN {_EXPIRED_FRAMES}", values).rowcount
    return erased, newest_ns


def erase_tracks(connection: sqlite3.Connection, session: int, until_ns: int, t_ns: int) -> None:
    """Erase a session's tracks and sightings of before `until_ns`, whose frames must be gone.

    The newest sighting of an identity that stays (see `erase_identities`) is kept whatever its age: the
    last known place.
    """
    values = {"session": session, "until_ns": until_ns, "t_ns": t_ns}
    tracks = f"(SELECT track FROM tracks WHERE {_BEGUN_BEFORE})"
    connection.execute(
        f"DELETE FROM sightings WHERE track IN {tracks} AND last_ns < :until_ns AND (identity IS NULL "
        f"OR NOT EXISTS (SELECT 1 FROM identities i WHERE i.identity = sightings.identity AND {_STAYS}) "
        "OR EXISTS (SELECT 1 FROM sightings s WHERE s.identity = sightings.identity "
        "AND (s.last_ns, s.track) > (sightings.last_ns, sightings.track)))",
        values,
    )
    connection.execute(
        f"UPDATE sightings SET first_ns = :until_ns WHERE track IN {tracks} AND first_ns < :until_ns "
        "AND last_ns >= :until_ns",
        values,
    )
    gone = (
        f"(SELECT track FROM tracks t WHERE {_BEGUN_BEFORE} AND last_ns < :until_ns "
        "AND NOT EXISTS (SELECT 1 FROM sightings s WHERE s.track = t.track))"
    )
    connection.execute(f"DELETE FROM shown_identities WHERE track IN {gone}", values)
    connection.execute(f"DELETE FROM tracks WHERE track IN {gone}", values)
    connection.execute(
        f"UPDATE tracks SET first_ns = :until_ns WHERE {_BEGUN_BEFORE} AND last_ns >= :until_ns", values
    )


def erase_identities(connection: sqlite3.Connection, t_ns: int, after: int, most: int) -> int | None:
    """Erase people of whom nothing since `t_ns` is left, unless an operator named or follows them.

    Looks at the first `most` identities behind `after`; returns the last of them, None where no more follow.
    """
    page = connection.execute(
        "SELECT identity FROM identities WHERE identity > ? ORDER BY identity LIMIT ?", (after, most)
    ).fetchall()
    if page:
        values = {"after": after, "last": page[-1][0], "t_ns": t_ns}
        gone = (
            "(SELECT identity FROM identities i WHERE identity > :after AND identity <= :last "
            f"AND NOT {_STAYS})"
        )
        connection.execute(f"DELETE FROM events WHERE identity IN {gone}", values)
        connection.execute(f"DELETE FROM identities WHERE identity IN {gone}", values)
    return int(page[-1][0]) if len(page) == most else None


def erase_replacements(connection: sqlite3.Connection) -> None:
    """Drop what became of merged and forgotten numbers once all that was stored before is erased."""
    connection.execute("DELETE FROM replaced_identities WHERE frame < (SELECT min(frame) FROM frames)")
