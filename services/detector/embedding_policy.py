"""Who gets a fresh vector in a frame.

Embedding a crop costs a third of detecting people in a whole frame, and the tenth vector of a person in one
second says what the first said.  So a person is embedded when that tells something new: on appearing,
on stepping out of a crowd (this may be someone else now), on coming much nearer or going much farther,
and every half second otherwise.  Crops that show somebody else, or half a person, are never embedded:
they would poison the gallery.

The choice depends on the boxes and capture times of one camera's frames alone, so a recording gives the
same choice each time.  Of live cameras people are embedded less often where that takes too much of the
networks' time (`budget`); whoever is new still comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.detector.family import Pace
from services.detector.quality import visibility
from shared.limits import MAX_PEOPLE
from shared.messages import Float32, Int32

MEMORY_NS = 1_000_000_000
"""Somebody not detected for longer counts as new."""

SAME_PERSON_IOU = 0.3
SIZE_CHANGE = 1.6
"""Ratio of areas from which on a person looks different enough."""

NEW_UNDER_LOAD = 16
FEWEST_NEW = 2
"""New people embedded in one frame of a camera that is eased twice as far halve: from the first number, down
to the second.  The others' turn comes in the next frames."""

APPEARANCE = Pace(
    interval_ns=500_000_000,
    settle_ns=200_000_000,
    lowest_width_px=12.0,
    lowest_height_px=32.0,
    lowest_visibility=0.6,
    most_new=MAX_PEOPLE,
    most_repeats=1,
)
"""Everybody new is embedded at once, for the tracker decides by it who they are."""


@dataclass(slots=True)
class _Known:
    """A person of the last frames.

    embedded_ns: when last embedded, None if never.  doubtful: since then hidden, cut or away for a
        while, so that the box may have passed to somebody else.
    """

    box: Float32
    seen_ns: int
    embedded_ns: int | None = None
    embedded_area: float = 0.0
    doubtful: bool = False


class EmbeddingPolicy:
    """The choice for one camera's uninterrupted stream of frames."""

    def __init__(self, confidence: float, pace: Pace = APPEARANCE) -> None:
        """confidence: people scored lower are followed but not embedded."""
        self._confidence = confidence
        self._pace = pace
        self._known: list[_Known] = []
        self._last_ns: int | None = None

    def choose(
        self, t_ns: int, boxes: Float32, scores: Float32, width: int, height: int, *, stretch: float = 1.0
    ) -> tuple[Int32, Float32]:
        """The people to embed in the next frame: rows of `boxes`, increasing, and how visible each is.

        t_ns: capture time.  boxes: (N, 4) float32 pixels, clipped to a frame of `width` x `height`.
        scores: (N,) float32.  stretch: how many times as long as usual to wait before a second look.
        """
        sure = scores >= self._confidence
        visible = np.zeros(len(boxes), np.float32)
        # A weak box over a person is more often a second look at the same than somebody in front.
        visible[sure] = visibility(boxes[sure], width, height)
        sides = boxes[:, 2:] - boxes[:, :2]
        large = (sides[:, 0] >= self._pace.lowest_width_px) & (sides[:, 1] >= self._pace.lowest_height_px)
        clear = sure & large & (visible >= self._pace.lowest_visibility)

        people = self._recognised(t_ns, boxes)
        for row, person in enumerate(people):
            person.doubtful |= not clear[row] or person.seen_ns not in (self._last_ns, t_ns)
            person.box, person.seen_ns = boxes[row], t_ns
        due = sorted(
            (-self._urgency(people[row], t_ns, stretch) * float(visible[row] * scores[row]), int(row))
            for row in np.flatnonzero(clear)
            if self._urgency(people[row], t_ns, stretch) > 0
        )
        first = [row for _, row in due if people[row].embedded_ns is None]
        again = [row for _, row in due if people[row].embedded_ns is not None]
        rows: Int32 = np.array(
            sorted(first[: self._most_new(stretch)] + again[: self._pace.most_repeats]), np.int32
        )
        for row in rows:
            person = people[row]
            person.embedded_ns, person.embedded_area, person.doubtful = t_ns, _area(boxes[row]), False

        absent = [p for p in self._known if p.seen_ns != t_ns and t_ns - p.seen_ns <= MEMORY_NS]
        self._known = people + absent
        self._last_ns = t_ns
        return rows, visible[rows]

    def _most_new(self, stretch: float) -> int:
        if stretch <= 1:
            return self._pace.most_new
        return min(self._pace.most_new, max(FEWEST_NEW, int(NEW_UNDER_LOAD / stretch)))

    def _urgency(self, person: _Known, t_ns: int, stretch: float) -> float:
        """How much a vector of this person, in plain sight now, would tell; 0 for nothing new."""
        if person.embedded_ns is None:
            return 1.0
        waited_ns = t_ns - person.embedded_ns
        ratio = _area(person.box) / max(person.embedded_area, 1.0)
        changed = person.doubtful or not 1 / SIZE_CHANGE < ratio < SIZE_CHANGE
        due_ns = (self._pace.settle_ns if changed else self._pace.interval_ns) * stretch
        return waited_ns / due_ns if waited_ns >= due_ns else 0.0

    def _recognised(self, t_ns: int, boxes: Float32) -> list[_Known]:
        """For each box the known person it overlaps best, else a new one; nobody twice."""
        people: list[_Known | None] = [None] * len(boxes)
        if len(boxes) and self._known:
            overlap = _iou(boxes, np.stack([person.box for person in self._known]))
            taken: set[int] = set()
            rows, columns = np.nonzero(overlap >= SAME_PERSON_IOU)
            for pair in np.argsort(-overlap[rows, columns], kind="stable"):
                row, known = int(rows[pair]), int(columns[pair])
                if people[row] is None and known not in taken:
                    people[row] = self._known[known]
                    taken.add(known)
        return [person or _Known(box, t_ns) for person, box in zip(people, boxes, strict=True)]


def _area(box: Float32) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _iou(a: Float32, b: Float32) -> Float32:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes."""
    # Column by column: numpy takes several times as long for operations along an axis of length two.
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.T[:, :, None], b.T[:, None, :]
    wide = np.maximum(np.minimum(ax1, bx1) - np.maximum(ax0, bx0), 0)
    high = np.maximum(np.minimum(ay1, by1) - np.maximum(ay0, by0), 0)
    shared = wide * high
    areas_a, areas_b = (ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0)
    overlap: Float32 = shared / np.maximum(areas_a + areas_b - shared, 1e-6)
    return overlap
