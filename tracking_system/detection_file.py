"""Detections of one camera in a MOTChallenge file, tracked without pictures.

A row is `frame, id, x, y, width, height, score`, what follows is ignored: frames from 1, pixels, x and y
of the upper left corner; the id is ignored too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.tracker.camera_tracker import CameraTracker, Detections
from services.tracker.parameters import DEFAULT, Parameters
from shared.errors import SourceError
from shared.limits import MAX_PEOPLE

MAX_FRAMES = 10_000_000

MAX_TRACK_AGE_S = 3.0
"""How long a lost person is looked for where only motion tells who it is."""


@dataclass(frozen=True, slots=True)
class DetectionFile:
    """What a file holds.

    rows: (N, 6) float64 `frame, x0, y0, x1, y1, score`, in the order of frames.  skipped: number and
    complaint of each line that is no detection.
    """

    rows: NDArray[np.float64]
    skipped: list[tuple[int, str]]

    @property
    def frames(self) -> int:
        """The number of the last frame."""
        return int(self.rows[-1, 0]) if len(self.rows) else 0

    @classmethod
    def read(cls, path: Path) -> DetectionFile:
        """Read a file; raises SourceError where it cannot be read or has no detection at all."""
        rows: list[list[float]] = []
        skipped: list[tuple[int, str]] = []
        counts: dict[float, int] = {}
        try:
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    if not line.strip():
                        continue
                    try:
                        row = _row(line)
                        counts[row[0]] = counts.get(row[0], 0) + 1
                        if counts[row[0]] > MAX_PEOPLE:
                            raise ValueError(f"frame {row[0]:.0f} has more than {MAX_PEOPLE} rows")
                        rows.append(row)
                    except ValueError as error:
                        skipped.append((number, str(error)))
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
        if not rows:
            first = f": line {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
            raise SourceError(f"{path} holds no detection{first}")
        table = np.array(rows)
        return cls(table[np.argsort(table[:, 0], kind="stable")], skipped)

    def per_frame(self) -> Iterator[Detections]:
        """The detections of each frame from 1 to the last, without flow and appearance."""
        ends = np.searchsorted(self.rows[:, 0], np.arange(1, self.frames + 1), side="right")
        start = 0
        for end in ends.tolist():
            yield detections(self.rows[start:end, 1:5], self.rows[start:end, 5])
            start = end


def detections(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> Detections:
    """Boxes (N, 4) `x0, y0, x1, y1` and (N,) scores on any scale, and nothing else."""
    n = len(boxes)
    unknown = np.full((n, 2), np.nan)
    nothing, rows = np.empty((n, 0)), np.arange(n)
    return Detections(np.ascontiguousarray(boxes), scores.copy(), unknown, nothing, np.zeros(n), rows)


def _row(line: str) -> list[float]:
    """One line as `frame, x0, y0, x1, y1, score`; raises ValueError with what is wrong."""
    cells = line.replace(",", " ").split()
    if len(cells) < 7:
        raise ValueError(f"{len(cells)} values instead of at least 7: frame, id, x, y, width, height, score")
    try:
        frame, _, x, y, width, height, score = map(float, cells[:7])
    except ValueError:
        raise ValueError("not all of the first 7 values are numbers") from None
    if not all(map(math.isfinite, (frame, x, y, width, height, score))):
        raise ValueError("a value is not finite")
    if frame != int(frame) or not 1 <= frame <= MAX_FRAMES:
        raise ValueError(f"the frame is {cells[0]}, not a whole number from 1 to {MAX_FRAMES}")
    if width < 1 or height < 1:
        raise ValueError(f"the box is {cells[4]} x {cells[5]} pixels, less than one")
    if max(abs(x), abs(y), width, height) > 1e6:
        raise ValueError("the box is more than a million pixels large or away")
    return [frame, x, y, x + width, y + height, score]


class FileTracker:
    """Tracks frame after frame at an even rate.

    size_px: width and height of the pictures.  settle_s: 0 gives each frame's tracks as they are believed
    at once (online), more gives them as they turn out to have been so much later (settled).
    """

    def __init__(
        self,
        fps: float,
        size_px: tuple[int, int],
        settle_s: float = 0.0,
        parameters: Parameters = DEFAULT,
    ) -> None:
        self._fps = fps
        self._size_px = size_px
        self._settle = settle_s > 0
        self._tracker = CameraTracker(1, MAX_TRACK_AGE_S, settle_s, parameters)
        self._frame = 0
        self._next_id = 1

    def add(self, found: Detections) -> list[tuple[int, NDArray[np.float64]]]:
        """Take in the next frame; returns frames that are ready, see `finish`."""
        tracker = self._tracker
        self._frame += 1
        t_ns = round(self._frame * 1e9 / self._fps)
        self._next_id += len(tracker.process(found, t_ns, self._size_px, None, self._next_id))
        if self._settle:
            return self._settled()
        shown = tracker.shown()
        ids = [tracker.tracks[number].track_id for number in shown.tracks.tolist()]
        return [(self._frame, np.column_stack([ids, shown.boxes, shown.scores]))]

    def finish(self) -> list[tuple[int, NDArray[np.float64]]]:
        """The frames that were not ready: number and (N, 6) `id, x0, y0, x1, y1, score` of each."""
        self._tracker.finish()
        return self._settled() if self._settle else []

    def _settled(self) -> list[tuple[int, NDArray[np.float64]]]:
        return [
            (round(each.t_ns * 1e-9 * self._fps), np.column_stack([each.ids, each.boxes, each.scores]))
            for each in self._tracker.settled
        ]


def result_lines(frame: int, rows: NDArray[np.float64]) -> str:
    """MOTChallenge lines of one frame, of rows `id, x0, y0, x1, y1, score`."""
    return "".join(
        f"{frame},{number:.0f},{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f},{score:.4f},-1,-1,-1\n"
        for number, x0, y0, x1, y1, score in rows.tolist()
    )
