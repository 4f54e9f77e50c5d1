"""A simulated site whose truth is known for every moment, so that several processes agree on it.

Each camera's picture is divided into lanes.  In each lane one person after another walks a few steps and
leaves; the next one comes after a pause.  Everybody visits each camera once, always in the same lane, in an
order that differs from group to group.  Where a person is follows from the seed, the camera and the time
alone.  Everybody's embedding is nearly orthogonal to everybody else's.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.detector.picture import Image
from shared.messages import Features, Float32, FrameStamp, People, Tracks

WIDTH, HEIGHT = 640, 480
CAMERAS = 3
LANES = 4
FPS = 10
STAY_S, PAUSE_S = 4.0, 1.5
"""Seconds that a person is in view of one camera at most, and until the next one comes into the same lane
at the earliest."""

_LATE_S = 0.8
"""A person comes at most this much later, and leaves at most this much earlier."""

SETTINGS = {"max_track_age": 0.5, "similarity_threshold": 0.99}
"""With these settings the tracker makes no mistake at this site: `max_track_age` is shorter than `PAUSE_S`,
so that no track passes from one person to the next.  A number that stands for two people is a crash's."""

DIMENSIONS = 256

_PERIOD_S = STAY_S + PAUSE_S
_LANE_PX = WIDTH // LANES
_BOX_PX = (50.0, 160.0)
_STEP_PX = 70.0
_FOOT_PX = 400.0
_JITTER_PX = 1.0
_NOISE = 0.5

_BACKGROUND = 115
"""Grey value of an empty picture: with everybody in it, its mean lightness is one that is not corrected."""

_DARKEST, _LEVEL_STEP, _LEVELS = 150, 13, 8
_BANDS = 3
"""A person is painted as three bands of grey, which are the digits of the person's number to the base 8.
The steps between grey values are several times the errors of JPEG and of the video."""


class Present(NamedTuple):
    """Somebody in view: the person's number from 1, and the box `x0, y0, x1, y1` in pixels."""

    person: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class World:
    """origin_ns: UTC nanoseconds at which the first people come; nobody is there before."""

    seed: int
    origin_ns: int

    def present(self, camera: int, t_ns: int) -> list[Present]:
        """Who is in view of a camera (numbered from 1), by lane."""
        return [found for lane in range(LANES) if (found := self._in_lane(camera, lane, t_ns)) is not None]

    def person_at(self, camera: int, t_ns: int, x: float) -> int | None:
        """The person in whose lane a box's centre is; None where there is nobody."""
        lane = min(max(int(x // _LANE_PX), 0), LANES - 1)
        found = self._in_lane(camera, lane, t_ns)
        return None if found is None else found.person

    def people(self, stamp: FrameStamp) -> People:
        """What a detector without errors would send of a frame."""
        found = self.present(stamp.camera, stamp.t_ns)
        random = np.random.default_rng((self.seed, stamp.camera, stamp.t_ns))
        boxes = np.array([each.box for each in found], np.float32).reshape(-1, 4)
        count = len(found)
        noise = random.normal(size=(count, DIMENSIONS))
        own = np.array([direction(each.person) for each in found]).reshape(-1, DIMENSIONS)
        vectors = own + _NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        return People(
            stamp=stamp,
            boxes=boxes + random.normal(0, _JITTER_PX, boxes.shape).astype(np.float32),
            scores=np.full(count, 0.9, np.float32),
            flow=np.full((count, 2), np.nan, np.float32),
            camera_motion=np.eye(2, 3, dtype=np.float32),
            features={
                "appearance": Features(
                    np.arange(count, dtype=np.int32),
                    (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
                    np.full(count, 0.8, np.float32),
                )
            },
        )

    def picture(self, camera: int, t_ns: int) -> Image:
        """(HEIGHT, WIDTH, 3): what the camera sees."""
        image = np.full((HEIGHT, WIDTH, 3), _BACKGROUND, np.uint8)
        for person, box in self.present(camera, t_ns):
            x0, y0, x1, y1 = (round(each) for each in box)
            rows = np.linspace(y0, y1, _BANDS + 1).astype(int)
            for band in range(_BANDS):
                digit = person // _LEVELS**band % _LEVELS
                image[rows[band] : rows[band + 1], x0:x1] = _DARKEST + _LEVEL_STEP * digit
        return image

    def _in_lane(self, camera: int, lane: int, t_ns: int) -> Present | None:
        t_s = (t_ns - self.origin_ns) * 1e-9 - lane * _PERIOD_S / LANES
        slot = int(t_s // _PERIOD_S)
        if slot < 0:
            return None
        person, late_s, early_s = _visit(self.seed, camera, lane, slot)
        in_view_s = t_s - slot * _PERIOD_S
        if not late_s <= in_view_s < STAY_S - early_s:
            return None
        x = lane * _LANE_PX + 20.0 + _STEP_PX * in_view_s / STAY_S
        return Present(person, (x, _FOOT_PX - _BOX_PX[1], x + _BOX_PX[0], _FOOT_PX))


@functools.lru_cache(100_000)
def _visit(seed: int, camera: int, lane: int, slot: int) -> tuple[int, float, float]:
    """Who comes, how many seconds late, and how many seconds early they leave."""
    group, visit = divmod(slot, CAMERAS)
    order = np.random.default_rng((seed, group, lane))
    shift, step = int(order.integers(CAMERAS)), int(order.choice((1, -1)))
    member = (camera - 1 - shift - step * visit) % CAMERAS
    person = 1 + lane + LANES * (group * CAMERAS + member)
    late_s, early_s = np.random.default_rng((seed, person, visit)).uniform(0, _LATE_S, 2)
    return person, float(late_s), float(early_s)


@functools.lru_cache(100_000)
def direction(person: int) -> Float32:
    """(DIMENSIONS,) of length 1: what a person looks like."""
    vector = np.random.default_rng(person).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def lanes_of(image: Image) -> list[tuple[float, float, float, float]]:
    """The boxes of the people painted in a picture, by lane."""
    is_person = image[:, :, 1] > (_BACKGROUND + _DARKEST) // 2
    boxes = []
    for lane in range(LANES):
        part = is_person[:, lane * _LANE_PX : (lane + 1) * _LANE_PX]
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if rows.size:
            left = lane * _LANE_PX
            boxes.append(
                (
                    float(left + columns[0]),
                    float(rows[0]),
                    float(left + columns[-1] + 1),
                    float(rows[-1] + 1),
                )
            )
    return boxes


def painted_person(crop: Image) -> int:
    """The number of the person whose box a crop is."""
    height, width = crop.shape[:2]
    person = 0
    for band in range(_BANDS):
        middle = int((band + 0.5) * height / _BANDS)
        reach = max(1, height // (4 * _BANDS))
        part = crop[middle - reach : middle + reach, width // 4 : max(width // 4 + 1, 3 * width // 4), 1]
        digit = round((float(part.mean()) - _DARKEST) / _LEVEL_STEP) if part.size else 0
        person += min(max(digit, 0), _LEVELS - 1) * _LEVELS**band
    return person


def rows_of(tracks: Tracks) -> list[tuple[int, int, float]]:
    """Track, identity and the box's centre of everybody who was really seen in a frame."""
    boxes = tracks.boxes[tracks.observed]
    centres = ((boxes[:, 0] + boxes[:, 2]) / 2).tolist()
    numbers = tracks.track_ids[tracks.observed].tolist(), tracks.identity_ids[tracks.observed].tolist()
    return list(zip(*numbers, centres, strict=True))
