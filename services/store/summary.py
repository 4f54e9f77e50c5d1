"""A run as a table for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from services.store.history import History, crossings

_HEADINGS = ("person", "cameras crossed", "from", "to", "last seen")


def summary_table(history: History) -> str:
    """Each person, the cameras they crossed in order with times (UTC), and where they were last seen."""
    rows: list[Sequence[str]] = []
    for person in history.identities():
        place = history.last_seen(person.identity)
        who = f"{person.identity} {person.name}".strip()
        if place is None:
            rows.append((who, "", "", "", "never"))
            continue
        x, y = place.box.foot
        last = f"{place.camera_name} at {_clock(place.t_ns)}, foot point ({x:.0f}, {y:.0f})"
        for crossing in crossings(history.sightings(person.identity)):
            first_ns, last_ns = crossing.first_ns, crossing.last_ns
            rows.append((who, crossing.camera_name, _clock(first_ns), _clock(last_ns), last))
            who = last = ""
    return _aligned([_HEADINGS, *rows])


def _clock(t_ns: int) -> str:
    moment = datetime.fromtimestamp(t_ns // 1_000_000_000, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{t_ns // 100_000_000 % 10}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
