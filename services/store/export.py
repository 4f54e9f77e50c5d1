"""A run's history as files for other programs; the same content gives the same bytes.

mot: MOTChallenge text, one file a camera (`cam1.txt`, ...), rows `frame, identity, x, y, width, height,
    score, -1, -1, -1`.  Frames count from 1; the sessions of a live camera follow one another in one
    numbering.  Only people who were observed (not predicted) and have an identity.
csv: everything, one row an observation, in `observations.csv`.
json: the people and their sightings, in `people.json`.

An identity is the settled one, which later evidence may have corrected; `mot` can have the one that was
shown while the frame was live instead, and `csv` has both.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from services.store.connection import storage_errors
from services.store.history import Box, History, title
from services.store.migrations import TRUE_ROWS
from shared.errors import StorageError

_FRAMES_AT_ONCE = 500

_CSV_COLUMNS = (
    "time",
    "camera",
    "camera_name",
    "session",
    "frame_index",
    "track",
    "identity",
    "identity_shown",
    "name",
    "x0",
    "y0",
    "x1",
    "y1",
    "score",
    "observed",
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    rows: observations (mot, csv) or people (json).
    left_out: mot rows whose identity was in the frame twice, after two tracks turned out to be one
        person's; the one with the lower score is left out.
    """

    files: tuple[Path, ...]
    rows: int
    left_out: int = 0


def export(folder: Path, file_format: str, out: Path, *, online: bool = False) -> Exported:
    """Write the run in the data folder `folder` to files in the folder `out`.

    online: identities as they were shown while the frames were live, nobody where none was shown yet;
    `mot` alone.  Raises StorageError where there is no run, the format is unknown or cannot be online, or
    `out` cannot be written.
    """
    write = FORMATS.get(file_format)
    if write is None:
        raise StorageError(f"unknown format {file_format!r}: known are {', '.join(FORMATS)}")
    if online:
        if file_format != "mot":
            raise StorageError(f"{file_format} cannot be exported online: {_NOT_ONLINE[file_format]}")
        write = _export_mot_online
    with History(folder) as history, storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        return write(history, out)


