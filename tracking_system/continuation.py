"""What a data folder already holds of the cameras that are to run on it.

A camera number stands for one camera in the whole history of a folder.  Another camera under a number that is
in use would put its people into the history of the first one, so it is refused before anything starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.ingest.folder import pictures_of
from services.ingest.recording import recorded_session
from services.ingest.source import local_path
from services.store.connection import DATABASE_NAME
from services.store.database import DatabaseManager
from services.store.history import History
from shared.config import CameraConfig
from shared.config_file import Setup, is_local, is_recorded
from shared.errors import ConfigError
from shared.redaction import redacted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A camera of the folder.  ends: of its sessions with frames, by session; None where more may come."""

    camera: CameraConfig
    ends: dict[int, str | None]


def continue_folder(setup: Setup, data: Path) -> bool:
    """See that the cameras go with what the folder holds, and say what has changed; whether work is left.

    Nothing is left where every camera is a recording that is in the database to its end.  Must be called
    while no store runs on the folder.  Raises ConfigError that names every camera whose number belongs to
    another one, StorageError where the database cannot be used.
    """
    if not (data / DATABASE_NAME).is_file():
        return True
    with DatabaseManager(data) as database:  # which brings an older database up to date
        with History(data) as history:
            stored = _stored(history)
            known = [(camera, stored[camera.id]) for camera in setup.cameras.values() if camera.id in stored]
            refusals = [text for camera, before in known for text in _refusal(camera, before, data)]
            if refusals:
                raise ConfigError("; ".join(refusals))
            for camera, before in known:
                for change in _changes(camera, before):
                    log.info("%s", change)
            left = len(known) < len(setup.cameras) or not all(
                _is_complete(camera, before, history) for camera, before in known
            )
        if not left:
            database.set_cameras(setup.cameras)  # names may have changed
    return left


def _stored(history: History) -> dict[int, _Stored]:
    """The cameras of which the folder has frames, by number."""
    cameras = history.cameras()
    stored: dict[int, _Stored] = {}
    for camera, session, ended in history.select(
        "SELECT camera, session, ended FROM sessions WHERE frames > 0"
    ):
        stored.setdefault(camera, _Stored(cameras[camera], {})).ends[session] = ended
    return stored


def _is_same_source(camera: CameraConfig, before: CameraConfig) -> bool:
    return redacted(camera.source) == before.source


def _refusal(camera: CameraConfig, before: _Stored, data: Path) -> Iterator[str]:
    """Why this camera may not have its number in this folder, if it may not."""
    both_live = not is_recorded(camera) and not is_recorded(before.camera) and bool(before.camera.source)
    if _is_same_source(camera, before.camera) or (both_live and not is_local(camera.source)):
        return
    if is_recorded(camera) and recorded_session(camera) in before.ends:
        return
    yield (
        f"camera {camera.id} is {redacted(camera.source)}, but in {data} it is "
        f"{before.camera.source or 'a camera of another program'}: choose another folder with --data, or "
        "another id for this camera"
    )


def _changes(camera: CameraConfig, before: _Stored) -> Iterator[str]:
    """What is different from the last time, in sentences."""
    was = before.camera
    if camera.name != was.name:
        yield f"camera {camera.id} is called {camera.title!r} now, and was {was.title!r}"
    if is_recorded(camera):
        if recorded_session(camera) not in before.ends:
            yield (
                f"{camera.title}: {camera.source} is not the recording that is stored, or has another start "
                "or fps: it is processed as a new one beside it"
            )
        elif not _is_same_source(camera, was):
            yield f"{camera.title}: the recording {was.source} is at {camera.source} now"
    elif not _is_same_source(camera, was):
        yield f"{camera.title}: the address is {redacted(camera.source)} now, and was {was.source}"


def _is_complete(camera: CameraConfig, before: _Stored, history: History) -> bool:
    """Whether all of a recording is in the database."""
    if not is_recorded(camera):
        return False
    session = recorded_session(camera)
    if before.ends.get(session) != "finished":
        return False
    path = local_path(camera.source)
    if not path.is_dir():
        return True
    last = history.select(
        "SELECT max(frame_index) FROM frames JOIN sessions USING (session_key) "
        "WHERE camera = ? AND session = ?",
        camera.id,
        session,
    )
    return last == [(len(pictures_of(path)) - 1,)]
