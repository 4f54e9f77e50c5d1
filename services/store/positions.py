"""How far each stream has been stored: the last committed sequence number of every session.

A recording has the same session whenever it is sent, so its position is kept for good.  A live camera and
the tracker's own stream begin a new session with every start of their process; of those only the newest
`_SESSIONS_KEPT` of a stream can still be on their way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from shared.config import CameraConfig
from shared.config_file import is_recorded

_SESSIONS_KEPT = 16


def position(connection: sqlite3.Connection, stream: int, session: int) -> int:
    """The last committed sequence number of a stream, -1 before its first."""
    row = connection.execute(
        "SELECT seq FROM positions WHERE stream = ? AND session = ?", (stream, session)
    ).fetchone()
    return -1 if row is None else int(row[0])


def write_positions(connection: sqlite3.Connection, positions: Mapping[tuple[int, int], int]) -> None:
    """Store the sequence numbers of (stream, session), in the order in which the sessions came."""
    for (stream, session), seq in positions.items():
        known = connection.execute(
            "UPDATE positions SET seq = ? WHERE stream = ? AND session = ?", (seq, stream, session)
        )
        if not known.rowcount:
            connection.execute(
                "INSERT INTO positions (stream, session, seq, began) VALUES (?, ?, ?, "
                "(SELECT coalesce(max(began), 0) + 1 FROM positions WHERE stream = ?))",
                (stream, session, seq, stream),
            )
            if not known_as_recorded(connection, stream):
                _drop_old(connection, stream)


def known_as_recorded(connection: sqlite3.Connection, camera: int) -> bool:
    """Whether a camera is configured, as a recording."""
    row = connection.execute("SELECT source, delivery FROM cameras WHERE camera = ?", (camera,)).fetchone()
    return row is not None and row[0] != "" and is_recorded(CameraConfig(camera, row[0], delivery=row[1]))


def _drop_old(connection: sqlite3.Connection, stream: int) -> None:
    connection.execute(
        "DELETE FROM positions WHERE stream = :stream AND began <= "
        "(SELECT max(began) FROM positions WHERE stream = :stream) - :kept",
        {"stream": stream, "kept": _SESSIONS_KEPT},
    )
