"""The tracker's memory as it was last written down."""

from __future__ import annotations

import json
import sqlite3

from shared.messages import Checkpoint


def newest_checkpoint(connection: sqlite3.Connection, identity: int | None = None) -> Checkpoint | None:
    """The newest Checkpoint, with the newest state of every identity ever sent; None before any.

    identity: the only one whose state is read, by default all.
    """
    row = connection.execute("SELECT positions, state FROM checkpoint").fetchone()
    if row is None:
        return None
    identities = connection.execute(
        "SELECT identity, state FROM identities WHERE state IS NOT NULL "
        f"{'' if identity is None else 'AND identity = ? '}ORDER BY identity",
        () if identity is None else (identity,),
    ).fetchall()
    positions = {camera: (session, seq) for camera, session, seq in json.loads(row[0])}
    return Checkpoint(positions, row[1], dict(identities))


def identity_states(connection: sqlite3.Connection, after: int, limit_bytes: int) -> list[tuple[int, bytes]]:
    """The states of identities behind `after`, in order of their numbers, until they are `limit_bytes` long.

    At least one where there is one, so that a state larger than the limit comes alone; none at the end.
    """
    states: list[tuple[int, bytes]] = []
    total = 0
    for identity, state in connection.execute(
        "SELECT identity, state FROM identities WHERE state IS NOT NULL AND identity > ? ORDER BY identity",
        (after,),
    ):
        total += len(state)
        if states and total > limit_bytes:
            break
        states.append((identity, state))
    return states
