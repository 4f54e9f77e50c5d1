"""The tracker's newest checkpoint, the states of the people that it remembers, and the numbers given out."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from shared.messages import Checkpoint

_TABLES_WITH_NUMBERS = {
    "track": ("tracks", "early_assignments", "erased_tracks", "shown_identities"),
    "identity": ("identities", "replaced_identities", "early_assignments", "shown_identities"),
}
"""Tables that can hold the highest number of their kind.  What observations and sightings name is also in
`tracks`, `identities` or `shown_identities`."""


class Numbers(NamedTuple):
    """The highest track and identity that the database knows of, 0 for none."""

    track: int
    identity: int


def write_checkpoint(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint, and the states of those people that it has new ones of."""
    positions, ends = (
        json.dumps([[camera, *position] for camera, position in sorted(each.items())])
        for each in (checkpoint.positions, checkpoint.ends)
    )
    connection.execute(
        "INSERT INTO checkpoint (id, positions, state, ends) VALUES (1, ?, ?, ?) ON CONFLICT DO UPDATE "
        "SET positions = excluded.positions, state = excluded.state, ends = excluded.ends",
        (positions, checkpoint.state, ends),
    )
    remembered = [(identity, state) for identity, state in checkpoint.identities.items() if state]
    dropped = [(identity,) for identity, state in checkpoint.identities.items() if not state]
    connection.executemany(
        "INSERT INTO identities (identity, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET "
        "state = excluded.state",
        remembered,
    )
    connection.executemany("UPDATE identities SET state = NULL WHERE identity = ?", dropped)


def newest_checkpoint(
    connection: sqlite3.Connection, *, identities: bool = True, identity: int | None = None
) -> Checkpoint | None:
    """The newest Checkpoint, by default with the state of everybody whom the tracker remembers.

    identities: False for the checkpoint without anybody's state.  identity: the only one whose state is read.
    None before the first.
    """
    row = connection.execute("SELECT positions, state FROM checkpoint").fetchone()
    if row is None:
        return None
    states: list[tuple[int, bytes]] = []
    if identities:
        states = connection.execute(
            "SELECT identity, state FROM identities WHERE state IS NOT NULL "
            f"{'' if identity is None else 'AND identity = ? '}ORDER BY identity",
            () if identity is None else (identity,),
        ).fetchall()
    positions = {camera: (session, seq) for camera, session, seq in json.loads(row[0])}
    return Checkpoint(positions, row[1], dict(states))


def checkpoint_ends(connection: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    """The ends of recordings that the newest checkpoint contains: camera -> session and number."""
    row = connection.execute("SELECT ends FROM checkpoint").fetchone()
    return {} if row is None else {camera: (session, seq) for camera, session, seq in json.loads(row[0])}


def identity_states(connection: sqlite3.Connection, after: int, most_bytes: int) -> dict[int, bytes]:
    """The states of the next people whom the tracker remembers, by identity, in order.

    after: identities above this one.  most_bytes: of all states together, but one is always returned
        where there is one.
    """
    page: dict[int, bytes] = {}
    size = 0
    for identity, state in connection.execute(
        "SELECT identity, state FROM identities WHERE state IS NOT NULL AND identity > ? ORDER BY identity",
        (after,),
    ):
        size += len(state)
        if page and size > most_bytes:
            break
        page[identity] = state
    return page


def newest_numbers(connection: sqlite3.Connection) -> Numbers:
    """The highest numbers of tracks and identities that were ever stored and not erased entirely."""
    return Numbers(_highest(connection, "track"), _highest(connection, "identity"))


def _highest(connection: sqlite3.Connection, column: str) -> int:
    """The highest number in the column of this name, in whichever table it is."""
    newest = (
        connection.execute(f"SELECT max({column}) FROM {table}").fetchone()[0]
        for table in _TABLES_WITH_NUMBERS[column]
    )
    return max(number or 0 for number in newest)
