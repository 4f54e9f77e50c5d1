"""What happens to any run, and what must always hold: no number means two people, no decision is lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.store.history import History
from shared.errors import TrackingError
from shared.messages import Tracks
from tests.recovery.decisions import Decisions
from tests.recovery.library_run import LibraryRun
from tests.recovery.live_run import LiveRun
from tests.recovery.world import (
    FPS,
    PEOPLE,
    frame_of,
    only_right_links,
    person_at,
    persons_of_identities,
    persons_of_tracks,
)
from tests.tracker.scene import START_NS

SURE = 0.99
"""The similarity threshold: what is tried is not whom the tracker takes for whom."""

MOST_BYTES = 1 << 20
"""Far above what a handful of people take: what grows with every frame passes it soon."""

persons = st.sets(st.integers(0, PEOPLE - 1), min_size=1, max_size=4)


class RecoveryMachine(RuleBasedStateMachine):
    """Frames, commits, crashes, decisions, cameras that come and clocks that are set."""

    run: LiveRun | LibraryRun

    @initialize()
    def begin(self) -> None:
        self.links = ExitStack()
        self.links.enter_context(only_right_links())
        self.folder = Path(tempfile.mkdtemp())
        self.decisions = Decisions()
        self.run = self.begin_run()
        self.cameras = {1: 1}
        self.indices = {1: 0}
        self.clock_ns = START_NS
        self.sessions = 1
        self.tracks_seen: dict[int, int] = {}
        self.identities_seen: dict[int, set[int]] = {}

    def begin_run(self) -> LiveRun | LibraryRun:
        raise NotImplementedError

    # -- frames -----------------------------------------------------------------------------------

    @rule(here=persons, count=st.integers(10, 25), camera=st.integers(0, 2))
    @precondition(lambda self: self.run.core is not None)
    def people_stay(self, here: set[int], count: int, camera: int) -> None:
        self.frames(here, count, camera)

    @rule(here=persons, count=st.integers(10, 25), camera=st.integers(0, 2))
    @precondition(lambda self: self.run.core is not None)
    def people_come_and_all_is_stored(self, here: set[int], count: int, camera: int) -> None:
        self.frames(here, count, camera)
        self.commit()

    @rule(here=persons, count=st.integers(10, 25), camera=st.integers(0, 2))
    @precondition(lambda self: self.run.core is not None)
    def people_come_and_one_is_named(self, here: set[int], count: int, camera: int) -> None:
        self.people_come_and_all_is_stored(here, count, camera)
        self.decide("name", count)

    @rule(camera=st.integers(0, 2), count=st.integers(1, 25))
    @precondition(lambda self: self.run.core is not None)
    def nobody_is_there(self, camera: int, count: int) -> None:
        self.frames(set(), count, camera)

    def frames(self, here: set[int], count: int, camera: int) -> None:
        number = sorted(self.cameras)[camera % len(self.cameras)]
        for _ in range(count):
            self.pass_time(1 / FPS)
            tracks = self.run.frame(
                frame_of(
                    here,
                    camera=number,
                    session=self.cameras[number],
                    index=self.indices[number],
                    t_ns=self.clock_ns,
                )
            )
            self.indices[number] += 1
            self.see(tracks)

    @rule(seconds=st.sampled_from([1.0, 5.0, 130.0, 700.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock_ns += round(seconds * 1e9)
        self.run.now_s += seconds

    @rule()
    @precondition(lambda self: len(self.cameras) < 3)
    def add_camera(self) -> None:
        number = max(self.cameras) + 1
        self.sessions += 1
        self.cameras[number], self.indices[number] = self.sessions, 0

    @rule(camera=st.integers(0, 2))
    def replace_camera(self, camera: int) -> None:
        number = sorted(self.cameras)[camera % len(self.cameras)]
        self.sessions += 1
        self.cameras[number], self.indices[number] = self.sessions, 0

    @rule(seconds=st.sampled_from([-3600.0, -20.0, 3600.0]))
    def set_clock(self, seconds: float) -> None:
        """As the ingests tell it: every camera begins a new session."""
        self.clock_ns += round(seconds * 1e9)
        for number in self.cameras:
            self.sessions += 1
            self.cameras[number], self.indices[number] = self.sessions, 0

    # -- what the disk and the processes do ---------------------------------------------------------

    @rule()
    def commit(self) -> None:
        self.run.commit()
        self.check_what_is_stored()

    @rule()
    @precondition(lambda self: self.run.core is not None)
    def kill_tracker(self) -> None:
        self.run.kill_tracker()
        self.decisions.lose()

    @rule()
    @precondition(lambda self: self.run.core is not None)
    def stop_tracker(self) -> None:
        self.run.stop_tracker()
        self.check_what_is_stored()

    @rule()
    @precondition(lambda self: self.run.core is None)
    def start_tracker(self) -> None:
        self.run.start_tracker()
        self.check_what_is_remembered()

    # -- what operators do --------------------------------------------------------------------------

    @rule(choice=st.integers(0, 1 << 16))
    @precondition(lambda self: self.run.core is not None)
    def follow(self, choice: int) -> None:
        self.decide("follow", choice)

    @rule(choice=st.integers(0, 1 << 16))
    @precondition(lambda self: self.run.core is not None)
    def name(self, choice: int) -> None:
        self.decide("name", choice)

    @rule(choice=st.integers(0, 1 << 16))
    @precondition(lambda self: self.run.core is not None)
    def forget(self, choice: int) -> None:
        self.decide("forget", choice)

    @rule(choice=st.integers(0, 1 << 16), other=st.integers(0, 1 << 16))
    @precondition(lambda self: self.run.core is not None)
    def merge(self, choice: int, other: int) -> None:
        self.decide("merge", choice, other)

    @rule(choice=st.integers(0, 1 << 16))
    @precondition(lambda self: self.run.core is not None)
    def split(self, choice: int) -> None:
        self.decide("split", choice)

    def decide(self, kind: str, choice: int, other: int = 0) -> None:
        with History(self.folder) as history:
            seen = persons_of_identities(history)
        if not seen:
            return
        known = sorted(seen)
        identity, second = known[choice % len(known)], known[other % len(known)]
        try:
            with self.run.deciding(identity, *([second] if kind == "merge" else [])) as core:
                event = self.decisions.make(core, kind, identity, second, self.clock_ns)
        except TrackingError:
            return  # the person is not there any more, or it cannot be
        persons = seen[identity] | self.identities_seen.get(identity, set())
        if kind == "merge":
            persons |= seen[second] | self.identities_seen.get(second, set())
            self.identities_seen[identity] = persons  # retention may have erased where they were seen
            self.decisions.join(persons)
        elif kind == "name":
            self.decisions.note_name(event.value, persons)
        self.run.decided(event)

    # -- what must always hold ------------------------------------------------------------------------

    def see(self, tracks: Tracks) -> None:
        """What a viewer sees is as good as stored: somebody may have written the number down."""
        rows = zip(tracks.track_ids.tolist(), tracks.identity_ids.tolist(), tracks.boxes, strict=True)
        for track, identity, box in rows:
            person = person_at(float(box[0] + box[2]) / 2)
            assert self.tracks_seen.setdefault(track, person) == person, track
            if identity:
                persons = self.identities_seen.setdefault(identity, set())
                persons.add(person)
                assert self.decisions.may_be_one(persons), (identity, persons)

    @invariant()
    def messages_stay_small(self) -> None:
        assert self.run.largest_bytes < MOST_BYTES

    def check_what_is_stored(self) -> None:
        with History(self.folder) as history:
            tracks, identities = persons_of_tracks(history), persons_of_identities(history)
            self.decisions.check_stored(history.identities(), identities)
        assert all(len(seen) == 1 for seen in tracks.values()), tracks
        for identity, seen in identities.items():
            assert self.decisions.may_be_one(seen), (identity, seen)

    def check_what_is_remembered(self) -> None:
        core = self.run.core
        assert core is not None
        self.decisions.check_remembered(core)

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        try:
            if self.run.core is None:
                self.run.start_tracker()
            self.run.stop_tracker()
            self.check_what_is_stored()
        finally:
            self.run.close()
            self.links.close()
            shutil.rmtree(self.folder)


def settings_of(examples: int) -> settings:
    """How many runs are tried: the same ones each time, or as many as the environment variable says."""
    said = os.environ.get("RECOVERY_EXAMPLES")
    return settings(
        max_examples=examples if said is None else int(said),
        stateful_step_count=40,
        deadline=None,
        derandomize=said is None,
        suppress_health_check=list(HealthCheck),
    )
