"""What operators have made of identities: merged into another one, or forgotten."""

from __future__ import annotations

import sqlite3


class Replacements:
    """The table `replaced_identities` within one transaction, read only where it is asked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, int] = {}  # those asked for so far; an identity that stands is its own

    def current(self, identity: int) -> int:
        """The identity that this one has become by an operator's decision; 0 where it was forgotten."""
        while identity:
            replacement = self._known.get(identity)
            if replacement is None:
                row = self._connection.execute(
                    "SELECT replacement FROM replaced_identities WHERE identity = ?", (identity,)
                ).fetchone()
                replacement = self._known[identity] = identity if row is None else row[0]
            if replacement == identity:
                break
            identity = replacement
        return identity

    def replace(self, gone: int, identity: int) -> None:
        """From now on `gone` means `identity`, 0 for nobody."""
        self._known[gone] = identity
        self._connection.execute(
            "INSERT INTO replaced_identities (identity, replacement, frame) "
            "VALUES (?, ?, (SELECT coalesce(max(frame), 0) FROM frames))",
            (gone, identity),
        )
