"""Questions about what was seen, answered while the writer runs.

Works on the data folder of a run, whether or not a store is running on it.  All times are UTC
nanoseconds, all boxes pixels of the camera's frames.  A *sighting* is one person's uninterrupted presence
in one camera: tracks of that person that overlap there, or follow within `SIGHTING_GAP_NS` without another
camera having seen the person in between, are one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
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

_IDENTITIES_AT_ONCE = 500

_MARKED = "name != '' OR followed"
"""As in the index `marked_identities`, so that SQLite uses it."""

_IDENTITIES = (
    "WITH page AS (SELECT DISTINCT identity FROM sightings WHERE identity > ? UNION "
    f"SELECT identity FROM identities WHERE identity > ? AND ({_MARKED}) ORDER BY identity LIMIT ?) "
    "SELECT page.identity, i.name, i.followed, "
    "(SELECT min(first_ns) FROM sightings s WHERE s.identity = page.identity), "
    "(SELECT max(last_ns) FROM sightings s WHERE s.identity = page.identity) "
    "FROM page LEFT JOIN identities i USING (identity) ORDER BY page.identity"
)


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
        return list(self.each_identity())

    def each_identity(self) -> Iterator[Identity]:
        """The same, a page at a time: for histories that do not fit into memory."""
        after = -1
        while page := self.select(_IDENTITIES, after, after, _IDENTITIES_AT_ONCE):
            for number, name, followed, *times in page:
                yield Identity(number, name or "", bool(followed), *times)
            after = page[-1][0]

    def latest_identities(self, most: int) -> list[Identity]:
        """Of everybody who was seen those who were seen last, at most so many, by number."""
        rows = self.select(
            "SELECT s.identity, i.name, i.followed, s.first_ns, s.last_ns FROM (SELECT identity, "
            "min(first_ns) AS first_ns, max(last_ns) AS last_ns FROM sightings WHERE identity IS NOT NULL "
            "GROUP BY identity ORDER BY 3 DESC, 1 LIMIT ?) s LEFT JOIN identities i USING (identity) "
            "ORDER BY s.identity",
            most,
        )
        return [
            Identity(number, name or "", bool(followed), *times) for number, name, followed, *times in rows
        ]

    def marked_identities(self) -> dict[int, str]:
        """The names of those who are named or followed, by number."""
        return dict(self.select(f"SELECT identity, name FROM identities WHERE {_MARKED} ORDER BY identity"))

    def followed(self) -> list[Place]:
        """Where those who are followed were last observed, by number."""
        rows = self.select(
            f"SELECT identity FROM identities WHERE ({_MARKED}) AND followed ORDER BY identity"
        )
        places = (self.last_seen(identity) for (identity,) in rows)
        return [place for place in places if place is not None]

    def people_count(self) -> int:
        """How many people were seen."""
        ((count,),) = self.select(
            "SELECT count(*) FROM (SELECT DISTINCT identity FROM sightings WHERE identity IS NOT NULL)"
        )
        return int(count)

    def newest_ns(self) -> int | None:
        """The time of the newest frame of any camera that was ever stored; None before the first."""
        ((newest_ns,),) = self.select("SELECT max(last_ns) FROM sessions WHERE frames")
        return None if newest_ns is None else int(newest_ns)

    def sightings(self, identity: int | None = None) -> list[Sighting]:
        """The sightings of one person, or of everybody, in the order (identity, first time, camera)."""
        rows = self.select(
            "SELECT s.identity, s.camera, c.name, s.first_ns, s.last_ns, s.x0, s.y0, s.x1, s.y1, s.score "
            "FROM sightings s JOIN cameras c USING (camera) "
            f"WHERE {'s.identity IS NOT NULL' if identity is None else 's.identity = ?'} "
            "ORDER BY s.identity, s.first_ns, s.camera, s.track",
            *([] if identity is None else [identity]),
        )
        return joined(
            Sighting(number, camera, title(camera, name), first_ns, last_ns, _box(box), _score(score))
            for number, camera, name, first_ns, last_ns, *box, score in rows
        )

    def cameras(self) -> dict[int, CameraConfig]:
        """The cameras by id: as configured, and those that sent frames without being configured."""
        rows = self.select(
            "SELECT camera, source, name, delivery, start_ns, fps FROM cameras ORDER BY camera"
        )
        return {row[0]: CameraConfig(*row) for row in rows}

    def checkpoint(self, identity: int | None = None) -> Checkpoint | None:
        """The tracker's memory as it was last written down; None before.

        identity: the only person whose memory is wanted, by default everybody's.
        """
        with self._reading():
            return newest_checkpoint(self._connection, identity=identity)

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


def joined(presences: Iterable[Sighting]) -> list[Sighting]:
    """Presences of tracks as sightings of people; both ordered by (identity, first time, camera)."""
    sightings: list[Sighting] = []
    for _, own in groupby(presences, key=lambda presence: presence.identity):
        sightings += _joined_of_one(own)
    return sightings


def _joined_of_one(presences: Iterable[Sighting]) -> list[Sighting]:
    joined: list[Sighting] = []
    newest: dict[int, int] = {}  # by camera, the place in `joined`
    recent: list[Sighting] = []  # presences that a gap before this one may touch
    for presence in presences:
        recent = [each for each in recent if each.last_ns >= presence.first_ns - SIGHTING_GAP_NS]
        place = newest.get(presence.camera)
        if place is not None and _continues(joined[place], presence, recent):
            joined[place] = _join(joined[place], presence)
        else:
            newest[presence.camera] = len(joined)
            joined.append(presence)
        recent.append(presence)
    return joined


def _continues(before: Sighting, presence: Sighting, recent: Iterable[Sighting]) -> bool:
    """Whether a presence and what was before it in the same camera are one sighting.

    Not after too long a gap, and not where another camera saw the person in the gap, unless it saw the
    person together with this camera before or after: then both may see the same place.
    """
    if presence.first_ns > before.last_ns + SIGHTING_GAP_NS:
        return False
    return not any(
        before.last_ns < other.last_ns
        and other.first_ns < presence.first_ns
        and not _at_once(other, before)
        and not _at_once(other, presence)
        for other in recent
        if other.camera != presence.camera
    )


def _at_once(one: Sighting, other: Sighting) -> bool:
    return one.first_ns <= other.last_ns and other.first_ns <= one.last_ns


def _join(first: Sighting, second: Sighting) -> Sighting:
    later = max(first, second, key=lambda sighting: (sighting.last_ns, sighting.score))
    return replace(first, last_ns=later.last_ns, box=later.box, score=later.score)


def _box(units: Iterable[int]) -> Box:
    return Box(*(value / PIXEL_UNITS for value in units))


def _score(units: int) -> float:
    return units / SCORE_UNITS
