"""A program's own tracker in which anything happens at any moment."""

from __future__ import annotations

from shared.config import Config
from tests.recovery.library_run import LibraryRun
from tests.recovery.machine import SURE, RecoveryMachine, settings_of


class LibraryMachine(RecoveryMachine):
    """With programs that are killed, or close their tracker."""

    run: LibraryRun

    def begin_run(self) -> LibraryRun:
        return LibraryRun(
            self.folder, Config(max_track_age=3.0, similarity_threshold=SURE), self.decisions.confirm
        )


LibraryMachine.TestCase.settings = settings_of(25)
TestLibraryRun = LibraryMachine.TestCase