def iso_time(t_ns: int) -> str:
    """UTC nanoseconds as ISO 8601 with all nine digits: 2024-05-01T12:00:00.040000000Z."""
    seconds, nanoseconds = divmod(t_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _export_mot(history: History, out: Path) -> Exported:
    return _export_mot_by(history, out, "t.identity", f"{TRUE_ROWS} AND (o.observed OR o.settled)")


def _export_mot_online(history: History, out: Path) -> Exported:
    return _export_mot_by(history, out, "nullif(o.shown, 0)", "o.observed")


def _export_mot_by(history: History, out: Path, identity: str, which: str) -> Exported:
    """identity: the SQL expression of an observation's identity, NULL where it has none.

    which: the condition of the observations wanted.
    """
    files: list[Path] = []
    rows = left_out = 0
    for camera in history.cameras():
        path = out / f"cam{camera}.txt"
        with _replacing(path) as file:
            offset = 1
            for key, frames in _sessions(history, camera):
                written, duplicates = _write_mot_session(history, key, (identity, which), offset, file)
                rows, left_out, offset = rows + written, left_out + duplicates, offset + frames
        files.append(path)
    return Exported(tuple(files), rows, left_out)


def _write_mot_session(
    history: History, session_key: int, wanted: tuple[str, str], offset: int, file: TextIO
) -> tuple[int, int]:
    identity_of, which = wanted
    written = left_out = 0
    for low, high in _frame_ranges(history, session_key):
        rows = history.select(
            f"SELECT f.frame_index, {identity_of} AS who, o.x0, o.y0, o.x1, o.y1, o.score FROM frames f "
            "JOIN observations o USING (frame) JOIN tracks t USING (track) WHERE f.session_key = ? "
            f"AND f.frame_index BETWEEN ? AND ? AND {which} AND who IS NOT NULL "
            "ORDER BY f.frame_index, who, o.score DESC, o.track",
            session_key,
            low,
            high,
        )
        previous = None
        for frame_index, identity, x0, y0, x1, y1, score in rows:
            if (frame_index, identity) == previous:
                left_out += 1
                continue
            previous = (frame_index, identity)
            place = ",".join(_decimal(value, 2) for value in (x0, y0, x1 - x0, y1 - y0))
            file.write(f"{frame_index + offset},{identity},{place},{_decimal(score, 4)},-1,-1,-1\n")
            written += 1
    return written, left_out


def _export_csv(history: History, out: Path) -> Exported:
    path = out / "observations.csv"
    rows = 0
    with _replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        for number, camera in history.cameras().items():
            for key, _ in _sessions(history, number):
                for row in _csv_rows(history, key):
                    t_ns, session, frame_index, track, identity, shown, name, *box, score, observed = row
                    when = (iso_time(t_ns), number, camera.title, session, frame_index)
                    who = (track, identity or "", shown or "", name or "")
                    where = (_decimal(value, 2) for value in box)
                    writer.writerow((*when, *who, *where, _decimal(score, 4), observed))
                    rows += 1
    return Exported((path,), rows)


def _csv_rows(history: History, session_key: int) -> Iterator[tuple[Any, ...]]:
    for low, high in _frame_ranges(history, session_key):
        yield from history.select(
            "SELECT f.t_ns, s.session, f.frame_index, o.track, t.identity, o.shown, i.name, "
            "o.x0, o.y0, o.x1, o.y1, o.score, o.observed FROM frames f "
            "JOIN sessions s USING (session_key) JOIN observations o USING (frame) "
            "JOIN tracks t USING (track) LEFT JOIN identities i USING (identity) "
            f"WHERE f.session_key = ? AND f.frame_index BETWEEN ? AND ? AND {TRUE_ROWS} "
            "ORDER BY f.frame_index, o.track",
            session_key,
            low,
            high,
        )


def _export_json(history: History, out: Path) -> Exported:
    path = out / "people.json"
    people = [
        {
            "identity": person.identity,
            "name": person.name,
            "followed": person.followed,
            "first_seen": None if person.first_ns is None else iso_time(person.first_ns),
            "last_seen": None if person.last_ns is None else iso_time(person.last_ns),
            "sightings": [
                {
                    "camera": sighting.camera,
                    "camera_name": sighting.camera_name,
                    "first": iso_time(sighting.first_ns),
                    "last": iso_time(sighting.last_ns),
                    "last_box": _rounded(sighting.box),
                    "last_score": sighting.score,
                }
                for sighting in history.sightings(person.identity)
            ],
        }
        for person in history.identities()
    ]
    cameras = [{"camera": number, "name": title(number, c.name)} for number, c in history.cameras().items()]
    with _replacing(path) as file:
        json.dump({"cameras": cameras, "people": people}, file, indent=1, ensure_ascii=False)
        file.write("\n")
    return Exported((path,), len(people))


FORMATS: dict[str, Callable[[History, Path], Exported]] = {
    "mot": _export_mot,
    "csv": _export_csv,
    "json": _export_json,
}

_NOT_ONLINE = {
    "csv": "its column identity_shown has them beside the settled ones",
    "json": "it tells of people as they are settled",
}


def _sessions(history: History, camera: int) -> list[tuple[int, int]]:
    """The sessions of a camera in order, as (key, frame numbers they take)."""
    return history.select(
        "SELECT s.session_key, coalesce(max(f.frame_index) + 1, 0) FROM sessions s "
        "LEFT JOIN frames f USING (session_key) WHERE s.camera = ? GROUP BY s.session_key "
        "ORDER BY s.first_ns, s.session",
        camera,
    )


def _frame_ranges(history: History, session_key: int) -> Iterator[tuple[int, int]]:
    """Short inclusive ranges of frame indices: no query lasts long enough to hold up the writer's log."""
    low = 0
    while True:
        ((high,),) = history.select(
            "SELECT max(frame_index) FROM (SELECT frame_index FROM frames WHERE session_key = ? "
            "AND frame_index >= ? ORDER BY frame_index LIMIT ?)",
            session_key,
            low,
            _FRAMES_AT_ONCE,
        )
        if high is None:
            return
        yield low, high
        low = high + 1


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its name only when it is complete."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")  # two exports may write to one folder
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _decimal(units: int, digits: int) -> str:
    """A whole number of 1/10**digits as a decimal, without going through a float."""
    sign, (whole, rest) = "-" if units < 0 else "", divmod(abs(units), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}"


def _rounded(box: Box) -> list[float]:
    return [round(value, 2) for value in box]
