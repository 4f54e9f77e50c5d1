"""How people get from one camera's view into another's: learned from the links that are made.

For each pair of cameras it is learned after how long one follows the other, whether people are in both at
once (the views overlap), and how the pictures lie to each other (`passage.py`).  A link is never judged by
what it has itself taught: its own share is taken out first.  Where the user has calibrated both cameras to
one ground plane, places on it are compared instead of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracker.ground import GroundPlane
from services.tracker.kalman import Float64
from services.tracker.passage import Crossings, Knowledge, Passage
from services.tracker.ways import TOUCH_S, Ways
from shared.messages import Expected

LONG_S = 60.0
"""After so long it says nothing any more that somebody was in the same place."""

ARRIVALS = 0.2
"""Newcomers a second: what somebody's reappearance is weighed against."""

RETURNS = 0.5
"""Prior probability that a new track shows somebody who was seen before."""

REACH_S = 10.0
"""Longest gap over which a person's way is thought on."""

PLACE = 0.2
"""Standard deviation of a foot point in heights."""

SPEED = 0.5
"""How fast somebody unseen may have walked off, in heights/s."""

NEAREST = 3.0
"""A place in the same camera says no more than this for somebody: people wait where others waited."""

STAY_S, LEAVE_S = 5.0, 1.0
"""Mean time after which people lost within the picture, and at its border, are found in the same camera."""

MOST_NEIGHBOURS = 6
"""Cameras that are looked at for everybody who appears in one, where there is too much to look at."""

LEAST_AT_ONCE = -4.0
"""That two cameras have never seen anybody at once says no more than this against a pair."""

FEW = 3.0
"""So many people in the other view are no reason to be more careful."""

FIRST_MOVES = 0.5
"""Moves between any two cameras that count before any is known."""

TERMS = ("time", "place", "movement", "size", "elsewhere")
"""Of the evidence; "elsewhere" is what it adds that somebody may have been anywhere in between."""

IMPOSSIBLE = -np.inf


UNKNOWN = Passage()


class Asked(NamedTuple):
    """K pairs of tracks: whether the later continues the earlier.

    earlier, later: (K,) which tracks.  links: (K,) how certain each is to be a link, from the decision
    before.  company: (K,) how many the earlier one's camera sees when the later one begins.
    """

    earlier: NDArray[np.intp]
    later: NDArray[np.intp]
    links: Float64
    company: NDArray[np.int64]

    def at(self, rows: NDArray[np.intp]) -> Asked:
        """Some of them."""
        return Asked(self.earlier[rows], self.later[rows], self.links[rows], self.company[rows])


class Neighbour(NamedTuple):
    """A camera from which people come, and when.

    mean_s: mean gap.  at_once: log-odds of seeing them at once instead.
    """

    camera: int
    mean_s: float
    at_once: float


