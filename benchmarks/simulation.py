"""Simulated people in simulated rooms: detections and embeddings as networks would give, and the truth.

Each camera watches one room.  Rooms lie on a grid whose edges meet (a torus, so that no room is special) and
are joined by doors: people walk in a room from door to door over a point between, stand for a while, and are
out of every view for as long as the passage behind the door takes.  From each room a door leads outside;
some of those who left come back minutes later.

Appearance: vectors of `dimensions` numbers that vary in `VARIETY` of them only, so that strangers are about
as alike as they are to a re-identification network (cosine 0.26, standard deviation 0.15, of one camera),
with what all people share, a bias of each camera, one of each stay in a view, and noise of each crop; the
same person in two cameras has 0.67 in the mean.  Who is embedded follows the detector's policy: everybody
new who is in plain sight, and of the others the one who has waited longest, not oftener than every half
second.  Detections: misses, jitter, weak scores behind others, false alarms.

Everything follows from the seed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.messages import Features, FrameStamp, People

Float64 = NDArray[np.float64]

WIDTH, HEIGHT = 1920, 1080
START_NS = 1_700_000_000_000_000_000

DIMENSIONS, VARIETY = 256, 24
COMMON, CAMERA_BIAS, STAY_BIAS, CROP_NOISE = 0.6, 0.4, 0.5, 0.5
"""Lengths, a person's own part being 1."""

MISSED, HIDDEN_MISSED = 0.05, 0.7
"""Share of people not detected in plain sight, and with less than `PLAIN` to be seen."""

FALSE_ALARMS = 0.1
"""A frame."""

JITTER = 0.02
"""Standard deviation of a box's sides, in heights."""

PLAIN, TRUTH = 0.6, 0.5
"""Share of a person to be seen from which on there are embeddings, and from which on they are annotated."""

REPEAT_S = 0.5
SPEED = (0.8, 0.15)
"""Mean and standard deviation, heights/s."""

STANDING_S = 4.0
RETURNS, AWAY_S = 0.2, 600.0
PASSAGE_S = (2.0, 8.0)


@dataclass(frozen=True, slots=True)
class Truth:
    """Who is to be seen in a frame.  people: (N,) int64.  boxes: (N, 4) `x0, y0, x1, y1` pixels."""

    people: NDArray[np.int64]
    boxes: Float64


@dataclass(slots=True)
class _Stay:
    """A person's way through one room.  times: (4,) seconds, points: (4, 2) foot points, pixels."""

    person: int
    camera: int
    times: Float64
    points: Float64
    tall: float
    look: Float64
    door: int
    embedded_s: float = -1.0


