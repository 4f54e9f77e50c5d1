"""How people get from one camera's view into another's: learned from the links that are made.

For each pair of cameras it is learned after how long one follows the other, whether people are in both at
once (the views overlap), and how the pictures lie to each other (`passage.py`).  A link is never judged by
what it has itself taught: its own share is taken out first.  Where the user has calibrated both cameras to
one ground plane, places on it are compared instead of pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.ground import GroundPlane
from services.tracker.kalman import Float64
from services.tracker.passage import Crossings, Passage
from services.tracker.ways import TOUCH_S, Ways
from shared.messages import Expected

ARRIVALS = 0.2
"""Newcomers a second: what somebody's reappearance is weighed against."""

RETURN = -6.0
"""Log-odds that a newcomer is one certain person who was gone, without evidence of time or place."""

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

FIRST_MOVES = 0.5
"""Moves between any two cameras that count before any is known."""

TERMS = ("time", "place", "movement", "size", "elsewhere")
"""Of the evidence; "elsewhere" is what it adds that somebody may have been anywhere in between."""

IMPOSSIBLE = -np.inf


class Topology:
    """The evidence of time and place for two tracks being consecutive stays of one person.

    grounds: the calibrated cameras; what a user tells, and so not part of `state`.
    """

    def __init__(self) -> None:
        self.passages: dict[tuple[int, int], Passage] = {}
        self.moves: dict[tuple[int, int], tuple[float, float]] = {}
        self.grounds: dict[int, GroundPlane] = {}

    def ratios(
        self, ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp], links: Float64
    ) -> dict[str, Float64]:
        """For each of `TERMS` (K,) log-likelihood ratios: track `later[k]` continues track `earlier[k]`.

        Their sum is the evidence; it is minus infinity where it cannot be.  links: (K,) how certain each of
        these pairs is to be a link, from the decision before; what is learned comes from those, and from the
        settled ones.
        """
        terms = {name: np.zeros(len(earlier)) for name in TERMS}
        a, b = ways.camera[earlier], ways.camera[later]
        same = a == b
        if same.any():
            _put(terms, same, self._same_camera(ways, earlier[same], later[same]))
        low, high = np.minimum(a, b), np.maximum(a, b)
        for pair in sorted({(int(x), int(y)) for x, y in zip(low[~same], high[~same], strict=True)}):
            rows = np.flatnonzero((low == pair[0]) & (high == pair[1]))
            _put(terms, rows, self._two_cameras(pair, ways, earlier[rows], later[rows], links[rows]))
        return terms

    @staticmethod
    def _same_camera(ways: Ways, earlier: NDArray[np.intp], later: NDArray[np.intp]) -> dict[str, Float64]:
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
        return _anywhere(terms, possible=gap_s > 0, elsewhere=np.ones(len(earlier), bool))

    def _two_cameras(
        self,
        pair: tuple[int, int],
        ways: Ways,
        earlier: NDArray[np.intp],
        later: NDArray[np.intp],
        links: Float64,
    ) -> dict[str, Float64]:
        passage = self.passages.get(pair) or Passage()
        gap_s = ways.first_s[later] - ways.last_s[earlier]
        at_once = gap_s < -TOUCH_S
        # A pair's own share in what was learned is taken out before it is judged.
        taught = np.where(at_once, 0.0, links)
        waits = passage.waits + taught.sum() - taught
        wait_s = passage.wait_s + (taught * gap_s).sum() - taught * gap_s
        mean_s = np.maximum(wait_s / waits, LEAVE_S)
        overlapping = passage.at_once + links[at_once].sum() - links * at_once
        following = passage.in_turn + taught.sum() - taught
        share = overlapping / (overlapping + following)
        terms = {
            "time": np.where(
                at_once,
                np.log(share / (1 - share)).clip(-4.0, 0.0),
                -np.maximum(gap_s, 0) / mean_s - np.log(mean_s * ARRIVALS),
            )
        }
        near = np.flatnonzero(gap_s < REACH_S)
        if len(near):
            grounds = [self.grounds.get(camera) for camera in pair]
            if grounds[0] is not None and grounds[1] is not None:
                forward = ways.camera[earlier[near]] == pair[0]
                first = np.where(forward, earlier[near], later[near])
                second = np.where(forward, later[near], earlier[near])
                found = {"place": grounds[0].ratio(grounds[1], ways, first, second)}
            else:
                found = Crossings.of(pair, ways, earlier[near], later[near]).scores(passage, links[near])
            for name, value in found.items():
                terms[name] = np.zeros(len(earlier))
                terms[name][near] = value
        return _anywhere(terms, possible=np.ones(len(earlier), bool), elsewhere=~at_once)

    def learn(self, ways: Ways, earlier: int, later: int) -> None:
        """Keep what a link says that is now settled."""
        a, b = int(ways.camera[earlier]), int(ways.camera[later])
        gap_s = float(ways.first_s[later] - ways.last_s[earlier])
        if gap_s >= -TOUCH_S:
            moves, wait_s = self.moves.get((a, b), (0.0, 0.0))
            self.moves[a, b] = (moves + 1, wait_s + max(gap_s, 0.0))
        if a == b or gap_s >= REACH_S:
            return
        pair = (min(a, b), max(a, b))
        passage = self.passages.setdefault(pair, Passage())
        crossing = Crossings.of(pair, ways, np.array([earlier]), np.array([later]))
        passage.learn(gap_s, crossing.lesson())

    def connected(self) -> set[tuple[int, int]]:
        """Pairs of cameras, in both orders, between which people have been seen to go."""
        return {pair for a, b in self.passages for pair in ((a, b), (b, a))}

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


def _anywhere(
    terms: dict[str, Float64], *, possible: NDArray[np.bool_], elsewhere: NDArray[np.bool_]
) -> dict[str, Float64]:
    """The terms and what "elsewhere" adds where it may: the sum is then never far below `RETURN`."""
    direct = np.sum(list(terms.values()), axis=0)
    total = np.where(elsewhere, np.logaddexp(direct, RETURN), direct)
    return terms | {"elsewhere": np.where(possible, total - direct, IMPOSSIBLE)}


def _put(terms: dict[str, Float64], rows: NDArray[Any], found: dict[str, Float64]) -> None:
    for name, value in found.items():
        terms[name][rows] = value
