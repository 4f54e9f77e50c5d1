"""One identity a person, over all cameras.

Every track has at most one predecessor: the track in which the same person was seen before, in this or
another camera.  Who precedes whom is decided jointly, as the assignment with the highest total
log-likelihood ratio (a minimum-cost path cover, Zhang et al. 2008, over the tracks of a sliding window),
and decided again when there is more evidence; the paths are the identities.  Tracks that ended long ago
are settled: they become the prototypes of a `TrackedPerson`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import Similarity, Spread, normalised
from services.tracker.association import assign
from services.tracker.kalman import Float64
from services.tracker.person import MAX_TRACK_WEIGHT, TrackedPerson
from services.tracker.state import pack
from services.tracker.topology import Topology, Ways
from services.tracker.track import Track

WINDOW_S = 120.0
"""A track that ended longer ago is settled."""

MAX_TRACKS = 192
"""Tracks open to revision at most."""

MAX_TAILS = 256
"""Settled people looked at when somebody appears, the latest seen first."""

REVISION_S = 1.0
"""Decisions are looked over again after this long."""

RIPE_WEIGHT = 2.0
RIPE_S = 2.0
"""A track gets an identity with this much quality of embeddings, or at this age."""

LOYALTY = 0.5
"""Advantage of what was decided before, so that equal evidence does not make identities flicker."""

CENTRE_WEIGHT = 3.0
"""Tracks that a camera's mean appearance must outweigh to be told from the mean of all cameras."""


