"""A run's history as files for other programs; the same content gives the same bytes.

mot: MOTChallenge text, one file a camera (`cam1.txt`, ...), rows `frame, identity, x, y, width, height,
    score, -1, -1, -1`.  Frames count from 1; the sessions of a live camera follow one another in one
    numbering.  Only people who were observed (not predicted) and have an identity.
csv: everything, one row an observation, in `observations.csv`; predicted boxes too.
json: the people and their sightings, in `people.json`.

The history is exported as it turned out: settled boxes, and identities that later evidence may have
corrected.  Exported online, `mot` and `csv` have exactly what was shown while the frames were live, nothing
that came later.

Names in a CSV file that a spreadsheet would take for a formula begin with an apostrophe.
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
from services.store.history import Box, History, Identity, title
from shared.errors import StorageError
from shared.text import spreadsheet_cell

_FRAMES_AT_ONCE = 500

_FRAME_COLUMNS = ("time", "camera", "camera_name", "session", "frame_index", "track")
_BOX_COLUMNS = ("x0", "y0", "x1", "y1", "score", "observed")
_CSV_COLUMNS = (*_FRAME_COLUMNS, "identity", "identity_shown", "name", *_BOX_COLUMNS)
_CSV_COLUMNS_ONLINE = (*_FRAME_COLUMNS, "identity", *_BOX_COLUMNS)


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

    online: boxes and identities as they were shown while the frames were live; `mot` and `csv` alone.
    Raises StorageError where there is no run, the format is unknown or cannot be online, or `out` cannot be
    written.
    """
    if file_format not in FORMATS:
        raise StorageError(f"unknown format {file_format!r}: known are {', '.join(FORMATS)}")
    write = (_ONLINE_FORMATS if online else FORMATS).get(file_format)
    if write is None:
        raise StorageError(
            f"{file_format} cannot be exported online, for it tells of people as they are settled: "
            f"use {' or '.join(_ONLINE_FORMATS)}"
        )
    with History(folder) as history, storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        return write(history, out)


