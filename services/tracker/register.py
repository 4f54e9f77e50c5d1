"""The people who are remembered: who there is, who was seen last, and who must be forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from services.tracker.person import TrackedPerson
from services.tracker.state import pack
from services.tracker.track import Track
from shared.errors import TrackingError

MAX_PEOPLE = 20_000
"""Settled people remembered at most; the history of others stays in the store."""


class Register:
    """All identities, by number.

    people: those that are known.  changed: those that are not in a snapshot as they are now.
    """

    def __init__(self) -> None:
        self.people: dict[int, TrackedPerson] = {}
        self.changed: set[int] = set()
        self.next_identity = 1
        self._erased: set[int] = set()  # by an operator, since this process began
        self._settled: dict[int, None] = {}  # people with a settled track, the latest last

    def person(self, identity: int) -> TrackedPerson:
        """The person with this identity; raises TrackingError where there is none."""
        person = self.people.get(identity)
        if person is None:
            raise TrackingError(
                f"there is no person {identity}: look at the viewer or `last-seen` for who there is"
            )
        return person

    def newcomer(self) -> int:
        """The number of somebody who was never seen before."""
        identity, self.next_identity = self.next_identity, self.next_identity + 1
        self.people[identity] = TrackedPerson(identity)
        return identity

    def recall(self, identity: int) -> None:
        """Know a person again of whom nothing is remembered.

        Nothing happens for a number that was merged or forgotten, which the store may not know yet.
        """
        known = identity in self.people or identity in self._erased
        if identity < self.next_identity and not known:
            self.people[identity] = TrackedPerson(identity)
            self.changed.add(identity)

    def settle(self, track: Track) -> None:
        """A track is its person's for good."""
        self.people[track.identity].settle(track)
        self.changed.add(track.identity)
        self._settled.pop(track.identity, None)
        self._settled[track.identity] = None

    def refresh(self, identities: Iterable[int], tracks: Iterable[Track]) -> None:
        """Where people whose tracks have changed were last seen; who has none left is forgotten.

        tracks: all that are not settled.
        """
        own: dict[int, list[Track]] = {identity: [] for identity in identities if identity}
        for track in tracks:
            if track.identity in own:
                own[track.identity].append(track)
        for identity, found in sorted(own.items()):
            person = self.people[identity]
            if person.tail is not None:
                found.append(person.tail)
            self.changed.add(identity)
            if found:
                last = max(found, key=lambda track: (track.last_ns, track.track_id))
                person.seen = (last.camera, last.last_ns, *last.foot)
            elif not person.kept:
                self.drop(identity)

    def latest(self, count: int) -> list[TrackedPerson]:
        """So many people with settled tracks, the latest settled ones, by number."""
        return [self.people[identity] for identity in sorted(islice(reversed(self._settled), count))]

    def merge(self, kept: int, gone: int) -> None:
        """All that is known of one person is another's, too, who is the same."""
        self.people[kept].absorb(self.people.pop(gone))
        self._erased.add(gone)
        if self._settled.pop(gone, 0) is None:
            self._settled[kept] = None
        self.changed |= {kept, gone}

    def erase(self, identity: int) -> None:
        """Forget a person because an operator says so: the number is nobody's from now on."""
        self.drop(identity)
        self._erased.add(identity)

    def drop(self, identity: int) -> None:
        """Remember a person no longer."""
        del self.people[identity]
        self._settled.pop(identity, None)
        self.changed.add(identity)

    def drop_oldest(self, present: Iterable[int]) -> None:
        """Where there are too many, forget who was last seen longest ago and bears no operator's mark.

        present: identities that may not be forgotten, because they have tracks that are not settled.
        """
        surplus = len(self._settled) - MAX_PEOPLE
        if surplus <= 0:
            return
        here = set(present)
        old = (each for each in self._settled if each not in here and not self.people[each].kept)
        for identity in list(islice(old, surplus)):
            self.drop(identity)

    def drop_unseen(self, oldest_ns: int, present: Iterable[int]) -> None:
        """Forget who was last seen before `oldest_ns` and bears no operator's mark.

        present: identities that may not be forgotten, because they have tracks that are not settled.
        """
        here = set(present)
        expired = []
        for identity in self._settled:  # in the order in which they were last settled
            person = self.people[identity]
            if person.seen is not None and person.seen[1] >= oldest_ns:
                break
            if identity not in here and not person.kept:
                expired.append(identity)
        for identity in expired:
            self.drop(identity)

    def forget_looks(self, kind: str) -> None:
        """Drop what is known of everybody's looks of one kind."""
        for person in self.people.values():
            if person.prototypes.pop(kind, None):
                self.changed.add(person.identity)

    def changes(self) -> dict[int, bytes]:
        """The people that changed since the last call, as bytes; empty for who is not remembered any more."""
        changed = {
            identity: pack(self.people[identity].state()) if identity in self.people else b""
            for identity in sorted(self.changed)
        }
        self.changed = set()
        return changed

    def state(self) -> list[Any]:
        """Plain values for `restored`, but for the people."""
        return [self.next_identity, list(self._settled)]

    @classmethod
    def restored(cls, state: list[Any], people: Iterable[Any]) -> Register:
        """What `state` gave; `people` as `changes` gave them, unpacked.

        Whoever is missing from `people` was erased from the store since, and is not remembered.
        """
        register = cls()
        register.next_identity, settled = state
        for person in map(TrackedPerson.restored, people):
            register.people[person.identity] = person
        register._settled = dict.fromkeys(each for each in settled if each in register.people)
        return register
