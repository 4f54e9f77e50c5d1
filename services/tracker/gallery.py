"""One identity a person, over all cameras.

Every track has at most one predecessor: the track in which the same person was seen before, in this or
another camera.  Who precedes whom is decided jointly from all evidence (`evidence.py`, `chains.py`), and
decided again when there is more of it; the chains are the identities.  Tracks that ended long ago are
settled: they become the prototypes of a `TrackedPerson`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

from services.tracker.chains import predecessors, together
from services.tracker.evidence import Evidence
from services.tracker.explanation import explain
from services.tracker.person import Stay, TrackedPerson
from services.tracker.state import pack
from services.tracker.track import Track
from shared.errors import TrackingError

WINDOW_S = 120.0
"""A track that ended longer ago is settled."""

MAX_TRACKS = 192
MAX_TAILS = 256
"""Ended tracks open to revision at most, and settled people looked at when somebody appears, the latest seen
first; where more people than that are in view at once, as many as those."""

MAX_PEOPLE = 20_000
"""Settled people remembered at most; the history of others stays in the store."""

REVISION_S = 1.0
"""Decisions are looked over again after this long,"""

BUSY_TRACKS = 200
"""and where there are more tracks after so much longer, so that the work grows as the people do."""

NEWCOMERS_S = 1.0
"""Longest wait for a first decision, where there are many times more."""

RIPE_WEIGHT = 0.3
RIPE_S = 0.3
"""A track gets an identity with this much quality of embeddings, or at this age."""


class Gallery:
    """Decides which tracks are one person.

    decisions: how often it has decided anything; later decisions outrank earlier ones.
    """

    def __init__(self, similarity_threshold: float) -> None:
        share = min(max(similarity_threshold, 0.01), 0.99)
        self.threshold = math.log(share / (1 - share))
        self.sizes_px: dict[int, tuple[int, int]] = {}
        self.people: dict[int, TrackedPerson] = {}
        self.tracks: dict[int, Track] = {}
        self.before: dict[int, int] = {}
        self.evidence = Evidence()
        self.next_identity = 1
        self.decisions = 0
        self.decided_ns = 0
        self.changed: set[int] = set()
        self.revised_ns = 0
        self._settled: dict[int, None] = {}  # people with a settled track, the latest last
        self._untold: dict[int, int] = {}
        self._waiting: set[int] = set()

    def person(self, identity: int) -> TrackedPerson:
        """The person with this identity; raises TrackingError where there is none."""
        person = self.people.get(identity)
        if person is None:
            raise TrackingError(
                f"there is no person {identity}: look at the viewer or `last-seen` for who there is"
            )
        return person

    def see(self, track: Track, size_px: tuple[int, int]) -> None:
        """Take in a confirmed track that has been observed just now, in a picture of this size."""
        self.sizes_px[track.camera] = size_px
        self.tracks[track.track_id] = track
        if not track.identity:
            self._waiting.add(track.track_id)
        person = self.people.get(track.identity)
        if person is not None:
            _, x, y, *_ = track.way[-1]
            person.seen = (track.camera, track.last_ns, x, y)
            self.changed.add(person.identity)

    def withdraw(self, track: Track) -> None:
        """A track has turned out to be nobody of its own."""
        if track.track_id in self.tracks:
            self._drop(track)
        if track.identity:
            identity, track.identity = track.identity, 0
            self._untold[track.track_id] = 0
            self._refresh({identity})

    def due(self, t_ns: int) -> bool:
        """Whether it is time to decide, or there is something to tell."""
        if self._untold:
            return True
        if t_ns < self.decided_ns:  # a clock was set back
            self.decided_ns = self.revised_ns = t_ns
        if (t_ns - self.revised_ns) * 1e-9 >= self._pace() * REVISION_S:
            return bool(self.tracks)
        wait_s = min(NEWCOMERS_S, (self._pace() - 1) * NEWCOMERS_S)
        if (t_ns - self.decided_ns) * 1e-9 < wait_s:
            return False
        return any(_ripe(self.tracks[number]) for number in self._waiting)

    def _pace(self) -> float:
        return max(1.0, len(self.tracks) / BUSY_TRACKS)

    def decide(self, t_ns: int) -> list[tuple[int, int]]:
        """Decide who is who; returns the (track, identity) that changed, in the order of tracks."""
        whole = self._pace() == 1 or (t_ns - self.revised_ns) * 1e-9 >= self._pace() * REVISION_S
        self.decided_ns = t_ns
        self.revised_ns = t_ns if whole else self.revised_ns
        self.decisions += 1
        self._settle(t_ns)
        tracks = sorted(
            (track for track in self.tracks.values() if track.identity or _ripe(track)),
            key=lambda track: (track.first_ns, track.track_id),
        )
        if tracks:
            tails = self._tails()
            revised = np.array([whole or not track.identity for track in tracks])
            scores = self.evidence.scores(tracks, tails, self.before, self.sizes_px, revised)
            fixed = {} if whole else self._fixed(tracks, tails)
            previous = predecessors(tracks, tails, scores.total, self.threshold, fixed)
            self._name(tracks, tails, previous)
            columns = np.flatnonzero(revised).tolist()
            explain(tracks, tails, previous, scores, threshold=self.threshold, columns=columns)
        changes, self._untold = sorted(self._untold.items()), {}
        return changes

    def superseded(self) -> list[Track]:
        """Open tracks whose person has been found again in the same camera under a later track."""
        latest: dict[tuple[int, int], int] = {}
        for track in self.tracks.values():
            if track.identity:
                key = (track.camera, track.identity)
                latest[key] = max(latest.get(key, 0), track.first_ns)
        return [
            track
            for track in self.tracks.values()
            if track.open and track.identity and latest[track.camera, track.identity] > track.first_ns
        ]

    def stays(self, identity: int) -> list[Stay]:
        """A person's tracks in the order of time, those long over no farther back than remembered."""
        own = [*self.person(identity).stays, *map(Stay.of, self._tracks_of(identity))]
        return sorted(own, key=lambda stay: (stay.first_ns, stay.track))

    def sureness(self, identity: int) -> float:
        """Probability that who was seen last as this person is this person, against the best other answer."""
        stays = self.stays(identity)
        reason = stays[-1].reason if stays else None
        return 0.5 if reason is None else reason.sureness

    # -- the operator ---------------------------------------------------------------------------------

    def merge(self, identity: int, other: int) -> None:
        """Two identities are one person from now on: all that was `other` is `identity`.

        Raises TrackingError where one of them is not known, or one camera has seen both at once.
        """
        kept, gone = self.person(identity), self.person(other)
        if kept is gone:
            raise TrackingError(f"person {identity} is one identity already")
        mine, theirs = self._tracks_of(identity), self._tracks_of(other)
        for a in mine:
            for b in theirs:
                if together(a, b):
                    raise TrackingError(
                        f"camera {a.camera} has seen {identity} and {other} at once: they are two people"
                    )
        kept.absorb(gone)
        del self.people[other]
        if self._settled.pop(other, 0) is None:
            self._settled[identity] = None
        self._pin(mine + theirs, identity)
        self.changed |= {identity, other}

    def split(self, identity: int, track_ids: Iterable[int]) -> int:
        """These tracks of a person are somebody else's: the number of the new person.

        Raises TrackingError where the person is not known or a track is not the person's, or too old.
        """
        self.person(identity)
        own = {track.track_id: track for track in self._tracks_of(identity)}
        wanted = set(track_ids)
        if not wanted or wanted - set(own):
            raise TrackingError(
                f"person {identity} has the tracks {', '.join(map(str, sorted(own))) or 'none'} of the last "
                f"{WINDOW_S:.0f} s; older ones, and other people's, cannot be split off"
            )
        if len(wanted) == len(own) and self.person(identity).tail is None:
            raise TrackingError(f"these are all the tracks of person {identity}: nothing would be left")
        new = self._newcomer()
        self._pin([track for number, track in own.items() if number not in wanted], identity)
        self._pin([own[number] for number in sorted(wanted)], new)
        return new

    def forget(self, identity: int) -> None:
        """Drop a person and all by which the person could be recognised.

        Raises TrackingError where the person is not known.
        """
        self.person(identity)
        for track in self._tracks_of(identity):
            track.identity = track.pinned = 0
            track.forget_looks()
            self._waiting.add(track.track_id)
            if not track.open:
                self._drop(track)
        del self.people[identity]
        self._settled.pop(identity, None)
        self.changed.add(identity)
        self.decisions += 1

    def _drop(self, track: Track) -> None:
        del self.tracks[track.track_id]
        self._waiting.discard(track.track_id)

    def _pin(self, tracks: list[Track], identity: int) -> None:
        for track in tracks:
            track.pinned = identity
            if track.identity != identity:
                track.identity = identity
                self._untold[track.track_id] = identity
        self.decisions += 1
        self._refresh({identity})

    def _tracks_of(self, identity: int) -> list[Track]:
        return [track for track in self.tracks.values() if track.identity == identity]

    def forget_looks(self, kind: str) -> None:
        """Drop what is known of everybody's looks of one kind; what is decided of ended tracks stands."""
        if self.tracks:
            self._settle(max(track.last_ns for track in self.tracks.values()) + round(WINDOW_S * 1e9))
        for track in self.tracks.values():
            track.forget_looks(kind)
        for person in self.people.values():
            if person.prototypes.pop(kind, None):
                self.changed.add(person.identity)
        self.evidence.forget_looks(kind)

    # -- decision ---------------------------------------------------------------------------------

    def _fixed(self, tracks: list[Track], tails: list[TrackedPerson]) -> dict[int, int]:
        """Row of the predecessor, -1 for none, by column, of the tracks that have an identity."""
        row_of = {person.tail.track_id: row for row, person in enumerate(tails) if person.tail is not None}
        row_of |= {track.track_id: len(tails) + column for column, track in enumerate(tracks)}
        return {
            column: row_of.get(self.before.get(track.track_id, 0), -1)
            for column, track in enumerate(tracks)
            if track.identity
        }

    def _tails(self) -> list[TrackedPerson]:
        latest = islice(reversed(self._settled), max(MAX_TAILS, len(self.tracks)))
        return [self.people[identity] for identity in sorted(latest)]

    def _name(self, tracks: list[Track], tails: list[TrackedPerson], previous: list[int]) -> None:
        t = len(tails)
        chain_of: list[int] = []
        chains: list[list[int]] = []
        settled: list[int] = []
        self.before = {}
        for column, row in enumerate(previous):
            if row >= t:
                chain = chain_of[row - t]
                self.before[tracks[column].track_id] = tracks[row - t].track_id
            else:
                chain = len(chains)
                chains.append([])
                settled.append(tracks[column].pinned)
                if row >= 0:
                    tail = tails[row].tail
                    assert tail is not None
                    settled[chain] = tails[row].identity
                    self.before[tracks[column].track_id] = tail.track_id
            chain_of.append(chain)
            chains[chain].append(column)
            settled[chain] = settled[chain] or tracks[column].pinned
        identity = self._votes(tracks, chains, settled)
        touched: set[int] = set()
        for column, track in enumerate(tracks):
            new = identity[chain_of[column]]
            self._waiting.discard(track.track_id)
            if track.identity != new:
                touched |= {track.identity, new}
                track.identity = new
                self._untold[track.track_id] = new
        self._refresh(touched)

    def _votes(self, tracks: list[Track], chains: list[list[int]], settled: list[int]) -> list[int]:
        """An identity for each chain: the one that is settled, else the one most of it has had, else new."""
        identity = list(settled)
        taken = {each for each in settled if each}
        votes: dict[tuple[int, int], float] = {}
        for chain, columns in enumerate(chains):
            for column in columns:
                track = tracks[column]
                if track.identity and not settled[chain]:
                    key = (chain, track.identity)
                    votes[key] = votes.get(key, 0.0) + (track.last_ns - track.first_ns) * 1e-9 + 1e-3
        for (chain, old), _ in sorted(
            votes.items(), key=lambda item: (not self.people[item[0][1]].kept, -item[1], item[0])
        ):
            if not identity[chain] and old not in taken and self.people[old].tail is None:
                identity[chain] = old
                taken.add(old)
        return [each or self._newcomer() for each in identity]

    def _newcomer(self) -> int:
        identity, self.next_identity = self.next_identity, self.next_identity + 1
        self.people[identity] = TrackedPerson(identity)
        return identity

    def _refresh(self, identities: set[int]) -> None:
        """Where people whose tracks have changed were last seen; who has none left is forgotten."""
        tracks: dict[int, list[Track]] = {identity: [] for identity in identities}
        for track in self.tracks.values():
            if track.identity in tracks:
                tracks[track.identity].append(track)
        for identity in sorted(identities - {0}):
            person, own = self.people[identity], tracks[identity]
            if person.tail is not None:
                own.append(person.tail)
            self.changed.add(identity)
            if own:
                last = max(own, key=lambda track: (track.last_ns, track.track_id))
                _, x, y, *_ = last.way[-1]
                person.seen = (last.camera, last.last_ns, x, y)
            elif not person.kept:
                del self.people[identity]

    def _settle(self, t_ns: int) -> None:
        ended = [track for track in self.tracks.values() if not track.open]
        ended.sort(key=lambda track: (track.last_ns, track.track_id))
        surplus = len(ended) - max(MAX_TRACKS, len(self.tracks) - len(ended))
        for position, track in enumerate(ended):
            if track.identity == 0:
                continue
            if position >= surplus and (t_ns - track.last_ns) * 1e-9 < WINDOW_S:
                break
            self._drop(track)
            person = self.people[track.identity]
            tail = person.tail
            follows = tail is not None and self.before.get(track.track_id) == tail.track_id
            self.evidence.settle(track, tail if follows else None, self.sizes_px)
            person.settle(track)
            self.changed.add(track.identity)
            self._settled.pop(person.identity, None)
            self._settled[person.identity] = None
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Where there are too many, forget who was last seen longest ago and bears no operator's mark."""
        surplus = len(self._settled) - MAX_PEOPLE
        if surplus <= 0:
            return
        present = {track.identity for track in self.tracks.values()}
        old = (each for each in self._settled if each not in present and not self.people[each].kept)
        for identity in list(islice(old, surplus)):
            del self.people[identity], self._settled[identity]
            self.changed.add(identity)

    # -- memory -----------------------------------------------------------------------------------

    def changed_people(self) -> dict[int, bytes]:
        """The people that changed since the last call, as bytes; nothing in them for who is forgotten."""
        changed = {
            identity: pack(self.people[identity].state() if identity in self.people else None)
            for identity in sorted(self.changed)
        }
        self.changed = set()
        return changed

    def state(self) -> dict[str, Any]:
        """Plain values and arrays for `restored`, but for the people."""
        return {
            "tracks": list(self.tracks),
            "before": self.before,
            "sizes_px": self.sizes_px,
            "evidence": self.evidence.state(),
            "next_identity": self.next_identity,
            "decisions": self.decisions,
            "decided_ns": self.decided_ns,
            "revised_ns": self.revised_ns,
            "untold": self._untold,
            "settled": list(self._settled),
        }

    @classmethod
    def restored(
        cls,
        state: dict[str, Any],
        similarity_threshold: float,
        tracks: dict[int, Track],
        people: list[Any],
    ) -> Gallery:
        """What `state` gave; `tracks` by their id, `people` as `changed_people` gave them, unpacked."""
        gallery = cls(similarity_threshold)
        gallery.tracks = {track_id: tracks[track_id] for track_id in state["tracks"]}
        gallery.before = state["before"]
        gallery.sizes_px = {camera: (size[0], size[1]) for camera, size in state["sizes_px"].items()}
        gallery.evidence = Evidence.restored(state["evidence"])
        gallery.next_identity, gallery.decided_ns = state["next_identity"], state["decided_ns"]
        gallery.decisions, gallery._untold = state["decisions"], state["untold"]
        gallery.revised_ns = state["revised_ns"]
        gallery._settled = dict.fromkeys(state["settled"])
        gallery._waiting = {number for number, track in gallery.tracks.items() if not track.identity}
        for person in (TrackedPerson.restored(each) for each in people if each is not None):
            gallery.people[person.identity] = person
        return gallery


def _ripe(track: Track) -> bool:
    age_s = (track.last_ns - track.first_ns) * 1e-9
    return track.weight >= RIPE_WEIGHT or age_s >= RIPE_S or not track.open
