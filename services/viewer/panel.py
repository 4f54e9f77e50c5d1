"""The side panel: who is followed, where each was last seen, and which keys there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.lettering import BOLD, shortened, text_width, write
from services.viewer.mosaic import Rectangle
from services.viewer.palette import (
    ACCENT,
    BACKGROUND,
    BAR,
    FAINT,
    INK,
    WHITE,
    Colour,
    identity_colour,
)

NARROWEST_WITH_PANEL_PX = 480

CROSS = "\N{MULTIPLICATION SIGN}"

_NOW_S = 1.5


@dataclass(frozen=True, slots=True)
class Entry:
    """One followed person, as the panel tells it.

    places: titles of the cameras that saw the person last.  t_ns: when.
    sureness: probability that it was this person.  expected: title of the camera where people from there are
        seen next most often, and how often (0-1); None before any was.
    """

    identity: int
    name: str
    places: tuple[str, ...]
    t_ns: int
    sureness: float = 1.0
    expected: tuple[str, float] | None = None


def panel_width(width: int) -> int:
    """How much of a picture this wide the panel takes; nothing of a narrow one."""
    return 0 if width < NARROWEST_WITH_PANEL_PX else round(min(max(width * 0.19, 168), 340))


def clock_text(t_ns: int, moment_ns: int | None = None) -> str:
    """A time of day in UTC, with its date where that is another day than `moment_ns`."""
    time = datetime.fromtimestamp(t_ns / 1e9, timezone.utc)
    if moment_ns is not None:
        today = datetime.fromtimestamp(moment_ns / 1e9, timezone.utc)
        if today.date() != time.date():
            return f"{time:%Y-%m-%d %H:%M}"
    return f"{time:%H:%M:%S}"


def ago_text(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    if seconds < _NOW_S:
        return "now"
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit} ago"
    return f"{int(seconds)} s ago"


def draw_panel(
    canvas: NDArray[np.uint8],
    place: Rectangle,
    entries: Sequence[Entry],
    moment_ns: int,
    *,
    keys: Sequence[tuple[str, str]] = (),
    selecting: bool = False,
    notice: str = "",
) -> list[tuple[Rectangle, int]]:
    """Draw the panel in place.

    keys: key and what it does; with none given the panel is for looking at only.
    Returns the crosses that end the following of somebody: where each is, and whose.
    """
    panel = canvas[place.slices]
    cv2.rectangle(panel, (0, 0), (place.width, place.height), BACKGROUND, -1)
    letters_px = round(min(max(place.width / 17, 11), 18))
    margin = letters_px
    row_px = round(letters_px * 1.6)
    lower = _draw_foot(panel, letters_px, keys, selecting, notice)

    y = margin + letters_px
    write(panel, "Following", (margin, y), round(letters_px * 1.2), WHITE, weight=BOLD)
    y += row_px // 2
    crosses: list[tuple[Rectangle, int]] = []
    if not entries:
        hint = "Nobody yet" if not keys else "Nobody yet: s, then click"
        _line(panel, hint, (margin, y + row_px), letters_px, FAINT)
    needed_px = round(3.4 * row_px)
    room = max(0, (lower - y) // needed_px)
    if len(entries) > room:
        room = max(0, (lower - y - row_px) // needed_px)
    for entry in entries[:room]:
        cross = _draw_entry(panel, entry, moment_ns, y, letters_px, removable=bool(keys))
        if cross is not None:
            at = Rectangle(place.x + cross.x, place.y + cross.y, cross.width, cross.height)
            crosses.append((at, entry.identity))
        y += needed_px
    if len(entries) > room:
        _line(panel, f"and {len(entries) - room} more", (margin, y + row_px), letters_px, FAINT)
    return crosses


def _draw_entry(
    panel: NDArray[np.uint8], entry: Entry, moment_ns: int, y: int, letters_px: int, *, removable: bool
) -> Rectangle | None:
    margin, row_px = letters_px, round(letters_px * 1.6)
    colour = identity_colour(entry.identity)
    cv2.rectangle(panel, (margin, y + row_px // 2), (margin + letters_px // 3, y + 3 * row_px), colour, -1)
    x = 2 * margin
    cross = None
    right = panel.shape[1] - margin
    if removable:
        cross = Rectangle(right - row_px, y + row_px // 4, row_px + margin // 2, row_px)
        write(panel, CROSS, (right - letters_px, y + row_px), round(letters_px * 1.2), FAINT, weight=BOLD)
        right -= row_px
    name = shortened(entry.name or f"Person {entry.identity}", right - x, letters_px, BOLD)
    write(panel, name, (x, y + row_px), letters_px, WHITE, weight=BOLD)
    ago = ago_text((moment_ns - entry.t_ns) / 1e9)
    where = ", ".join(entry.places)
    when = f"{clock_text(entry.t_ns, moment_ns)} · {ago}"
    if ago != "now":
        when += f" · {entry.sureness:.0%} sure"
        if entry.expected is not None:
            where += f", next {entry.expected[0]} {entry.expected[1]:.0%}"
    _line(panel, where, (x, y + 2 * row_px - 2), letters_px, WHITE)
    _line(panel, when, (x, y + 3 * row_px - 4), letters_px, ACCENT if ago == "now" else FAINT)
    return cross


def _draw_foot(
    panel: NDArray[np.uint8],
    letters_px: int,
    keys: Sequence[tuple[str, str]],
    selecting: bool,
    notice: str,
) -> int:
    """Help, notice and mode, from the bottom up; returns where they begin."""
    height, width = int(panel.shape[0]), int(panel.shape[1])
    margin, row_px = letters_px, round(letters_px * 1.6)
    y = height - margin // 2
    column = max((text_width(key, letters_px, BOLD) for key, _ in keys), default=0) + margin
    for key, meaning in reversed(keys):
        write(panel, key, (margin, y - letters_px // 3), letters_px, WHITE, weight=BOLD)
        room = width - margin - column
        text = shortened(meaning, room - margin, letters_px)
        write(panel, text, (margin + column, y - letters_px // 3), letters_px, FAINT)
        y -= row_px
    if keys:
        cv2.line(panel, (margin, y - margin // 3), (width - margin, y - margin // 3), BAR, 1)
        y -= margin
    if selecting:
        top = y - round(1.5 * row_px)
        cv2.rectangle(panel, (margin // 2, top), (width - margin // 2, y), ACCENT, -1)
        text = shortened("SELECTING: click a person", width - 2 * margin, letters_px, BOLD)
        write(panel, text, (margin, top + round(row_px * 0.95)), letters_px, INK, weight=BOLD)
        y = top - margin // 2
    for line in reversed(_wrapped(notice, width - 2 * margin, letters_px)):
        write(panel, line, (margin, y - letters_px // 3), letters_px, ACCENT)
        y -= row_px
    return y


def _line(
    panel: NDArray[np.uint8], text: str, origin: tuple[int, int], letters_px: int, colour: Colour
) -> None:
    write(
        panel,
        shortened(text, panel.shape[1] - origin[0] - letters_px // 2, letters_px),
        origin,
        letters_px,
        colour,
    )


def _wrapped(text: str, width_px: int, letters_px: int, most_lines: int = 4) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", letters_px) <= width_px:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [shortened(line, width_px, letters_px) for line in lines[:most_lines]]