class Topology:
    """The evidence of time and place for two tracks being consecutive stays of one person.

    grounds: the calibrated cameras; what a user tells, and so not part of `state`.
    returning: prior log-odds that a new track shows one given person who was seen before, without evidence of
        time or place.  `expect` sets it from the number of people.
    """

    def __init__(self) -> None:
        self.returning = 0.0
        self.passages: dict[tuple[int, int], Passage] = {}
        self.moves: dict[tuple[int, int], tuple[float, float]] = {}
        self.grounds: dict[int, GroundPlane] = {}

    def ratios(self, ways: Ways, asked: Asked) -> dict[str, Float64]:
        """For each of `TERMS` (K,) log-likelihood ratios of these pairs.

        Their sum is the evidence; it is minus infinity where it cannot be.  What is learned comes from those
        that are links, and from the settled ones.
        """
        earlier, later = asked.earlier, asked.later
        terms = {name: np.zeros(len(earlier)) for name in TERMS}
        same = ways.camera[earlier] == ways.camera[later]
        if same.any():
            _put(terms, same, self._same_camera(ways, earlier[same], later[same]))
        if not same.all():
            two = np.flatnonzero(~same)
            _put(terms, two, self._two_cameras(ways, asked.at(two)))
        return terms

    def expect(self, people: int) -> None:
        """Set the prior of a return: each of the people who were seen before is equally likely."""
        self.returning = math.log(RETURNS / (1 - RETURNS)) - math.log(max(people, 1))

    def at_most(self, gap_s: Float64, same: NDArray[np.bool_]) -> Float64:
        """(K,) a bound of the evidence for gaps of more than `REACH_S`, in the same camera or from another.

        It is that of the mean gap, not known here, that would fit best.
        """
        time = -1.0 - np.log(np.maximum(gap_s, REACH_S) * ARRIVALS)
        nearest = np.maximum(time, -np.log(LEAVE_S * ARRIVALS)) + NEAREST
        return np.asarray(np.logaddexp(np.where(same, nearest, time), self.returning))

    def long_after(self, gap_s: float) -> float:
        """A bound of the evidence for a gap of more than `LONG_S`, in whichever camera."""
        return float(np.logaddexp(-1.0 - np.log(gap_s * ARRIVALS), self.returning))

    def _same_camera(
        self, ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp]
    ) -> dict[str, Float64]:
        gap_s = ways.first_s[later] - ways.last_s[earlier]
        near = np.minimum(gap_s, REACH_S)
        start = ways.at(later, ways.first_s[later])
        end = ways.at(earlier, ways.last_s[earlier])
        heights = np.maximum(start[:, 4], 1.0)
        # Somebody unseen may walk on, stop or turn: the spread grows with the time from where they were.
        deviation = (PLACE + SPEED * near) * heights
        walked_on = end[:, :2] + end[:, 2:4] * np.minimum(near, 1.0)[:, None]
        distance = ((start[:, :2] - walked_on) ** 2).sum(axis=1)
        area = ways.size[later].prod(axis=1)
        place = np.log(area / (2 * np.pi * deviation**2)) - distance / deviation**2 / 2
        mean_s = np.where(ways.leaves()[earlier], LEAVE_S, STAY_S)
        time = -gap_s / mean_s - np.log(mean_s * ARRIVALS)
        terms = {"time": time, "place": np.minimum(place, NEAREST)}
        return self._anywhere(terms, possible=gap_s > 0, elsewhere=np.ones(len(earlier), bool))

    def _two_cameras(self, ways: Ways, asked: Asked) -> dict[str, Float64]:
        earlier, later, links, company = asked
        a, b = ways.camera[earlier], ways.camera[later]
        cameras, place = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)]), return_inverse=True)
        low, high = place.reshape(2, -1)
        both, of = np.unique(low * len(cameras) + high, return_inverse=True)
        pairs = [(int(cameras[each // len(cameras)]), int(cameras[each % len(cameras)])) for each in both]
        known = Knowledge([self.passages.get(pair, UNKNOWN) for pair in pairs], of.ravel())
        gap_s = ways.first_s[later] - ways.last_s[earlier]
        at_once = gap_s < -TOUCH_S
        # A pair's own share in what was learned is taken out before it is judged.
        taught = np.where(at_once, 0.0, links)
        mean_s = np.maximum(
            known.without_own("wait_s", taught * gap_s) / known.without_own("waits", taught), LEAVE_S
        )
        usual = known.elsewhere(links * at_once, taught)
        overlapping = known.without_own("at_once", links * at_once) + usual[:, 0]
        share = overlapping / (overlapping + known.without_own("in_turn", taught) + usual[:, 1])
        terms = {
            "time": np.where(
                at_once,
                # Of all whom the other camera sees one at most is the same.
                np.log(share / (1 - share)).clip(LEAST_AT_ONCE, 0.0) - np.log(np.maximum(company / FEW, 1.0)),
                -np.maximum(gap_s, 0) / mean_s - np.log(mean_s * ARRIVALS),
            )
        }
        near = np.flatnonzero(gap_s < REACH_S)
        if len(near):
            found = Crossings.of(ways, earlier[near], later[near]).scores(known.at(near), links[near])
            for name, value in found.items():
                terms[name] = np.zeros(len(earlier))
                terms[name][near] = value
            self._compare_grounds(ways, earlier, later, near, terms)
        return self._anywhere(terms, possible=np.ones(len(earlier), bool), elsewhere=~at_once)

    def _compare_grounds(
        self,
        ways: Ways,
        earlier: NDArray[np.intp],
        later: NDArray[np.intp],
        near: NDArray[np.intp],
        terms: dict[str, Float64],
    ) -> None:
        """Between calibrated cameras, compare places on the ground instead of pictures."""
        a, b = ways.camera[earlier[near]], ways.camera[later[near]]
        for low, high in combinations(sorted(self.grounds), 2):
            rows = near[(np.minimum(a, b) == low) & (np.maximum(a, b) == high)]
            if not len(rows):
                continue
            forward = ways.camera[earlier[rows]] == low
            first = np.where(forward, earlier[rows], later[rows])
            second = np.where(forward, later[rows], earlier[rows])
            terms["place"][rows] = self.grounds[low].ratio(self.grounds[high], ways, first, second)
            terms["movement"][rows] = terms["size"][rows] = 0.0

    def _anywhere(
        self, terms: dict[str, Float64], *, possible: NDArray[np.bool_], elsewhere: NDArray[np.bool_]
    ) -> dict[str, Float64]:
        """The terms and "elsewhere", which raises their sum to at least `returning` where it applies."""
        direct = np.sum(list(terms.values()), axis=0)
        total = np.where(elsewhere, np.logaddexp(direct, self.returning), direct)
        return terms | {"elsewhere": np.where(possible, total - direct, IMPOSSIBLE)}

    def learn(self, ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp]) -> None:
        """Keep what K links say that are now settled; earlier, later: (K,) which of the ways."""
        lesson = Crossings.of(ways, earlier, later).lesson()
        gaps_s = (ways.first_s[later] - ways.last_s[earlier]).tolist()
        cameras = zip(ways.camera[earlier].tolist(), ways.camera[later].tolist(), strict=True)
        for number, ((a, b), gap_s) in enumerate(zip(cameras, gaps_s, strict=True)):
            if gap_s >= -TOUCH_S:
                moves, wait_s = self.moves.get((a, b), (0.0, 0.0))
                self.moves[a, b] = (moves + 1, wait_s + max(gap_s, 0.0))
            if a != b and gap_s < REACH_S:
                passage = self.passages.setdefault((min(a, b), max(a, b)), Passage())
                passage.learn(gap_s, lesson, number)

    def neighbours(
        self, cameras: Iterable[int], links: Mapping[tuple[int, int], int]
    ) -> dict[int, list[Neighbour]]:
        """For each camera those from which people come most, itself first.

        links: (a, b), a < b -> links between two cameras that are not settled.
        """
        counts: dict[tuple[int, int], float] = dict(links)
        for pair, passage in self.passages.items():
            counts[pair] = counts.get(pair, 0) + passage.at_once + passage.in_turn
        others: dict[int, list[tuple[float, int]]] = {}
        for (a, b), count in counts.items():
            others.setdefault(a, []).append((-count, b))
            others.setdefault(b, []).append((-count, a))
        most = {(a, b) for a, each in others.items() for _, b in sorted(each)[:MOST_NEIGHBOURS]}
        found = {camera: [Neighbour(camera, STAY_S, IMPOSSIBLE)] for camera in cameras}
        for a, b in sorted(most | {(b, a) for a, b in most}):
            if b in found:
                passage = self.passages.get((min(a, b), max(a, b)), UNKNOWN)
                mean_s = max(passage.wait_s / passage.waits, LEAVE_S)
                at_once = max(math.log(passage.at_once / passage.in_turn), LEAST_AT_ONCE)
                found[b].append(Neighbour(a, mean_s, min(at_once, 0.0)))
        return found

    def next_cameras(self, camera: int) -> list[Expected]:
        """Where people who left this camera were seen next, the most probable first; empty before any was."""
        known = {b: value for (a, b), value in self.moves.items() if a == camera}
        total = sum(moves + FIRST_MOVES for moves, _ in known.values())
        expected = [
            Expected(b, (moves + FIRST_MOVES) / total, wait_s / moves) for b, (moves, wait_s) in known.items()
        ]
        return sorted(expected, key=lambda each: (-each.probability, each.camera))

    def state(self) -> list[Any]:
        """Plain values and arrays for `restored`."""
        return [
            [[*pair, passage.state()] for pair, passage in sorted(self.passages.items())],
            [[*pair, *move] for pair, move in sorted(self.moves.items())],
        ]

    @classmethod
    def restored(cls, state: list[Any]) -> Topology:
        """What `state` gave."""
        topology = cls()
        topology.passages = {(a, b): Passage.restored(passage) for a, b, passage in state[0]}
        topology.moves = {(a, b): (moves, wait_s) for a, b, moves, wait_s in state[1]}
        return topology


def _put(terms: dict[str, Float64], rows: NDArray[Any], found: dict[str, Float64]) -> None:
    for name, value in found.items():
        terms[name][rows] = value
