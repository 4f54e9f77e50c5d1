"""Tables and times for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from shared.text import printable


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines, each column as wide as its widest text; nothing in them can steer the terminal."""
    safe = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in safe)


def utc_text(t_ns: int) -> str:
    """UTC nanoseconds as `2026-05-01 12:00:00.5`."""
    moment = datetime.fromtimestamp(t_ns // 1_000_000_000, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{t_ns // 100_000_000 % 10}"