def iso_time(t_ns: int) -> str:
    """UTC nanoseconds as ISO 8601 with all nine digits: 2024-05-01T12:00:00.040000000Z."""
    seconds, nanoseconds = divmod(t_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _export_mot(history: History, out: Path) -> Exported:
    # What has not turned out yet counts where somebody was observed, as online.
    return _export_mot_by(
        history,
        out,
        "SELECT f.frame_index, t.identity AS who, o.x0, o.y0, o.x1, o.y1, o.score FROM frames f "
        "JOIN settled_observations o USING (frame) JOIN tracks t USING (track) "
        "WHERE (o.observed OR o.settled)",
    )


def _export_mot_online(history: History, out: Path) -> Exported:
    return _export_mot_by(
        history,
        out,
        "SELECT f.frame_index, nullif(o.shown, 0) AS who, o.x0, o.y0, o.x1, o.y1, o.score FROM frames f "
        "JOIN shown_observations o USING (frame) WHERE o.observed",
    )


def _export_mot_by(history: History, out: Path, rows_of: str) -> Exported:
    """rows_of: the query of all rows (frame index, identity or NULL, box, score)."""
    files: list[Path] = []
    rows = left_out = 0
    for camera in history.cameras():
        path = out / f"cam{camera}.txt"
        with _replacing(path) as file:
            offset = 1
            for key, frames in _sessions(history, camera):
                written, duplicates = _write_mot_session(history, key, rows_of, offset, file)
                rows, left_out, offset = rows + written, left_out + duplicates, offset + frames
        files.append(path)
    return Exported(tuple(files), rows, left_out)


def _write_mot_session(
    history: History, session_key: int, rows_of: str, offset: int, file: TextIO
) -> tuple[int, int]:
    written = left_out = 0
    for low, high in _frame_ranges(history, session_key):
        rows = history.select(
            f"{rows_of} AND f.session_key = ? AND f.frame_index BETWEEN ? AND ? AND who IS NOT NULL "
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
    return _export_csv_by(
        history,
        out,
        _CSV_COLUMNS,
        "SELECT f.t_ns, s.session, f.frame_index, o.x0, o.y0, o.x1, o.y1, o.score, o.observed, o.track, "
        "nullif(t.identity, 0), nullif(o.shown, 0), i.name FROM frames f JOIN sessions s USING (session_key) "
        "JOIN settled_observations o USING (frame) JOIN tracks t USING (track) "
        "LEFT JOIN identities i USING (identity)",
    )


def _export_csv_online(history: History, out: Path) -> Exported:
    return _export_csv_by(
        history,
        out,
        _CSV_COLUMNS_ONLINE,
        "SELECT f.t_ns, s.session, f.frame_index, o.x0, o.y0, o.x1, o.y1, o.score, o.observed, o.track, "
        "nullif(o.shown, 0) FROM frames f JOIN sessions s USING (session_key) "
        "JOIN shown_observations o USING (frame)",
    )


def _export_csv_by(history: History, out: Path, columns: tuple[str, ...], rows_of: str) -> Exported:
    """rows_of: the query of all rows (time, session, frame index, box, score, observed, track, who...)."""
    path = out / "observations.csv"
    rows = 0
    with _replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for number, camera in history.cameras().items():
            camera_name = spreadsheet_cell(camera.title)
            for key, _ in _sessions(history, number):
                for t_ns, session, frame_index, *box, score, observed, who in _csv_rows(
                    history, key, rows_of
                ):
                    when = (iso_time(t_ns), number, camera_name, session, frame_index)
                    where = (_decimal(value, 2) for value in box)
                    writer.writerow((*when, *who, *where, _decimal(score, 4), observed))
                    rows += 1
    return Exported((path,), rows)


def _csv_rows(history: History, session_key: int, rows_of: str) -> Iterator[tuple[Any, ...]]:
    for low, high in _frame_ranges(history, session_key):
        for row in history.select(
            f"{rows_of} WHERE f.session_key = ? AND f.frame_index BETWEEN ? AND ? "
            "ORDER BY f.frame_index, o.track",
            session_key,
            low,
            high,
        ):
            who = (spreadsheet_cell(each) if isinstance(each, str) else each for each in row[9:])
            yield (*row[:9], who)


def _export_json(history: History, out: Path) -> Exported:
    path = out / "people.json"
    cameras = [{"camera": number, "name": title(number, c.name)} for number, c in history.cameras().items()]
    written = 0
    with _replacing(path) as file:
        # A person at a time, as `json.dump` would write all of them at once.
        file.write(f'{{\n "cameras": {_indented(cameras, 1)},\n "people": [')
        for person in history.each_identity():
            file.write(f"{',' if written else ''}\n  {_indented(_json_person(history, person), 2)}")
            written += 1
        file.write("\n ]\n}\n" if written else "]\n}\n")
    return Exported((path,), written)


def _json_person(history: History, person: Identity) -> dict[str, Any]:
    return {
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


def _indented(value: Any, depth: int) -> str:
    """JSON as a part of a document, `depth` levels deep."""
    return json.dumps(value, indent=1, ensure_ascii=False).replace("\n", "\n" + " " * depth)


FORMATS: dict[str, Callable[[History, Path], Exported]] = {
    "mot": _export_mot,
    "csv": _export_csv,
    "json": _export_json,
}

_ONLINE_FORMATS: dict[str, Callable[[History, Path], Exported]] = {
    "mot": _export_mot_online,
    "csv": _export_csv_online,
}


def _sessions(history: History, camera: int) -> list[tuple[int, int]]:
    """The sessions of a camera in order, as (key, frame numbers they take)."""
    return history.select(
        "SELECT session_key, coalesce((SELECT max(frame_index) + 1 FROM frames f WHERE f.session_key = "
        "s.session_key), 0) FROM sessions s WHERE camera = ? ORDER BY first_ns, session",
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
