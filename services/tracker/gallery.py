"""One identity a person, over all cameras.

Every track has at most one predecessor: the track in which the same person was seen before, in this or
another camera.  Who precedes whom is decided jointly from all evidence (`evidence.py`, `chains.py`,
`joining.py`), and decided again when there is more of it; the chains are the identities.  Tracks that ended
long ago are settled: they become the prototypes of a `TrackedPerson` (`register.py`).

Of many tracks only some are judged at a time, those that are new and those that were judged longest ago, so
that no decision takes long (`candidates.py`, `judgements.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import numpy as np

from services.tracker.candidates import Chosen
from services.tracker.chains import predecessors, together
from services.tracker.evidence import Evidence
from services.tracker.explanation import explain
from services.tracker.joining import join
from services.tracker.judgements import Judgements
from services.tracker.naming import Chains, elect
from services.tracker.pace import BUSY_TRACKS, pace_s, wait_s
from services.tracker.person import Stay, TrackedPerson
from services.tracker.register import Register
from services.tracker.stays import Stays
from services.tracker.track import Track
from shared.errors import TrackingError

WINDOW_S = 120.0
"""A track that ended longer ago is settled."""

MAX_TRACKS = 192
MAX_TAILS = 256
"""Ended tracks open to revision at most, and settled people looked at when somebody appears, the latest seen
first; where more people than that are in view at once, as many as those."""

FEW_TRACKS = 64
JUDGED_A_SECOND = 200
"""Up to so many tracks are all judged again in every decision; of more, those that appear, and so many of
the others a second, in turn."""

MOST_JUDGED = 256
BACKLOG_S = 0.25
"""Tracks judged in one decision at most; where as many newcomers are left, the next comes so much later."""

RIPE_WEIGHT = 0.3
RIPE_S = 0.3
"""A track gets an identity with this much quality of embeddings, or at this age."""


class Gallery:
    """Decides which tracks are one person.

    decisions: how often it has decided anything; later decisions outrank earlier ones.
    retention_s: people who were not seen for longer are not remembered, 0 for no limit.
    """

    def __init__(self, similarity_threshold: float, retention_s: float = 0.0) -> None:
        self.retention_s = retention_s
        share = min(max(similarity_threshold, 0.01), 0.99)
        self.threshold = math.log(share / (1 - share))
        self.sizes_px: dict[int, tuple[int, int]] = {}
        self.register = Register()
        self.tracks: dict[int, Track] = {}
        self.before: dict[int, int] = {}
        self.evidence = Evidence()
        self.judgements = Judgements()
        self.decisions = 0
        self.decided_ns = 0
        self._untold: dict[int, int] = {}
        self._waiting: set[int] = set()
        self._backlog = False  # many newcomers are left for the next decision

    def see(self, tracks: Iterable[Track], size_px: tuple[int, int]) -> None:
        """Take in tracks that have been observed just now, in a picture of this size."""
        people, changed = self.register.people, self.register.changed
        for track in tracks:
            number, identity, camera = track.track_id, track.identity, track.camera
            self.sizes_px[camera] = size_px
            self.tracks[number] = track
            if not identity:
                self._waiting.add(number)
            elif identity in people:
                people[identity].seen = (camera, track.last_ns, *track.foot)
                changed.add(identity)

    def withdraw(self, track: Track) -> None:
        """A track has turned out to be nobody of its own."""
        if track.track_id in self.tracks:
            self._drop(track)
        if track.identity:
            identity, track.identity = track.identity, 0
            self._untold[track.track_id] = 0
            self.register.refresh({identity}, self.tracks.values())

    def end_camera(self, camera: int) -> None:
        """A camera's tracks are over, and what was decided lately is to be reported once more."""
        for track in self.tracks.values():
            if track.camera == camera:
                track.open = False
        self._untold |= {number: track.identity for number, track in self.tracks.items() if track.identity}

    def due(self, t_ns: int) -> bool:
        """Whether it is time to decide, or there is something to tell."""
        return bool(self._untold) or self._timely(t_ns)

    def _timely(self, t_ns: int) -> bool:
        self.decided_ns = min(self.decided_ns, t_ns)  # a clock may be set back
        since_s = (t_ns - self.decided_ns) * 1e-9
        if since_s >= pace_s(len(self.tracks)):
            return bool(self.tracks)
        if since_s < min(BACKLOG_S, wait_s(len(self.tracks))):
            return False
        if self._backlog:
            return True
        return since_s >= wait_s(len(self.tracks)) and any(
            _ripe(self.tracks[number]) for number in self._waiting
        )

    def decide(self, t_ns: int) -> list[tuple[int, int]]:
        """Decide who is who; returns the (track, identity) that changed, in the order of tracks.

        Where there are many tracks and it is not yet time, what there is to tell is only told.
        """
        self.decisions += 1
        if wait_s(len(self.tracks)) and not self._timely(t_ns):
            return self._news()
        since_s = (t_ns - self.decided_ns) * 1e-9
        self.decided_ns = t_ns
        self._settle(t_ns)
        self.evidence.topology.expect(len(self.register.people))
        tracks, judged_ids = self._chosen(since_s)
        if tracks:
            tails = self._tails(tracks)
            stays = Stays.of(tracks, tails)
            known = self.judgements.known(stays)
            judged = np.flatnonzero([track.track_id in judged_ids for track in tracks])
            new = judged[[not self.judgements.judged_ns(tracks[each].track_id) for each in judged.tolist()]]
            chosen = Chosen(judged, new, known, everywhere=len(tracks) <= BUSY_TRACKS)
            scores = self.evidence.scores(
                tracks, tails, self.before, self.sizes_px, stays=stays, chosen=chosen
            )
            pairs = self.judgements.take(stays, known, scores, judged, threshold=self.threshold, t_ns=t_ns)
            cover = predecessors(tracks, tails, stays, pairs, self.threshold)
            joined = join(cover.previous, tracks, tails, stays, pairs, threshold=self.threshold)
            self.judgements.part(pairs, cover, self.threshold)
            previous = joined.tolist()
            before = self.before
            self._name(tracks, tails, previous)
            changed = [
                column
                for column, track in enumerate(tracks)
                if self.before.get(track.track_id) != before.get(track.track_id)
            ]
            told = sorted({*judged.tolist(), *changed})
            explain(tracks, tails, previous, scores, pairs, threshold=self.threshold, columns=told)
        return self._news()

    def _news(self) -> list[tuple[int, int]]:
        changes, self._untold = sorted(self._untold.items()), {}
        return changes

    def _tails(self, tracks: list[Track]) -> list[TrackedPerson]:
        """The settled people whom one of these tracks, in the order of their beginning, may continue."""
        latest = self.register.latest(max(MAX_TAILS, sum(track.open for track in self.tracks.values())))
        own = {track.identity for track in tracks} | {track.pinned for track in tracks}
        since_ns, recognisable = tracks[0].first_ns, self.evidence.recognisable
        return [
            person
            for person in latest
            if person.identity in own or recognisable(person, since_ns, self.threshold)
        ]

    def _chosen(self, since_s: float) -> tuple[list[Track], set[int]]:
        """The tracks to decide about, in the order of their beginning, and the ids of those to judge now."""
        known = [track for track in self.tracks.values() if track.identity]
        new = [track for number in self._waiting if _ripe(track := self.tracks[number])]
        self._backlog = len(new) >= 2 * MOST_JUDGED
        if len(known) + len(new) <= FEW_TRACKS:
            judged = known + new
        else:
            new = sorted(new, key=_beginning)[:MOST_JUDGED]
            count = min(MOST_JUDGED - len(new), math.ceil(JUDGED_A_SECOND * since_s))
            judged_ns = self.judgements.judged_ns
            stale = sorted((judged_ns(each.track_id), each.track_id) for each in known)[:count]
            judged = new + [self.tracks[number] for _, number in stale]
        return sorted(known + new, key=_beginning), {track.track_id for track in judged}

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
        own = [*self.register.person(identity).stays, *map(Stay.of, self._tracks_of(identity))]
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
        kept, gone = self.register.person(identity), self.register.person(other)
        if kept is gone:
            raise TrackingError(f"person {identity} is one identity already")
        mine, theirs = self._tracks_of(identity), self._tracks_of(other)
        for a in mine:
            for b in theirs:
                if together(a, b):
                    raise TrackingError(
                        f"camera {a.camera} has seen {identity} and {other} at once: they are two people"
                    )
        self.register.merge(identity, other)
        self._pin(mine + theirs, identity)

    def split(self, identity: int, track_ids: Iterable[int]) -> int:
        """These tracks of a person are somebody else's: the number of the new person.

        Raises TrackingError where the person is not known or a track is not the person's, or too old.
        """
        self.register.person(identity)
        own = {track.track_id: track for track in self._tracks_of(identity)}
        wanted = set(track_ids)
        if not wanted or wanted - set(own):
            raise TrackingError(
                f"person {identity} has the tracks {', '.join(map(str, sorted(own))) or 'none'} of the last "
                f"{WINDOW_S:.0f} s; older ones, and other people's, cannot be split off"
            )
        if len(wanted) == len(own) and self.register.person(identity).tail is None:
            raise TrackingError(f"these are all the tracks of person {identity}: nothing would be left")
        new = self.register.newcomer()
        self._pin([track for number, track in own.items() if number not in wanted], identity)
        self._pin([own[number] for number in sorted(wanted)], new)
        return new

    def forget(self, identity: int) -> list[Track]:
        """Drop a person and all by which the person could be recognised; returns the person's tracks.

        These tracks are over, so that who is still in view begins a new one and is compared with everybody
        by what is seen from now on: a track that went on without its appearance would be linked to whoever
        is nearest, and take on that person's number and name.

        Raises TrackingError where the person is not known.
        """
        self.register.person(identity)
        tracks = self._tracks_of(identity)
        for track in tracks:
            track.identity = track.pinned = 0
            track.open = False
            track.forget_looks()
            self._drop(track)
            self._untold.pop(track.track_id, None)
            self.before.pop(track.track_id, None)
        self.register.erase(identity)
        self.decisions += 1
        return tracks

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
        self.register.refresh({identity}, self.tracks.values())

    def _tracks_of(self, identity: int) -> list[Track]:
        return [track for track in self.tracks.values() if track.identity == identity]

    def forget_looks(self, kind: str) -> None:
        """Drop what is known of everybody's looks of one kind; what is decided of ended tracks stands."""
        if self.tracks:
            self._settle(max(track.last_ns for track in self.tracks.values()) + round(WINDOW_S * 1e9))
        for track in self.tracks.values():
            track.forget_looks(kind)
        self.register.forget_looks(kind)
        self.evidence.forget_looks(kind)

    # -- decision ---------------------------------------------------------------------------------

    def _name(self, tracks: list[Track], tails: list[TrackedPerson], previous: list[int]) -> None:
        chains = Chains.of(tracks, tails, previous)
        self.before = chains.before
        identity = elect(tracks, chains, self.register)
        touched: set[int] = set()
        for column, track in enumerate(tracks):
            new = identity[chains.chain_of[column]]
            self._waiting.discard(track.track_id)
            if track.identity != new:
                touched |= {track.identity, new}
                track.identity = new
                self._untold[track.track_id] = new
        self.register.refresh(touched, self.tracks.values())

    def _settle(self, t_ns: int) -> None:
        ended = [track for track in self.tracks.values() if not track.open]
        ended.sort(key=lambda track: (track.last_ns, track.track_id))
        links: list[tuple[Track, Track]] = []
        surplus = len(ended) - max(MAX_TRACKS, len(self.tracks) - len(ended))
        for position, track in enumerate(ended):
            if track.identity == 0:
                continue
            if position >= surplus and (t_ns - track.last_ns) * 1e-9 < WINDOW_S:
                break
            self._drop(track)
            tail = self.register.people[track.identity].tail
            if tail is not None and self.before.get(track.track_id) == tail.track_id:
                links.append((tail, track))
            self.evidence.settle(track)
            self.register.settle(track)
        self.evidence.learn(links, self.sizes_px)
        present = {track.identity for track in self.tracks.values()}
        self.register.drop_oldest(present)
        if self.retention_s:
            self.register.drop_unseen(t_ns - round(self.retention_s * 1e9), present)

    # -- memory -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Plain values and arrays for `restored`, but for the people."""
        return {
            "tracks": list(self.tracks),
            "before": self.before,
            "sizes_px": self.sizes_px,
            "evidence": self.evidence.state(),
            "judgements": self.judgements.state(),
            "register": self.register.state(),
            "decisions": self.decisions,
            "decided_ns": self.decided_ns,
            "untold": self._untold,
            "backlog": self._backlog,
        }

    @classmethod
    def restored(
        cls,
        state: dict[str, Any],
        similarity_threshold: float,
        tracks: dict[int, Track],
        people: list[Any],
        retention_s: float = 0.0,
    ) -> Gallery:
        """What `state` gave; `tracks` by their id, `people` as `Register.changes` gave them, unpacked.

        Tracks of people who are missing from `people`, because the store has erased them, are undecided.
        """
        gallery = cls(similarity_threshold, retention_s)
        gallery.tracks = {track_id: tracks[track_id] for track_id in state["tracks"]}
        gallery.before = state["before"]
        gallery.sizes_px = {camera: (size[0], size[1]) for camera, size in state["sizes_px"].items()}
        gallery.evidence = Evidence.restored(state["evidence"])
        gallery.judgements = Judgements.restored(state["judgements"])
        gallery.register = Register.restored(state["register"], people)
        gallery.decisions, gallery.decided_ns = state["decisions"], state["decided_ns"]
        known = gallery.register.people
        for track in tracks.values():
            track.identity = track.identity if track.identity in known else 0
            track.pinned = track.pinned if track.pinned in known else 0
        gallery._untold = {track: who for track, who in state["untold"].items() if not who or who in known}
        gallery._backlog = state["backlog"]
        gallery._waiting = {number for number, track in gallery.tracks.items() if not track.identity}
        return gallery


def _ripe(track: Track) -> bool:
    age_s = (track.last_ns - track.first_ns) * 1e-9
    return track.weight >= RIPE_WEIGHT or age_s >= RIPE_S or not track.open


_beginning = attrgetter("first_ns", "track_id")
