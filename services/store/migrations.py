"""The schema of the database, as the steps that lead to it.

Boxes and velocities are integers in 1/100 pixel and scores in 1/10000: below what any detector
resolves, exact in every export, and a third of the bytes that SQLite takes for a float.  Times are
UTC nanoseconds.  `identity` is the settled answer to "who": NULL while undecided.
"""

from __future__ import annotations

import sqlite3

from services.store.transaction import transaction
from shared.errors import StorageError

APPLICATION_ID = 0x54524B31
"""Marks the file as ours ("TRK1"), so that another program's database is never written to."""

_TABLES = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    """CREATE TABLE cameras (
        camera INTEGER PRIMARY KEY,
        name TEXT NOT NULL DEFAULT '',
        source TEXT NOT NULL DEFAULT '',
        delivery TEXT,
        start_ns INTEGER,
        fps REAL
    )""",
    # One uninterrupted numbering of a camera's frames.  `frames` counts all that were ever committed,
    # `ended` is the reason of the End message behind the last of them, NULL while more may come.
    """CREATE TABLE sessions (
        session_key INTEGER PRIMARY KEY,
        camera INTEGER NOT NULL,
        session INTEGER NOT NULL,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        frames INTEGER NOT NULL DEFAULT 0,
        ended TEXT,
        detail TEXT NOT NULL DEFAULT '',
        announced_frames INTEGER,
        UNIQUE (camera, session)
    )""",
    """CREATE TABLE frames (
        frame INTEGER PRIMARY KEY,
        session_key INTEGER NOT NULL REFERENCES sessions,
        frame_index INTEGER NOT NULL,
        t_ns INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        UNIQUE (session_key, frame_index)
    )""",
    "CREATE INDEX frames_by_time ON frames (t_ns, session_key)",
    """CREATE TABLE identities (
        identity INTEGER PRIMARY KEY,
        name TEXT NOT NULL DEFAULT '',
        followed INTEGER NOT NULL DEFAULT 0,
        state BLOB
    )""",
    # `frames` counts the frames in which the track was observed, not only predicted.
    """CREATE TABLE tracks (
        track INTEGER PRIMARY KEY,
        session_key INTEGER NOT NULL REFERENCES sessions,
        identity INTEGER REFERENCES identities,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        frames INTEGER NOT NULL
    )""",
    "CREATE INDEX tracks_of_identity ON tracks (identity) WHERE identity IS NOT NULL",
    # `shown` is the identity as it was known when the frame was live, 0 while it was not.
    # The key makes every insertion an append; a track's rows are found through its frames' times.
    """CREATE TABLE observations (
        frame INTEGER NOT NULL REFERENCES frames,
        track INTEGER NOT NULL REFERENCES tracks,
        shown INTEGER NOT NULL,
        x0 INTEGER NOT NULL,
        y0 INTEGER NOT NULL,
        x1 INTEGER NOT NULL,
        y1 INTEGER NOT NULL,
        vx INTEGER NOT NULL,
        vy INTEGER NOT NULL,
        score INTEGER NOT NULL,
        observed INTEGER NOT NULL,
        PRIMARY KEY (frame, track)
    ) WITHOUT ROWID""",
    # One row for each uninterrupted presence of a track, with the box at its end.  A new answer to
    # "who" is one UPDATE of a track's few rows; presences of one identity that touch or overlap are
    # joined when they are read.
    """CREATE TABLE sightings (
        track INTEGER NOT NULL REFERENCES tracks,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        identity INTEGER REFERENCES identities,
        camera INTEGER NOT NULL,
        x0 INTEGER NOT NULL,
        y0 INTEGER NOT NULL,
        x1 INTEGER NOT NULL,
        y1 INTEGER NOT NULL,
        score INTEGER NOT NULL,
        PRIMARY KEY (track, first_ns)
    ) WITHOUT ROWID""",
    "CREATE INDEX sightings_of_identity ON sightings (identity, last_ns) WHERE identity IS NOT NULL",
    """CREATE TABLE positions (
        stream INTEGER NOT NULL,
        session INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (stream, session)
    ) WITHOUT ROWID""",
    # positions: JSON rows [camera, session, sequence number].
    """CREATE TABLE checkpoint (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        positions TEXT NOT NULL,
        state BLOB NOT NULL
    )""",
    """CREATE TABLE reports (
        service TEXT NOT NULL,
        instance INTEGER NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        t_ns INTEGER NOT NULL,
        state TEXT NOT NULL,
        readings TEXT NOT NULL,
        PRIMARY KEY (service, instance, host)
    ) WITHOUT ROWID""",
    """CREATE TABLE events (
        event INTEGER PRIMARY KEY,
        identity INTEGER NOT NULL REFERENCES identities,
        kind TEXT NOT NULL,
        t_ns INTEGER NOT NULL,
        value TEXT NOT NULL
    )""",
)

# `decision` numbers the decision that `identity` comes from: of two the later counts.  The camera whose frame
# brings it may be ahead of the camera in which the track is, so it may wait for the track's first row.
_DECISIONS = (
    "ALTER TABLE tracks ADD COLUMN decision INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE early_assignments (
        track INTEGER PRIMARY KEY,
        identity INTEGER NOT NULL,
        decision INTEGER NOT NULL
    )""",
)

# What an operator has merged into another identity, or forgotten (replacement 0): messages that were on their
# way still name it.
_REPLACEMENTS = (
    """CREATE TABLE replaced_identities (
        identity INTEGER PRIMARY KEY,
        replacement INTEGER NOT NULL
    )""",
)

# An observation's `settled` is 0 for what was only shown live, 1 for what was shown and turned out so, 2 for
# what only turned out later.  A frame's `settled` tells whether that is known; until then the former holds.
_SETTLING = (
    "ALTER TABLE frames ADD COLUMN settled INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE observations ADD COLUMN settled INTEGER NOT NULL DEFAULT 0",
)

# Tracks of people who were forgotten: messages of live cameras that are on their way still contain them.
# A checkpoint's `ends`, JSON rows [camera, session, sequence number], are the ends of recordings it contains.
_ERASED_TRACKS = (
    "ALTER TABLE checkpoint ADD COLUMN ends TEXT NOT NULL DEFAULT '[]'",
    "CREATE TABLE erased_tracks (track INTEGER PRIMARY KEY)",
    "CREATE INDEX identities_with_state ON identities (identity) WHERE state IS NOT NULL",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _TABLES,
    _DECISIONS,
    _REPLACEMENTS,
    _SETTLING,
    _ERASED_TRACKS,
)
"""Statements that lead from version i to i + 1; only ever appended to."""

SCHEMA_VERSION = len(MIGRATIONS)

TRUE_ROWS = "(o.settled OR NOT f.settled)"
"""Of `observations o` in `frames f` those that are history, and not only what was shown for a moment."""


def check_version(connection: sqlite3.Connection) -> int:
    """The schema version, 0 for an empty database.

    Raises StorageError for a database of another program or of a newer release.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise StorageError("a SQLite database of another program: choose another data folder", permanent=True)
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"written by a newer release (schema {version}, this release knows {SCHEMA_VERSION}): "
            "upgrade tracking-system on this machine or choose another data folder",
            permanent=True,
        )
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest schema, each step in a transaction of its own."""
    while check_version(connection) < SCHEMA_VERSION:
        with transaction(connection):
            # Asked again now that nobody else can write: another process may have done this step.
            version = check_version(connection)
            if version < SCHEMA_VERSION:
                for statement in MIGRATIONS[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
