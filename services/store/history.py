"""Questions about what was seen, answered while the writer runs.

Works on the data folder of a run, whether or not a store is running on it.  All times are UTC
nanoseconds, all boxes pixels of the camera's frames.  A *sighting* is one person's uninterrupted presence
in one camera: tracks of that person that overlap there, or follow within `SIGHTING_GAP_NS`, are one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from services.store.batch import PIXEL_UNITS, SCORE_UNITS
from services.store.checkpoint import newest_checkpoint
from services.store.connection import DATABASE_NAME, open_reader, storage_errors
from services.store.rows import SIGHTING_GAP_NS
from shared.config import CameraConfig
from shared.errors import StorageError
from shared.messages import Checkpoint


class Box(NamedTuple):
    """Pixels, x to the right, y down."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def foot(self) -> tuple[float, float]:
        """Where the person stands: the middle of the lower edge (x, y)."""
        return (self.x0 + self.x1) / 2, self.y1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person was last observed: `box` of the frame at `t_ns`, with its detector score."""

    identity: int
    name: str
    camera: int
    camera_name: str
    t_ns: int
    box: Box
    score: float

    @property
    def x(self) -> float:
        """The foot point, pixels of the camera's frame."""
        return self.box.foot[0]

    @property
    def y(self) -> float:
        """The foot point, pixels of the camera's frame."""
        return self.box.foot[1]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person's uninterrupted presence in one camera; `box` is the one at `last_ns`."""

    identity: int
    camera: int
    camera_name: str
    first_ns: int
    last_ns: int
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Identity:
    """One person; the times are None where nothing is left of what was seen."""

    identity: int
    name: str
    followed: bool
    first_ns: int | None
    last_ns: int | None


class History:
    """Read-only access to one run's database; every method may be called from any thread.

    Raises StorageError where there is no database, or one that this release cannot read.
    """

    def __init__(self, folder: Path, *, busy_timeout_s: float = 5.0) -> None:
        self.path = folder / DATABASE_NAME
        self._lock = threading.Lock()
        with storage_errors(self.path):
            self._connection = open_reader(self.path, busy_timeout_s)

    def last_seen(self, identity: int) -> Place | None:
        """Where a person was last observed; None for somebody never seen."""
        rows = self.select(
            "SELECT s.identity, coalesce(i.name, ''), s.camera, c.name, s.last_ns, s.x0, s.y0, s.x1, s.y1, "
            "s.score FROM sightings s JOIN cameras c USING (camera) LEFT JOIN identities i USING (identity) "
            "WHERE s.identity = ? ORDER BY s.last_ns DESC, s.score DESC, s.track LIMIT 1",
            identity,
        )
        for number, name, camera, camera_name, t_ns, *box, score in rows:
            return Place(number, name, camera, title(camera, camera_name), t_ns, _box(box), _score(score))
        return None

    def identities(self) -> list[Identity]:
        """Everybody who was seen, is named or is followed, by number."""
        rows = self.select(
            "SELECT i.identity, i.name, i.followed, min(s.first_ns), max(s.last_ns) FROM identities i "
            "LEFT JOIN sightings s USING (identity) GROUP BY i.identity "
            "HAVING s.identity IS NOT NULL OR i.name != '' OR i.followed ORDER BY i.identity"
        )
        return [Identity(number, name, bool(followed), *times) for number, name, followed, *times in rows]

    def sightings(self, identity: int | None = None) -> list[Sighting]:
        """The sightings of one person, or of everybody, in the order (identity, first time, camera)."""
        rows = self.select(
            "SELECT s.identity, s.camera, c.name, s.first_ns, s.last_ns, s.x0, s.y0, s.x1, s.y1, s.score "
            "FROM sightings s JOIN cameras c USING (camera) "
            f"WHERE {'s.identity IS NOT NULL' if identity is None else 's.identity = ?'} "
            "ORDER BY s.identity, s.first_ns, s.camera, s.track",
            *([] if identity is None else [identity]),
        )
        return _joined(
            Sighting(number, camera, title(camera, name), first_ns, last_ns, _box(box), _score(score))
            for number, camera, name, first_ns, last_ns, *box, score in rows
        )

    def cameras(self) -> dict[int, CameraConfig]:
        """The cameras by id: as configured, and those that sent frames without being configured."""
        rows = self.select(
            "SELECT camera, source, name, delivery, start_ns, fps FROM cameras ORDER BY camera"
        )
        return {row[0]: CameraConfig(*row) for row in rows}

    def checkpoint(self) -> Checkpoint | None:
        """The tracker's memory as it was last written down; None before."""
        with self._reading():
            return newest_checkpoint(self._connection)

    def select(self, sql: str, *values: Any) -> list[Any]:
        """All rows of one query."""
        with self._reading():
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the database; the second time does nothing."""
        with self._reading():
            self._connection.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, storage_errors(self.path):
            try:
                yield self._connection
            except OverflowError:
                raise StorageError("a number that was asked for has more than 64 bits") from None


def title(camera: int, name: str) -> str:
    """What an operator calls a camera."""
    return name or f"camera {camera}"


def crossings(sightings: Iterable[Sighting]) -> list[Sighting]:
    """One person's sightings in order, those that follow one another in the same camera as one."""
    crossed: list[Sighting] = []
    for sighting in sightings:
        if crossed and crossed[-1].camera == sighting.camera:
            crossed[-1] = _join(crossed[-1], sighting)
        else:
            crossed.append(sighting)
    return crossed


def _joined(presences: Iterable[Sighting]) -> list[Sighting]:
    """Presences of tracks as sightings of people; both ordered by (identity, first time, camera)."""
    joined: list[Sighting] = []
    newest: dict[tuple[int, int], int] = {}
    for presence in presences:
        key = (presence.identity, presence.camera)
        place = newest.get(key)
        if place is not None and presence.first_ns <= joined[place].last_ns + SIGHTING_GAP_NS:
            joined[place] = _join(joined[place], presence)
        else:
            newest[key] = len(joined)
            joined.append(presence)
    return joined


def _join(first: Sighting, second: Sighting) -> Sighting:
    later = max(first, second, key=lambda sighting: (sighting.last_ns, sighting.score))
    return replace(first, last_ns=later.last_ns, box=later.box, score=later.score)


def _box(units: Iterable[int]) -> Box:
    return Box(*(value / PIXEL_UNITS for value in units))


def _score(units: int) -> float:
    return units / SCORE_UNITS
