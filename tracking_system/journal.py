"""What the library's tracker decides, kept in the same database that the store service writes."""

from __future__ import annotations

import logging
import time
from collections import deque
from pathlib import Path

from services.store.database import DatabaseManager, Sequenced
from services.tracker.core import TrackerCore
from shared.config import CameraConfig, Config
from shared.errors import StorageError
from shared.messages import Checkpoint, End, IdentityEvent, Message, Tracks
from shared.private_files import make_private_folder

log = logging.getLogger(__name__)

_OWN_STREAM = 0
_COMMIT_EVERY_S = 0.5


class Journal:
    """Gathers updates and commits them every half second; used from one thread at a time.

    A disk that refuses is logged, and the newest `config.outbox` updates are tried again.  Raises
    StorageError where the database cannot be opened.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        try:
            make_private_folder(folder)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {error.strerror}") from None
        self._database = DatabaseManager(folder)
        self._config = config
        self._session = time.time_ns()
        self._numbers: dict[int, int] = {}
        self._last: dict[int, Tracks] = {}
        self._pending: deque[Sequenced] = deque(maxlen=config.outbox)
        self._next_commit_s = 0.0
        self._refused = False

    def core(self) -> TrackerCore:
        """The tracker as the last process on this database left it, or a new one."""
        checkpoint = self._database.checkpoint()
        if checkpoint is None:
            return TrackerCore(self._config)
        return TrackerCore.restore(self._config, checkpoint.state, checkpoint.identities)

    def register(self, camera: CameraConfig) -> None:
        """Take in a camera and what it is called."""
        self._database.set_cameras({camera.id: camera})

    def write(self, tracks: Tracks) -> None:
        """Keep one frame's tracks."""
        self._last[tracks.stamp.camera] = tracks
        self._put(tracks.stamp.camera, tracks.stamp.session, tracks)
        if time.monotonic() >= self._next_commit_s:
            self._next_commit_s = time.monotonic() + _COMMIT_EVERY_S
            self._commit()

    def event(self, event: IdentityEvent) -> None:
        """Keep an operator's decision, at once."""
        self._put(_OWN_STREAM, self._session, event)
        self._commit()

    def close(self, core: TrackerCore) -> None:
        """End all cameras and keep what the tracker must remember; raises StorageError if that fails."""
        for camera, tracks in self._last.items():
            frames = self._numbers[camera]
            end = core.end(End(tracks.stamp, "stopped", frames=frames))
            self._put(camera, tracks.stamp.session, end)
        state, identities = core.snapshot()
        self._put(_OWN_STREAM, self._session, Checkpoint({}, state, identities))
        try:
            self._database.commit(list(self._pending))
        finally:
            self._database.close()

    def _put(self, stream: int, session: int, message: Message) -> None:
        number = self._numbers.get(stream, 0)
        self._numbers[stream] = number + 1
        self._pending.append((stream, session, number, message))

    def _commit(self) -> None:
        try:
            self._database.commit(list(self._pending))
        except StorageError as error:
            if not self._refused:
                log.error("%s; the newest %d updates are kept and tried again", error, self._pending.maxlen)
            self._refused = True
            return
        self._refused = False
        self._pending.clear()
