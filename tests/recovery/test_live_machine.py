"""A live run in which anything happens at any moment."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from shared.config import Config
from tests.recovery.live_run import LiveRun
from tests.recovery.machine import SURE, RecoveryMachine, settings_of

RETENTION_S = 600.0


class LiveMachine(RecoveryMachine):
    """With messages on their way, a store that is killed, and retention."""

    run: LiveRun

    def begin_run(self) -> LiveRun:
        config = Config(retention_days=RETENTION_S / 86_400, max_track_age=3.0, similarity_threshold=SURE)
        return LiveRun(self.folder, config, self.decisions.confirm)

    @rule(count=st.integers(1, 30))
    def deliver(self, count: int) -> None:
        self.run.deliver(count)

    @rule()
    def commit_what_has_arrived(self) -> None:
        self.run.commit(deliver=False)
        self.check_what_is_stored()

    @rule()
    def kill_store(self) -> None:
        self.run.kill_store()

    @rule()
    @precondition(lambda self: self.run.core is not None)
    def erase_what_is_old(self) -> None:
        self.run.erase_before(self.clock_ns - round(RETENTION_S * 1e9))


LiveMachine.TestCase.settings = settings_of(25)
TestLiveRun = LiveMachine.TestCase
