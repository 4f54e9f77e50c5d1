"""What was given out and confirmed during a run that is killed again and again, and what has become of it.

Everything that was ever visible counts: numbers in the database, numbers that a viewer has received, and
numbers that were returned to a program.  A violation is counted once, however often it is found.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.crash_world import World
from services.store.history import History

Outcome = Literal["confirmed", "refused", "doubtful"]

_RECENT_NS = 10_000_000_000
"""An operator decides about people who were seen within this time."""

_PERSONS_OF_TRACKS = (
    "SELECT o.track, o.shown, s.camera, min(f.t_ns), max(f.t_ns), min(o.x0 + o.x1) / 200.0, "
    "max(o.x0 + o.x1) / 200.0 FROM observations o JOIN frames f USING (frame) "
    "JOIN sessions s USING (session_key) WHERE o.observed GROUP BY o.track, o.shown, s.camera"
)
"""The database has boxes in 1/100 pixel, so the sum of two sides is 200 times their centre."""

_FRAMES = (
    "SELECT s.camera, count(*), count(DISTINCT f.t_ns), max(f.frame_index) + 1 FROM frames f "
    "JOIN sessions s USING (session_key) GROUP BY s.camera"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A request to a tracker, as its control socket takes it."""

    kind: str
    identity: int
    name: str = ""
    other: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        """The request's fields."""
        more: dict[str, dict[str, Any]] = {"name": {"name": self.name}, "merge": {"other": self.other}}
        return {"identity": self.identity, **more.get(self.kind, {})}

    @property
    def identities(self) -> set[int]:
        """Whom it is about."""
        return {self.identity, self.other} - {0}


@dataclass(slots=True)
class Stored:
    """A database as it was read: frames by camera are (rows, different times, numbers up to the last one)."""

    frames: dict[int, tuple[int, int, int]]
    tracks: dict[int, set[int]]
    shown: dict[int, set[int]]
    identity_of_track: dict[int, int]
    names: dict[int, str]
    followed: set[int]

    @classmethod
    def read(cls, data: Path, world: World) -> Stored:
        """Raises StorageError where there is no database yet."""
        with History(data) as history:
            frames = {camera: (rows, times, up_to) for camera, rows, times, up_to in history.select(_FRAMES)}
            tracks: dict[int, set[int]] = {}
            shown: dict[int, set[int]] = {}
            for track, identity, camera, first_ns, last_ns, least_x, most_x in history.select(
                _PERSONS_OF_TRACKS
            ):
                corners = {
                    world.person_at(camera, t_ns, x)
                    for t_ns in (first_ns, last_ns)
                    for x in (least_x, most_x)
                }
                persons = {person for person in corners if person is not None}
                tracks.setdefault(track, set()).update(persons)
                if identity:
                    shown.setdefault(identity, set()).update(persons)
            identities = history.select("SELECT track, identity FROM tracks WHERE identity IS NOT NULL")
            marked = history.select("SELECT identity, name, followed FROM identities")
        names = {identity: name for identity, name, _ in marked if name}
        followed = {identity for identity, _, is_followed in marked if is_followed}
        return cls(frames, tracks, shown, dict(identities), names, followed)

    @property
    def identities(self) -> set[int]:
        """Whose the tracks are, and who is named or followed."""
        return {*self.identity_of_track.values(), *self.names, *self.followed}

    @property
    def numbers(self) -> set[tuple[str, int]]:
        """All numbers in the database, those that were only shown included."""
        identities = self.identities.union(self.shown)
        return {("track", each) for each in self.tracks} | {("identity", each) for each in identities}

    def contains(self, gone: Decision) -> bool:
        """Whether an identity is there that was forgotten or merged into another one.

        What was shown before a merge stays as it was shown; of somebody forgotten nothing stays.
        """
        if gone.kind == "forget":
            return ("identity", gone.identity) in self.numbers
        return gone.other in self.identities