class Simulation:
    """`people` in view of each of `cameras` on average, at `fps`.

    rooms: mean rooms of one visit.  dimensions: length of the appearance vectors.
    """

    def __init__(
        self,
        cameras: int,
        people: float,
        fps: float,
        *,
        seed: int = 1,
        rooms: float = 10.0,
        dimensions: int = DIMENSIONS,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.cameras, self.fps, self.rooms = cameras, fps, rooms
        rows = max(d for d in range(1, int(cameras**0.5) + 1) if cameras % d == 0)
        self._grid = (rows, cameras // rows)
        # Doors: 0 left, 1 right, 2 far, 3 near, 4 outside.
        along = self.rng.uniform(0.25, 0.75, (cameras, 5))
        self._doors = np.empty((cameras, 5, 2))
        self._doors[:, 0] = np.stack([np.zeros(cameras), 0.55 + 0.4 * along[:, 0]], axis=1)
        self._doors[:, 1] = np.stack([np.ones(cameras), 0.55 + 0.4 * along[:, 1]], axis=1)
        self._doors[:, 2] = np.stack([along[:, 2], np.full(cameras, 0.5)], axis=1)
        self._doors[:, 3] = np.stack([along[:, 3], np.full(cameras, 1.15)], axis=1)
        self._doors[:, 4] = np.stack([along[:, 4], np.full(cameras, 0.52)], axis=1)
        self._doors *= (WIDTH, HEIGHT)
        self._passage_s = self.rng.uniform(*PASSAGE_S, (cameras, 2))
        self._common = self._direction(COMMON)
        self._bias = self._directions(cameras, CAMERA_BIAS)
        self._basis = np.linalg.qr(self.rng.normal(size=(dimensions, VARIETY)))[0]
        self._looks: dict[int, Float64] = {}
        self._born = 0
        self._gone: list[tuple[float, int]] = []
        self._coming: list[tuple[float, int, int, int, float]] = []
        self._stays: list[_Stay] = []
        self._frame = 0
        self._fill(people)

    @property
    def seen(self) -> int:
        """How many different people there have been."""
        return self._born

    @property
    def t_s(self) -> float:
        """Seconds simulated."""
        return self._frame / self.fps

    def step(self) -> list[tuple[People, Truth]]:
        """The next moment in every camera, in the order of cameras, numbered from 1."""
        t_s = self.t_s
        self._move(t_s)
        stays = sorted(self._stays, key=lambda stay: stay.camera)
        now, before = self._boxes(stays, t_s), self._boxes(stays, t_s - 1 / self.fps)
        camera = np.array([stay.camera for stay in stays], np.int64)
        ends = np.searchsorted(camera, np.arange(self.cameras + 1))
        messages = []
        for c in range(self.cameras):
            part = slice(ends[c], ends[c + 1])
            messages.append(self._look(c, stays[part], now[part], now[part] - before[part], t_s))
        self._frame += 1
        return messages

    # -- people -----------------------------------------------------------------------------------

    def _fill(self, people: float) -> None:
        """Put as many on the site that `people` are in each view, and let them be anywhere on their way."""
        trial = [self._stay(self._newcomer(), n % self.cameras, 4, 0.0, 1.0) for n in range(200)]
        dwell_s = float(np.mean([stay.times[-1] for stay in trial]))
        share = dwell_s / (dwell_s + sum(PASSAGE_S) / 2)
        self._born, self._looks = 0, {}
        for _ in range(max(1, round(people * self.cameras / share))):
            begin = -float(self.rng.uniform(0, dwell_s / share))
            camera, door = int(self.rng.integers(self.cameras)), int(self.rng.integers(5))
            self._come(begin, self._newcomer(), camera, door)

    def _newcomer(self) -> int:
        self._born += 1
        self._looks[self._born] = self._direction(1.0)
        return self._born

    def _come(self, t_s: float, person: int, camera: int, door: int) -> None:
        tall = float(np.random.default_rng(person).uniform(0.88, 1.12))
        heapq.heappush(self._coming, (t_s, person, camera, door, tall))

    def _move(self, t_s: float) -> None:
        """Let end what ends and begin what begins up to this moment."""
        staying = []
        for stay in self._stays:
            if stay.times[-1] > t_s:
                staying.append(stay)
            else:
                self._leave(stay)
        self._stays = staying
        while self._coming and self._coming[0][0] <= t_s:
            begin_s, person, camera, door, tall = heapq.heappop(self._coming)
            stay = self._stay(person, camera, door, begin_s, tall)
            if stay.times[-1] > t_s:
                self._stays.append(stay)
            else:
                self._leave(stay)

    def _leave(self, stay: _Stay) -> None:
        """Through the door into the next room, or outside, for somebody else to come in."""
        t_s, rng = float(stay.times[-1]), self.rng
        if stay.door < 4:
            row, column = divmod(stay.camera, self._grid[1])
            step = ((0, -1), (0, 1), (-1, 0), (1, 0))[stay.door]
            room = ((row + step[0]) % self._grid[0]) * self._grid[1] + (column + step[1]) % self._grid[1]
            wait_s = self._passage_s[min(stay.camera, room), stay.door // 2]
            self._come(t_s + wait_s * rng.uniform(0.75, 1.25), stay.person, room, stay.door ^ 1)
            return
        if rng.random() < RETURNS:
            heapq.heappush(self._gone, (t_s + rng.exponential(AWAY_S), stay.person))
        else:
            del self._looks[stay.person]
        back = self._gone and self._gone[0][0] <= t_s
        person = heapq.heappop(self._gone)[1] if back else self._newcomer()
        self._come(t_s + rng.exponential(5.0), person, int(rng.integers(self.cameras)), 4)

    def _stay(self, person: int, camera: int, door: int, begin_s: float, tall: float) -> _Stay:
        rng = self.rng
        doors = [each for each in range(4) if each != door or self.cameras == 1]
        leaving = self.cameras == 1 or rng.random() < 1 / self.rooms
        out = 4 if leaving else int(rng.choice(doors))
        middle = (rng.uniform(0.1, 0.9) * WIDTH, rng.uniform(0.55, 1.0) * HEIGHT)
        points = np.array([self._doors[camera, door], middle, middle, self._doors[camera, out]])
        heights = (_height(points[:-1, 1]) + _height(points[1:, 1])) / 2 * tall
        speed = np.clip(rng.normal(*SPEED), 0.4, 1.4)
        steps_s = np.linalg.norm(np.diff(points, axis=0), axis=1) / heights / speed
        steps_s[1] = rng.exponential(STANDING_S)
        times = begin_s + np.concatenate([[0.0], np.cumsum(steps_s)])
        look = self._looks[person] + self._bias[camera] + self._direction(STAY_BIAS)
        return _Stay(person, camera, times, points, tall, look, out)

    # -- pictures ---------------------------------------------------------------------------------

    @staticmethod
    def _boxes(stays: list[_Stay], t_s: float) -> Float64:
        """(N, 4) whole boxes at a moment; before the beginning as at the beginning."""
        if not stays:
            return np.empty((0, 4))
        times = np.stack([stay.times for stay in stays])
        points = np.stack([stay.points for stay in stays])
        tall = np.array([stay.tall for stay in stays])
        part = np.clip((t_s - times[:, :-1]) / np.maximum(np.diff(times), 1e-9), 0.0, 1.0)
        foot = points[:, 0] + (part[..., None] * np.diff(points, axis=1)).sum(axis=1)
        high = _height(foot[:, 1]) * tall
        x, y = foot.T
        return np.stack([x - 0.19 * high, y - high, x + 0.19 * high, y], axis=1)

    def _look(
        self, camera: int, stays: list[_Stay], boxes: Float64, moved: Float64, t_s: float
    ) -> tuple[People, Truth]:
        rng = self.rng
        plain = _visible(boxes)
        inside = np.clip(boxes, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
        seen = plain >= TRUTH
        truth = Truth(np.array([stay.person for stay in stays], np.int64)[seen], inside[seen])
        missed = np.where(plain >= PLAIN, MISSED, HIDDEN_MISSED)
        found = np.flatnonzero((rng.random(len(stays)) > missed) & (plain > 0.15))
        noise = rng.normal(0, JITTER, (len(found), 4)) * (boxes[found, 3] - boxes[found, 1])[:, None]
        detected = np.clip(inside[found] + noise, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
        scores = np.clip(0.25 + 0.65 * plain[found] + rng.normal(0, 0.07, len(found)), 0.05, 0.99)
        shift = (moved[found, :2] + moved[found, 2:]) / 2 + rng.normal(0, 1.0, (len(found), 2))
        false = rng.poisson(FALSE_ALARMS)
        corner = rng.uniform(0, 0.8, (false, 2)) * (WIDTH, HEIGHT)
        alarms = np.concatenate([corner, corner + rng.uniform(60, 200, (false, 1)) * (0.4, 1.0)], axis=1)
        boxes32 = np.concatenate([detected, alarms]).astype(np.float32)
        scores32 = np.concatenate([scores, rng.uniform(0.1, 0.55, false)]).astype(np.float32)
        nowhere = np.full((false, 2), np.nan)
        stamp = FrameStamp(camera + 1, 0, self._frame, START_NS + round(t_s * 1e9), WIDTH, HEIGHT)
        people = People(
            stamp=stamp,
            boxes=boxes32,
            scores=scores32,
            flow=np.concatenate([shift, nowhere]).astype(np.float32),
            camera_motion=np.eye(2, 3, dtype=np.float32),
            features=self._features(stays, found, plain, t_s),
        )
        return people, truth

    def _features(
        self, stays: list[_Stay], found: NDArray[np.intp], plain: Float64, t_s: float
    ) -> dict[str, Features]:
        clear = [(row, stays[n]) for row, n in enumerate(found.tolist()) if plain[n] >= PLAIN]
        chosen = [(row, stay) for row, stay in clear if stay.embedded_s < 0]
        waiting = [each for each in clear if 0 <= each[1].embedded_s <= t_s - REPEAT_S]
        if waiting:
            chosen.append(min(waiting, key=lambda each: each[1].embedded_s))
        if not chosen:
            return {}
        chosen.sort(key=lambda each: each[0])
        vectors = self._common + np.stack([stay.look for _, stay in chosen])
        vectors = (vectors + self._directions(len(chosen), CROP_NOISE)) @ self._basis.T
        for _, stay in chosen:
            stay.embedded_s = max(t_s, 0.0)
        rows = np.array([row for row, _ in chosen], np.int32)
        return {
            "appearance": Features(
                of=rows,
                vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
                quality=np.clip(plain[found[rows]] * 0.9, 0, 1).astype(np.float32),
            )
        }

    def _direction(self, length: float) -> Float64:
        return np.asarray(self._directions(1, length)[0])

    def _directions(self, count: int, length: float) -> Float64:
        """(N, VARIETY) of about this length, in any direction."""
        return self.rng.normal(0, length / VARIETY**0.5, (count, VARIETY))


def _height(y: Float64) -> Float64:
    """Pixels that somebody whose feet are at y is high: who is farther up is farther away."""
    return np.asarray(0.10 * HEIGHT + 0.20 * y)


def _visible(boxes: Float64) -> Float64:
    """(N,) share of each box in the picture and not behind the one nearer person who hides most of it."""
    if not len(boxes):
        return np.empty(0)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    inside = np.clip(boxes, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
    sides = np.minimum(inside[:, None, 2:], inside[None, :, 2:]) - np.maximum(
        inside[:, None, :2], inside[None, :, :2]
    )
    over = np.prod(np.maximum(sides, 0), axis=2)
    nearer = boxes[None, :, 3] > boxes[:, None, 3]
    hidden = np.where(nearer, over, 0.0).max(axis=1)
    return np.asarray((np.prod(inside[:, 2:] - inside[:, :2], axis=1) - hidden) / area)
