"""A run as a table for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from services.store.history import History, crossings
from shared.text import printable

_HEADINGS = ("person", "cameras crossed", "from", "to", "last seen")


def summary_table(history: History, most: int | None = None) -> str:
    """Each person, the cameras they crossed in order with times (UTC), and where they were last seen.

    most: of more people than that only those who were seen last, and everybody who is named or followed.
    """
    rows: list[Sequence[str]] = []
    for identity, name in _people(history, most):
        place = history.last_seen(identity)
        who = f"{identity} {name}".strip()
        if place is None:
            rows.append((who, "", "", "", "never"))
            continue
        x, y = place.box.foot
        last = f"{place.camera_name} at {_clock(place.t_ns)}, foot point ({x:.0f}, {y:.0f})"
        for crossing in crossings(history.sightings(identity)):
            first_ns, last_ns = crossing.first_ns, crossing.last_ns
            rows.append((who, crossing.camera_name, _clock(first_ns), _clock(last_ns), last))
            who = last = ""
    return _aligned([_HEADINGS, *rows])


def _people(history: History, most: int | None) -> list[tuple[int, str]]:
    """Numbers and names of the people wanted, by number."""
    if most is None:
        return [(person.identity, person.name) for person in history.each_identity()]
    seen = {person.identity: person.name for person in history.latest_identities(most)}
    return sorted((history.marked_identities() | seen).items())


def _clock(t_ns: int) -> str:
    moment = datetime.fromtimestamp(t_ns // 1_000_000_000, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{t_ns // 100_000_000 % 10}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    safe = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in safe)
    return "\n".join(lines)