class Ledger:
    """Numbers and decisions of one data folder; may be used from several threads.

    replayed: the cameras are recorded, so a tracker that starts again sees the frames behind its last
        checkpoint once more.

    reused, lost, moved: violations, each with what it is about.  reshown: numbers of recorded cameras that a
    viewer was shown, that were not in the database when a process was killed, and that meant somebody else
    afterwards.  confirmed: decisions that were confirmed.
    """

    def __init__(self, world: World, seed: int, *, replayed: bool) -> None:
        self.reused: dict[tuple[str, int], set[int]] = {}
        self.reshown: dict[tuple[str, int], set[int]] = {}
        self.lost: set[Decision] = set()
        self.moved: set[tuple[int, str]] = set()
        self.confirmed = 0
        self._world = world
        self._replayed = replayed
        self._only_shown: dict[tuple[str, int], set[int]] = {}
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._persons: dict[tuple[str, int], set[int]] = {}
        self._seen_at_ns: dict[int, int] = {}
        self._names = 0
        self._asked: list[Decision] = []
        self._pending: Decision | None = None
        self._doubtful: set[int] = set()
        self._named: dict[int, str] = {}
        self._followed: set[int] = set()
        self._gone: dict[int, Decision] = {}

    @property
    def numbers(self) -> int:
        """How many track and identity numbers were ever seen."""
        return len(self._persons.keys() | self._only_shown.keys())

    # -- numbers ----------------------------------------------------------------------------------

    def see(self, camera: int, t_ns: int, rows: Iterable[tuple[int, int, float]]) -> None:
        """A viewer, or a program, has been told of these tracks, identities and box centres."""
        with self._lock:
            for track, identity, x in rows:
                person = self._world.person_at(camera, t_ns, x)
                if person is None:
                    continue
                self._stand_for("track", track, {person})
                if identity:
                    self._stand_for("identity", identity, {person})
                    self._seen_at_ns[identity] = max(t_ns, self._seen_at_ns.get(identity, 0))

    def see_names(self, people: Iterable[tuple[int, str]]) -> None:
        """A viewer has been told the names of these identities."""
        with self._lock:
            for identity, name in people:
                self._check_name(identity, name)

    def _stand_for(self, kind: str, number: int, persons: set[int]) -> None:
        if not persons:
            return
        known = self._persons.setdefault((kind, number), set())
        known |= persons
        if len(known) > 1:
            self.reused[kind, number] = known
        before = self._only_shown.get((kind, number))
        if before is not None and not persons <= before:
            self.reshown[kind, number] = before | persons

    # -- decisions --------------------------------------------------------------------------------

    def propose(self) -> Decision | None:
        """The next thing that an operator does; None while nobody was seen."""
        with self._lock:
            newest_ns = max(self._seen_at_ns.values(), default=0)
            known = [
                each for each in self._seen_at_ns if each not in self._gone | dict.fromkeys(self._doubtful)
            ]
            recent = [each for each in known if self._seen_at_ns[each] > newest_ns - _RECENT_NS]
            if not recent:
                return None
            identity = self._random.choice(recent)
            person = min(self._persons["identity", identity])
            same = [
                each for each in known if each != identity and self._persons["identity", each] == {person}
            ]
            kind = self._random.choices(("name", "follow", "forget", "merge"), (4, 2, 1, 4))[0]
            if kind == "merge" and not same:
                kind = "name"
            decision = Decision(kind, identity)
            if kind == "name":
                self._names += 1
                decision = Decision(kind, identity, name=f"person {person}, name {self._names}")
            elif kind == "merge":
                decision = Decision(kind, identity, other=self._random.choice(same))
            self._asked.append(decision)
            self._pending = decision
            return decision

    def settle(self, decision: Decision, outcome: Outcome) -> None:
        """How the proposed decision was answered; "doubtful" where it may hold or not."""
        with self._lock:
            self._pending = None
            if outcome == "doubtful":
                self._doubtful |= decision.identities
            elif outcome == "confirmed":
                self.confirmed += 1
                self._hold(decision)

    def _hold(self, decision: Decision) -> None:
        identity = decision.identity
        if decision.kind == "name":
            self._named[identity] = decision.name
        elif decision.kind == "follow":
            self._followed.add(identity)
        elif decision.kind == "forget":
            self._gone[identity] = decision
            self._named.pop(identity, None)
            self._followed.discard(identity)
        else:
            gone = decision.other
            self._gone[gone] = decision
            name = self._named.pop(gone, "")
            if name:
                self._named.setdefault(identity, name)
            if gone in self._followed:
                self._followed.discard(gone)
                self._followed.add(identity)

    # -- the database -----------------------------------------------------------------------------

    def check(self, data: Path) -> Stored:
        """Read the database and compare it with what was given out and confirmed."""
        with self._lock:
            asked = len(self._asked)
            named, followed, gone = dict(self._named), set(self._followed), dict(self._gone)
            in_doubt = set() if self._pending is None else set(self._pending.identities)
        stored = Stored.read(data, self._world)
        with self._lock:
            # What was decided while the database was read may be in it or not.
            for decision in self._asked[asked:]:
                in_doubt |= decision.identities
            in_doubt |= self._doubtful
            self._check_numbers(stored)
            for identity, name in stored.names.items():
                self._check_name(identity, name)
            for identity, name in named.items():
                if identity not in in_doubt and stored.names.get(identity) != name:
                    self.lost.add(Decision("name", identity, name=name))
            for identity in followed - stored.followed - in_doubt:
                self.lost.add(Decision("follow", identity))
            self.lost |= {
                decision
                for each, decision in gone.items()
                if each not in in_doubt and stored.contains(decision)
            }
            if self._replayed:
                self._drop_what_is_not(stored)
        return stored

    def _drop_what_is_not(self, stored: Stored) -> None:
        """Drop numbers that a viewer was shown before they were stored: the next ones may differ.

        They do where the detector is killed, too: it begins anew to describe people.
        """
        for key in self._persons.keys() - stored.numbers:
            self._only_shown.setdefault(key, set()).update(self._persons.pop(key))
            if key[0] == "identity":
                self._seen_at_ns.pop(key[1], None)

    def _check_numbers(self, stored: Stored) -> None:
        for track, persons in stored.tracks.items():
            self._stand_for("track", track, persons)
            identity = stored.identity_of_track.get(track)
            if identity is not None:
                self._stand_for("identity", identity, persons)
        for identity, persons in stored.shown.items():
            self._stand_for("identity", identity, persons)

    def _check_name(self, identity: int, name: str) -> None:
        person = int(name.split(",", maxsplit=1)[0].removeprefix("person ")) if name else 0
        if name and not self._persons.get(("identity", identity), set()) <= {person}:
            self.moved.add((identity, name))
