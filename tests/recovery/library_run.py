"""A program's own tracker on a data folder, which ends in any way and at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.tracker.core import TrackerCore
from shared.config import Config
from shared.messages import IdentityEvent, People, Tracks
from tracking_system.journal import Journal


class LibraryRun:
    """`MultiCameraTracker` without its networks.

    confirmed: called with every decision that is on the disk.  largest_bytes: of all states so far.
    """

    def __init__(self, folder: Path, config: Config, confirmed: Callable[[IdentityEvent], None]) -> None:
        self.largest_bytes = 0
        self.now_s = 0.0
        self._folder = folder
        self._config = config
        self._confirmed = confirmed
        self._journal: Journal | None = None
        self.start_tracker()

    @property
    def core(self) -> TrackerCore | None:
        """The tracker; None while no program runs."""
        return None if self._journal is None else self._journal.core

    def start_tracker(self) -> None:
        """Another program begins."""
        self._journal = Journal(self._folder, self._config, "a test")

    def kill_tracker(self) -> None:
        """The program is killed."""
        assert self._journal is not None
        self._journal._database.close()
        self._journal._lock.release()
        self._journal = None

    def stop_tracker(self) -> None:
        """The program closes its tracker."""
        assert self._journal is not None
        self._journal.close()
        self._journal = None

    def frame(self, people: People) -> Tracks:
        """A frame; behind a program's first one nothing is committed because of the time that passes."""
        assert self._journal is not None
        tracks = self._journal.core.process(people)
        self._journal.write(tracks)
        self._journal._next_commit_s = float("inf")
        return tracks

    def commit(self) -> None:
        """It is time to commit."""
        if self._journal is not None:
            self._journal._try_to_commit()
            self.largest_bytes = max(self.largest_bytes, len(self._journal.core.snapshot()[0]))

    @contextmanager
    def deciding(self, *identities: int) -> Iterator[TrackerCore]:
        """The tracker for a decision about people, of whom the database may have to remind it."""
        assert self._journal is not None
        for identity in identities:
            self._journal.recall(identity)
        yield self._journal.core

    def decided(self, event: IdentityEvent) -> None:
        """Keep a decision."""
        assert self._journal is not None
        self._journal.event(event)
        self._confirmed(event)

    def close(self) -> None:
        """Nothing runs any more."""
