"""Which recording a source is, and when it begins: both the same whenever it is sent again.

A recording is known by its content, not by its path or by when it was last modified: moved, copied or
touched it is still the same, and another video under the same name is another one.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from services.ingest.folder import DEFAULT_FPS, pictures_of
from services.ingest.source import local_path
from shared.config import CameraConfig
from shared.config_file import is_local, is_recorded
from shared.limits import LATEST_START_NS

log = logging.getLogger(__name__)

STARTS_FOLDER = "starts"
"""In the data folder: one small file for each recording, with the start that it was first given."""

_SAMPLE_BYTES = 64 * 1024
"""Of the head and of the tail of a file.  A video's index and first or last pictures lie there, so that two
videos of one size do not agree in both."""


def recorded_session(camera: CameraConfig) -> int:
    """The session of a recorded source: a hash of its content and settings, 63 bits.

    A file counts by its size, head and tail; a folder by the name and content of its first picture, so that
    it may grow.  Of the settings those count that change the times of frames: `start` where it is given, and
    `fps` of a folder.  What cannot be read counts by its path.
    """
    digest = hashlib.sha256()
    path = local_path(camera.source)
    try:
        if path.is_dir():
            first = pictures_of(path)[0]
            digest.update(f"folder\n{camera.fps or DEFAULT_FPS}\n{first.name}\n".encode())
            _add_content(digest, first)
        else:
            digest.update(b"file\n")
            _add_content(digest, path)
    except (OSError, ValueError, IndexError):
        digest.update(f"unreadable\n{camera.source}\n".encode("utf-8", "surrogateescape"))
    digest.update(f"\nstart {camera.start_ns}".encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def _add_content(digest: hashlib._Hash, path: Path) -> None:
    if not path.is_file():
        raise OSError("not a file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(f"{size}\n".encode())
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, size - _SAMPLE_BYTES))
        digest.update(file.read(_SAMPLE_BYTES))


def start_of(camera: CameraConfig, cameras: Mapping[int, CameraConfig], data: Path) -> int:
    """When a recording's first frame was taken, UTC nanoseconds.

    What `start` says.  Else what this data folder remembers of the recording, and for one that it does not
    know yet the start of those cameras of `cameras` that it knows (of one shoot, one start); else the oldest
    modification time of all recorded sources, which is remembered from then on.
    """
    if camera.start_ns is not None:
        return camera.start_ns
    own = _remembered(camera, data)
    if own is not None:
        return own
    recorded = [each for each in cameras.values() if is_recorded(each)]
    others = (_remembered(each, data) for each in recorded if each.start_ns is None)
    start_ns = min((each for each in others if each is not None), default=None)
    if start_ns is None:
        start_ns = _oldest_modification_ns(recorded)
    _remember(camera, data, start_ns)
    return start_ns


def _file_of(camera: CameraConfig, data: Path) -> Path:
    return data / STARTS_FOLDER / f"{camera.id}-{recorded_session(camera):016x}"


def _remembered(camera: CameraConfig, data: Path) -> int | None:
    try:
        start_ns = int(_file_of(camera, data).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return start_ns if 0 <= start_ns <= LATEST_START_NS else None


def _remember(camera: CameraConfig, data: Path, start_ns: int) -> None:
    path = _file_of(camera, data)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(f"{start_ns}\n", encoding="ascii")
        unfinished.replace(path)
    except OSError as error:
        log.warning(
            "%s: the recording's start cannot be kept in %s (%s); give the camera a `start:`, or a later run "
            "may give other times",
            camera.title,
            path.parent,
            error.strerror,
        )


def _oldest_modification_ns(cameras: Iterable[CameraConfig]) -> int:
    """The oldest modification time of recorded sources in whole microseconds, as in a date; 0 without any."""
    times_ns = []
    for camera in cameras:
        if not is_local(camera.source):
            continue
        try:
            times_ns.append(_modified_ns(Path(camera.source)))
        except (OSError, ValueError):
            continue  # it lies on another machine
    return max(0, min(LATEST_START_NS, min(times_ns, default=0))) // 1000 * 1000


def _modified_ns(path: Path) -> int:
    """When a file, or the oldest file of a folder, was last modified."""
    if path.is_dir():
        times_ns = [each.stat().st_mtime_ns for each in path.iterdir() if each.is_file()]
        if times_ns:
            return min(times_ns)
    return path.stat().st_mtime_ns
