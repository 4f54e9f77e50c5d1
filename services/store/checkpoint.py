"""The tracker's newest checkpoint, the states of the people that it remembers, and the numbers given out."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from shared.messages import Checkpoint


class Numbers(NamedTuple):
    """The highest track and identity that the database knows of, 0 for none."""

    track: int
    identity: int


def newest_checkpoint(connection: sqlite3.Connection, *, identities: bool = True) -> Checkpoint | None:
    """The newest Checkpoint, by default with the state of everybody whom the tracker remembers.

    None before the first.
    """
    row = connection.execute("SELECT positions, state FROM checkpoint").fetchone()
    if row is None:
        return None
    states = (
        connection.execute("SELECT identity, state FROM identities WHERE state IS NOT NULL ORDER BY identity")
        if identities
        else ()
    )
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
    (track,) = connection.execute(
        "SELECT max(coalesce((SELECT max(track) FROM tracks), 0), "
        "coalesce((SELECT max(track) FROM early_assignments), 0), "
        "coalesce((SELECT max(track) FROM erased_tracks), 0))"
    ).fetchone()
    (identity,) = connection.execute(
        "SELECT max(coalesce((SELECT max(identity) FROM identities), 0), "
        "coalesce((SELECT max(identity) FROM replaced_identities), 0))"
    ).fetchone()
    return Numbers(track, identity)