class Gallery:
    """Decides which tracks are one person."""

    def __init__(self, similarity_threshold: float) -> None:
        share = min(max(similarity_threshold, 0.01), 0.99)
        self.threshold = math.log(share / (1 - share))
        self.sizes_px: dict[int, tuple[int, int]] = {}
        self.people: dict[int, TrackedPerson] = {}
        self.tracks: dict[int, Track] = {}
        self.before: dict[int, int] = {}
        self.topology = Topology()
        self.similarity = Similarity(Spread(0.65, 0.16, 50.0), Spread(0.0, 0.2, 50.0))
        self.centres: dict[int, tuple[Float64, float]] = {}
        self.next_identity = 1
        self.decisions = 0
        self.decided_ns = 0
        self.changed: set[int] = set()

    def person(self, identity: int) -> TrackedPerson | None:
        """The person with this identity."""
        return self.people.get(identity)

    def see(self, track: Track, size_px: tuple[int, int]) -> None:
        """Take in a confirmed track that has been observed just now, in a picture of this size."""
        self.sizes_px[track.camera] = size_px
        self.tracks[track.track_id] = track
        person = self.people.get(track.identity)
        if person is not None:
            _, x, y, *_ = track.way[-1]
            person.seen = (track.camera, track.last_ns, x, y)
            self.changed.add(person.identity)

    def due(self, t_ns: int) -> bool:
        """Whether it is time to decide."""
        if (t_ns - self.decided_ns) * 1e-9 >= REVISION_S:
            return bool(self.tracks)
        return any(track.identity == 0 and _ripe(track) for track in self.tracks.values())

    def decide(self, t_ns: int) -> list[tuple[int, int]]:
        """Decide who is who; returns the (track, identity) that changed, in the order of tracks."""
        self.decided_ns = t_ns
        self.decisions += 1
        self._settle(t_ns)
        tracks = sorted(
            (track for track in self.tracks.values() if track.identity or _ripe(track)),
            key=lambda track: (track.first_ns, track.track_id),
        )
        if not tracks:
            return []
        tails = self._tails()
        score = self._score(tracks, tails)
        chains = self._chains(tracks, tails, score)
        return self._name(tracks, tails, chains)

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

    # -- evidence ---------------------------------------------------------------------------------

    def _tails(self) -> list[TrackedPerson]:
        settled = [person for person in self.people.values() if person.tail is not None]
        settled.sort(key=lambda person: (-person.tail.last_ns, person.identity))  # type: ignore[union-attr]
        return sorted(settled[:MAX_TAILS], key=lambda person: person.identity)

    def _centre(self) -> dict[int, Float64]:
        """The mean appearance of each camera's people, drawn towards that of all cameras."""
        sums = dict(self.centres)
        for track in self.tracks.values():
            mean = track.mean
            if mean is not None:
                total, n = sums.get(track.camera, (np.zeros_like(mean), 0.0))
                sums[track.camera] = (total + mean, n + 1)
        if not sums:
            return {}
        overall = np.sum([total for total, _ in sums.values()], axis=0) / (
            sum(n for _, n in sums.values()) + CENTRE_WEIGHT
        )
        return {
            camera: (total + CENTRE_WEIGHT * overall) / (n + CENTRE_WEIGHT)
            for camera, (total, n) in sums.items()
        }

    def _score(self, tracks: list[Track], tails: list[TrackedPerson]) -> Float64:
        """(T + N, N) log-likelihood ratios: rows are possible predecessors, tails first."""
        n, t = len(tracks), len(tails)
        ends = [person.tail for person in tails if person.tail is not None] + tracks
        score = np.full((t + n, n), -np.inf)
        rows, columns = np.nonzero(np.arange(t + n)[:, None] - t < np.arange(n)[None])
        ways = Ways.of(ends, self.sizes_px)
        appearance = self._appearance(tracks, tails)
        row_of = {end.track_id: row for row, end in enumerate(ends)}
        previous = [row_of.get(self.before.get(track.track_id, 0), -1) for track in tracks]
        linked = rows == np.array(previous)[columns]
        # A link that was made teaches as much as its appearance, not its place, makes it certain.
        links = linked / (1 + np.exp(-appearance[rows, columns]))
        score[rows, columns] = self.topology.ratio(ways, rows, columns + t, links)
        score[rows[linked], columns[linked]] += LOYALTY
        score += appearance
        camera = np.array([track.camera for track in tracks])
        first_ns = np.array([track.first_ns for track in tracks])
        for row, person in enumerate(tails):
            for place, busy_ns in person.busy_ns.items():
                score[row, (camera == place) & (first_ns <= busy_ns)] = -np.inf
        return score

    def _appearance(self, tracks: list[Track], tails: list[TrackedPerson]) -> Float64:
        centre = self._centre()
        n, t = len(tracks), len(tails)
        if not centre:
            return np.zeros((t + n, n))
        size = len(next(iter(centre.values())))
        own, weight = np.zeros((n, size)), np.zeros(n)
        for i, track in enumerate(tracks):
            mean = track.mean
            if mean is not None:
                own[i], weight[i] = mean - centre[track.camera], min(track.weight, MAX_TRACK_WEIGHT)
        own = normalised(own)
        known: Float64 = np.zeros((t + n, size))
        prefix: dict[int, Float64] = {}
        for row, person in enumerate(tails):
            for camera, (total, share) in sorted(person.prototypes.items()):
                known[row] += total - share * centre[camera]
            prefix[person.identity] = known[row]
        for i, track in enumerate(tracks):
            value = own[i] * weight[i]
            if track.identity:
                value = value + prefix.get(track.identity, np.zeros(size))
                prefix[track.identity] = value
            known[t + i] = value
        has = np.any(known != 0, axis=1)[:, None] & np.any(own != 0, axis=1)[None]
        cosine = normalised(known) @ own.T
        apart = _apart(tracks)
        self._impostors(own, apart)
        return np.where(has, self.similarity.ratio(cosine), 0.0)

    def _impostors(self, own: Float64, apart: NDArray[np.bool_]) -> None:
        """What the cosines of two people are like: those seen at once by one camera."""
        has = np.any(own != 0, axis=1)
        apart = apart & has[:, None] & has[None]
        self.similarity.different = Spread(0.0, 0.2, 50.0)
        if apart.any():
            self.similarity.different.add((own @ own.T)[apart], 0.5)

    # -- decision ---------------------------------------------------------------------------------

    def _chains(self, tracks: list[Track], tails: list[TrackedPerson], score: Float64) -> list[int]:
        """For each track the row of its predecessor, -1 for none, without contradictions."""
        n, t = len(tracks), len(tails)
        score = score.copy()
        while True:
            rows, columns = assign(score, self.threshold)
            previous = np.full(n, -1)
            previous[columns] = rows
            broken = False
            for column in range(n):
                # Walk back from each track; the first one met that it excludes breaks the chain.
                weakest, step = column, column
                while previous[step] >= 0:
                    if score[previous[step], step] < score[previous[weakest], weakest]:
                        weakest = step
                    row = int(previous[step])
                    clash = (
                        tails[row].busy_ns.get(tracks[column].camera, -1) >= tracks[column].first_ns
                        if row < t
                        else _together(tracks[row - t], tracks[column])
                    )
                    if clash:
                        score[previous[weakest], weakest] = -np.inf
                        broken = True
                        break
                    if row < t:
                        break
                    step = row - t
                if broken:
                    break
            if not broken:
                return [int(p) for p in previous]

    def _name(
        self, tracks: list[Track], tails: list[TrackedPerson], previous: list[int]
    ) -> list[tuple[int, int]]:
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
                settled.append(0)
                if row >= 0:
                    tail = tails[row].tail
                    assert tail is not None
                    settled[chain] = tails[row].identity
                    self.before[tracks[column].track_id] = tail.track_id
            chain_of.append(chain)
            chains[chain].append(column)
        identity = self._votes(tracks, chains, settled)
        changes = []
        touched: set[int] = set()
        for column, track in enumerate(tracks):
            new = identity[chain_of[column]]
            if track.identity != new:
                touched |= {track.identity, new}
                track.identity = new
                changes.append((track.track_id, new))
        self._refresh(touched)
        return sorted(changes)

    def _votes(self, tracks: list[Track], chains: list[list[int]], settled: list[int]) -> list[int]:
        """An identity for each chain: the settled person's, else the one most of it has had, else new."""
        identity = list(settled)
        taken = {i for i in settled if i} | {p.identity for p in self.people.values() if p.tail is not None}
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
            if not identity[chain] and old not in taken:
                identity[chain] = old
                taken.add(old)
        for chain in range(len(chains)):
            if not identity[chain]:
                identity[chain] = self.next_identity
                self.people[self.next_identity] = TrackedPerson(self.next_identity)
                self.next_identity += 1
        return identity

    def _refresh(self, identities: set[int]) -> None:
        """Where people whose tracks have changed were last seen; who has none left is forgotten."""
        for identity in sorted(identities - {0}):
            person = self.people[identity]
            own = [track for track in self.tracks.values() if track.identity == identity]
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
        surplus = len(self.tracks) - MAX_TRACKS
        for position, track in enumerate(ended):
            if track.identity == 0:
                continue
            if position >= surplus and (t_ns - track.last_ns) * 1e-9 < WINDOW_S:
                break
            del self.tracks[track.track_id]
            mean = track.mean
            if mean is not None:
                total, n = self.centres.get(track.camera, (np.zeros_like(mean), 0.0))
                self.centres[track.camera] = (total + mean, n + 1)
            self._learn(track)
            self.people[track.identity].settle(track)
            self.changed.add(track.identity)

    def _learn(self, track: Track) -> None:
        """Keep what the link to a track says that is about to be settled."""
        previous = self.people[track.identity].tail
        if previous is not None and self.before.get(track.track_id) == previous.track_id:
            self.topology.learn(Ways.of([previous, track], self.sizes_px), 0, 1)

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
            "topology": self.topology.state(),
            "centres": [[camera, *value] for camera, value in self.centres.items()],
            "similarity": self.similarity.state(),
            "next_identity": self.next_identity,
            "decisions": self.decisions,
            "decided_ns": self.decided_ns,
        }

    @classmethod
    def restored(
        cls, state: dict[str, Any], similarity_threshold: float, tracks: dict[int, Track], people: list[Any]
    ) -> Gallery:
        """What `state` gave; `tracks` by their id, `people` as `changed_people` gave them, unpacked."""
        gallery = cls(similarity_threshold)
        gallery.tracks = {track_id: tracks[track_id] for track_id in state["tracks"]}
        gallery.before = state["before"]
        gallery.sizes_px = {camera: (size[0], size[1]) for camera, size in state["sizes_px"].items()}
        gallery.topology = Topology.restored(state["topology"])
        gallery.centres = {camera: (total, n) for camera, total, n in state["centres"]}
        gallery.similarity = Similarity.restored(state["similarity"])
        gallery.next_identity, gallery.decided_ns = state["next_identity"], state["decided_ns"]
        gallery.decisions = state["decisions"]
        for person in (TrackedPerson.restored(each) for each in people if each is not None):
            gallery.people[person.identity] = person
        return gallery


def _ripe(track: Track) -> bool:
    age_s = (track.last_ns - track.first_ns) * 1e-9
    return track.weight >= RIPE_WEIGHT or age_s >= RIPE_S or not track.open


def _apart(tracks: list[Track]) -> NDArray[np.bool_]:
    """(N, N) which tracks one camera has seen at once."""
    camera = np.array([track.camera for track in tracks])
    first = np.array([track.first_ns for track in tracks])
    last = np.array([track.last_ns for track in tracks])
    meet = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    np.fill_diagonal(meet, False)
    return np.asarray(meet & (camera[:, None] == camera[None, :]))


def _together(a: Track, b: Track) -> bool:
    """Whether one camera has seen both at once, so that they are two people."""
    return a.camera == b.camera and a.first_ns <= b.last_ns and b.first_ns <= a.last_ns
