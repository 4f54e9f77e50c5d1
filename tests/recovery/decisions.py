"""What operators decided, and what has to hold because of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from services.store.history import Identity
from services.tracker.core import TrackerCore
from shared.messages import IdentityEvent
from tests.recovery.world import PEOPLE


class Decisions:
    """Decisions of one database: made, confirmed when on the disk, lost with a killed tracker.

    A decision that was never confirmed may hold or not.
    """

    def __init__(self) -> None:
        self._class = list(range(PEOPLE))  # persons whom an operator has taken for one have the same
        self._names = 0
        self._made: list[IdentityEvent] = []
        self._doubtful: set[int] = set()  # identities of which a decision was lost on its way
        self._followed: dict[int, bool] = {}
        self._named: dict[int, str] = {}
        self._forgotten: set[int] = set()
        self._became: dict[int, int] = {}
        self._person_of_name: dict[str, set[int]] = {}

    def make(self, core: TrackerCore, kind: str, identity: int, other: int, t_ns: int) -> IdentityEvent:
        """Have the tracker decide; raises TrackingError where it refuses."""
        if kind == "follow":
            event = core.follow(identity, t_ns)
        elif kind == "name":
            self._names += 1
            event = core.name(identity, f"name {self._names}", t_ns)
        elif kind == "forget":
            event = core.forget(identity, t_ns)
        elif kind == "merge":
            event = core.merge(identity, other, t_ns)
        else:
            tracks = [stay.track for stay in core.explain(identity)]
            event = core.split(identity, tracks[-1:], t_ns)
        self._made.append(event)
        return event

    def confirm(self, event: IdentityEvent) -> None:
        """A decision is on the disk: from now on it has to hold."""
        self._made = [each for each in self._made if each is not event]
        identity = event.identity
        if event.kind == "follow":
            self._followed[identity] = True
        elif event.kind == "name":
            self._named[identity] = event.value
        elif event.kind == "forget":
            self._forgotten.add(identity)
            self._followed.pop(identity, None)
            self._named.pop(identity, None)
        elif event.kind == "merge":
            gone = int(event.value)
            self._became[gone] = identity
            name, followed = self._named.pop(gone, ""), self._followed.pop(gone, False)
            if name and identity not in self._named:
                self._named[identity] = name
            if followed:
                self._followed[identity] = True

    def lose(self) -> None:
        """The tracker was killed: what is on its way may arrive or not."""
        for event in self._made:
            self._doubtful.add(event.identity)
            if event.kind == "merge":
                self._doubtful.add(int(event.value))
        self._made = []

    def join(self, persons: Iterable[int]) -> None:
        """An operator has taken these persons for one."""
        classes = {self._class[person] for person in persons}
        for person, each in enumerate(self._class):
            if each in classes:
                self._class[person] = min(classes)

    def note_name(self, name: str, persons: set[int]) -> None:
        """A name was given to an identity under which these persons were seen."""
        self._person_of_name[name] = set(persons)

    def may_be_one(self, persons: Collection[int]) -> bool:
        """Whether these persons may share an identity: it is one person, or an operator said so."""
        return len({self._class[person] for person in persons}) <= 1

    def check_stored(self, stored: Iterable[Identity], seen: Mapping[int, Collection[int]]) -> None:
        """Every confirmed decision is in the database."""
        people = {each.identity: each for each in stored}
        pending = self._doubtful | {event.identity for event in self._made}
        pending |= {int(event.value) for event in self._made if event.kind == "merge"}
        for identity in self._followed.keys() - pending:
            assert people[identity].followed, identity
        for identity in self._named.keys() - pending:
            assert people[identity].name == self._named[identity], identity
        for each in people.values():
            if each.name:
                persons = self._person_of_name[each.name] | set(seen.get(each.identity, ()))
                assert self.may_be_one(persons), (each, persons)
        assert not self._forgotten & (people.keys() | seen.keys())
        assert not self._became.keys() & (people.keys() | seen.keys())

    def check_remembered(self, core: TrackerCore) -> None:
        """Every confirmed decision is known to a tracker that has just started."""
        people = core._gallery.register.people
        for identity in self._followed.keys() - self._doubtful:
            assert people[identity].followed, identity
        for identity in self._named.keys() - self._doubtful:
            assert people[identity].name == self._named[identity], identity
        assert not any(map(core.knows, self._forgotten | self._became.keys()))
