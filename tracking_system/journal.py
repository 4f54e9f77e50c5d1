"""What a tracker in this process decides, kept in the same database that the store service writes."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from services.store.database import DatabaseManager, Sequenced
from services.tracker.core import TrackerCore
from shared.config import CameraConfig, Config
from shared.errors import StorageError
from shared.folder_lock import FolderLock
from shared.messages import Checkpoint, End, IdentityEvent, Message, Tracks

log = logging.getLogger(__name__)

_OWN_STREAM = 0
_COMMIT_EVERY_S = 0.5
_COST_RATIO = 9.0
"""The pause between two commits is at least so many times as long as a commit takes: a tenth of the time."""


class Journal:
    """The tracker of a data folder and the only writer of its database; used from one thread at a time.

    A commit holds the results since the last one together with the tracker's state behind them, so that the
    database is consistent whenever this process ends, and no number is given out twice.  When the disk
    refuses, everything is tried again with the next frame; of the results the newest `config.outbox` are
    kept, and those that are given up are counted and logged.

    core: the tracker as the last process on this folder left it, or a new one.

    Raises StorageError where the database cannot be opened or another process writes the folder.
    """

    def __init__(self, folder: Path, config: Config, owner: str) -> None:
        """owner: what other programs are told of this process, such as "tracking-system name"."""
        self._lock = FolderLock(folder, owner)
        self._lock.acquire()
        try:
            self._database = DatabaseManager(folder)
            self.core = self._recalled(config)
        except BaseException:
            self._lock.release()
            raise
        self._outbox = config.outbox
        self._session = time.time_ns()
        self._numbers: dict[int, int] = {}
        self._last: dict[int, Tracks] = {}
        self._results: list[Sequenced] = []
        self._events: list[IdentityEvent] = []
        self._identities: dict[int, bytes] = {}
        self._next_commit_s = 0.0
        self._failing = False
        self._given_up = 0

    def _recalled(self, config: Config) -> TrackerCore:
        checkpoint = self._database.checkpoint()
        self._positions = {} if checkpoint is None else checkpoint.positions
        core = (
            TrackerCore(config)
            if checkpoint is None
            else TrackerCore.restore(config, checkpoint.state, checkpoint.identities)
        )
        core.begin_after(*self._database.newest_numbers())
        return core

    def register(self, camera: CameraConfig) -> None:
        """Take in a camera and what it is called."""
        self._database.set_cameras({camera.id: camera})

    def write(self, tracks: Tracks) -> None:
        """Keep one frame's tracks."""
        self._last[tracks.stamp.camera] = tracks
        self._put(tracks.stamp.camera, tracks.stamp.session, tracks)
        if time.monotonic() >= self._next_commit_s or self.core.reserve_is_low:
            self._try_to_commit()

    def recall(self, identity: int) -> None:
        """Let the tracker know a person again whom only the database knows; nothing for everybody else."""
        if not self.core.knows(identity) and self._database.has_identity(identity):
            self.core.recall(identity)

    def event(self, event: IdentityEvent) -> None:
        """Keep an operator's decision; on return it is on the disk.

        Raises StorageError where the disk refuses: the decision is in effect and is tried again.
        """
        self._events.append(event)
        try:
            self._commit(reserve=True)
        except StorageError as error:
            self._failed(error)
            raise StorageError(f"the decision is in effect but not on the disk yet: {error}") from None

    def close(self) -> None:
        """End all cameras and keep the tracker's state; raises StorageError if that fails."""
        for camera, tracks in self._last.items():
            end = self.core.end(End(tracks.stamp, "stopped", frames=self._numbers[camera]))
            self._put(camera, tracks.stamp.session, end)
        try:
            self._commit(reserve=False)
        finally:
            self._database.close()
            self._lock.release()

    def _put(self, stream: int, session: int, message: Message) -> None:
        number = self._numbers.get(stream, 0)
        self._numbers[stream] = number + 1
        self._results.append((stream, session, number, message))

    def _try_to_commit(self) -> None:
        began_s = time.monotonic()
        try:
            self._commit(reserve=True)
        except StorageError as error:
            self._failed(error)
        cost_s = time.monotonic() - began_s
        self._next_commit_s = began_s + cost_s + max(_COMMIT_EVERY_S, _COST_RATIO * cost_s)

    def _commit(self, *, reserve: bool) -> None:
        state, identities = self.core.snapshot(reserve=reserve)
        self._identities.update(identities)
        checkpoint = Checkpoint(self._positions, state, dict(self._identities), tuple(self._events))
        number = self._numbers.get(_OWN_STREAM, 0)
        self._database.commit([*self._results, (_OWN_STREAM, self._session, number, checkpoint)])
        self._numbers[_OWN_STREAM] = number + 1
        self._results.clear()
        self._events.clear()
        self._identities.clear()
        if self._failing:
            log.info("the database takes writes again; %d results were given up meanwhile", self._given_up)
        self._failing, self._given_up = False, 0

    def _failed(self, error: StorageError) -> None:
        if not self._failing:
            log.error("%s; tried again with every frame, the newest %d results are kept", error, self._outbox)
        self._failing = True
        surplus = len(self._results) - self._outbox
        if surplus > 0:
            self._given_up += surplus
            del self._results[:surplus]
