"""The tracker's memory as it was last written down."""

from __future__ import annotations

import json
import sqlite3

from shared.messages import Checkpoint


def newest_checkpoint(connection: sqlite3.Connection) -> Checkpoint | None:
    """The newest Checkpoint, with the newest state of every identity ever sent; None before any."""
    row = connection.execute("SELECT positions, state FROM checkpoint").fetchone()
    if row is None:
        return None
    identities = connection.execute(
        "SELECT identity, state FROM identities WHERE state IS NOT NULL ORDER BY identity"
    ).fetchall()
    positions = {camera: (session, seq) for camera, session, seq in json.loads(row[0])}
    return Checkpoint(positions, row[1], dict(identities))
