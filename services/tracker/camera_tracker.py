"""One camera: detections in, tracks out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import Similarity, Spread
from services.tracker.association import Pairs, assign, iou, motion_score
from services.tracker.kalman import MIN_HEIGHT_PX, BoxFilters, Float64, to_centres
from services.tracker.track import Track
from shared.messages import PATH_STEP_S, Float32

STRONG = 0.5
"""Detections scored lower continue tracks but start none (ByteTrack, Zhang et al. 2022)."""

CONFIRMATION = 1.6
"""Sum of the detection scores that a track must collect before it is reported."""

TENTATIVE_S = 0.4
"""A track that is not yet confirmed is forgotten after this long without a detection."""

COAST_S = 0.3
"""How long the predicted box of an unseen person is still shown."""

SURVIVAL_S = 0.5
"""Mean time for which a person who is not seen can still be expected where motion leads."""

DAMPING_S = 2.0
"""Time in which the velocity of an unseen person falls to 1/e."""

NEWCOMERS = 1.0
"""Expected detections of newcomers a frame: what a continued track is weighed against."""

BORDER = 10.0
"""How many times more newcomers appear at the border of the picture than within it."""

DOOR = 0.1
"""Boxes nearer to the border than this many of their heights are at the border."""

SHAPES = 0.15
"""Range of widths times range of heights that newcomers have, in heights squared."""

CHANGE = 4.0
"""Doubt at which the person under a track is taken to have changed."""

PATH_POINTS = 10


@dataclass(slots=True)
class Detections:
    """The sound detections of one frame.

    boxes: (N, 4) float64 `x0, y0, x1, y1`.  scores: (N,).  flow: (N, 2) pixels, NaN where unknown.
    vectors: (N, D) embeddings, zero where there is none.  quality: (N,), 0 where there is none.
    rows: (N,) their rows in the message.
    centres: (N, 4) `cx, cy, w, h`.  noise: (N,) factor on the standard deviation of the boxes.
    """

    boxes: Float64
    scores: Float64
    flow: Float64
    vectors: Float64
    quality: Float64
    rows: NDArray[np.intp]
    centres: Float64 = field(init=False)
    noise: Float64 = field(init=False)

    def __post_init__(self) -> None:
        self.centres = to_centres(self.boxes)
        self.noise = 2.0 - self.scores


class CameraTracker:
    """The tracks of one camera.

    Tracks and the rows of `filters` go in step: `tracks[i]` moves by row i.
    """

    def __init__(self, camera: int, max_track_age_s: float) -> None:
        self.camera = camera
        self.max_track_age_s = max_track_age_s
        self.filters = BoxFilters()
        self.tracks: list[Track] = []
        self.t_ns: int | None = None
        self.size_px = (0, 0)
        self.similarity = Similarity(Spread(0.75, 0.15, 50.0), Spread(0.25, 0.2, 50.0))

    def process(
        self, detections: Detections, t_ns: int, size_px: tuple[int, int], motion: Float64, next_id: int
    ) -> list[Track]:
        """Continue, start and end tracks with the detections of one frame.

        motion: (2, 3) affine from the previous frame's pixels to this one's.  next_id: the id of the
        first track that starts, counting up from there.  Returns the tracks that started.
        """
        dt_s = 0.0 if self.t_ns is None else (t_ns - self.t_ns) * 1e-9
        self.size_px = size_px
        if self.tracks:
            self._predict(dt_s, t_ns, motion)
        self.t_ns = t_ns
        started: list[Track] = []
        if len(detections.boxes):
            pairs = self._associate(detections, t_ns)
            self._update(pairs, detections, dt_s)
            started = self._see(pairs, detections, t_ns, next_id)
            next_id += len(started)
            started += self._start(pairs[1], detections, t_ns, dt_s, next_id)
        self._end(t_ns)
        return started

    def _predict(self, dt_s: float, t_ns: int, motion: Float64) -> None:
        unseen = np.array([track.last_ns for track in self.tracks]) < (self.t_ns or t_ns)
        if unseen.any():
            self.filters.damp(unseen, math.exp(-dt_s / DAMPING_S))
        self.filters.predict(dt_s)
        if not np.array_equal(motion, _STILL):
            self.filters.warp(motion)

    def _associate(self, detections: Detections, t_ns: int) -> Pairs:
        if not self.tracks:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        score = motion_score(*self.filters.innovation(detections.centres, detections.noise))
        unseen_s = np.array([t_ns - track.last_ns for track in self.tracks]) * 1e-9
        score += self._appearance(detections)
        score -= unseen_s[:, None] / SURVIVAL_S
        width, height = self.size_px
        heights = np.maximum(detections.centres[:, 3], MIN_HEIGHT_PX)
        newcomer = np.log(NEWCOMERS / SHAPES * heights**2 / max(width * height, 1)) + _LOG_2PI_2
        margin = np.minimum(
            np.minimum(detections.boxes[:, 0], detections.boxes[:, 1]),
            np.minimum(width - detections.boxes[:, 2], height - detections.boxes[:, 3]),
        )
        newcomer += np.where(margin < DOOR * heights, math.log(BORDER), 0.0)
        score -= newcomer[None]
        strong = detections.scores >= STRONG
        # A weak detection is as likely nobody as its score says.
        sure = np.clip(detections.scores, 0.01, 0.5)
        score += np.log(sure / (1 - sure))[None]
        confirmed = np.array([track.confirmed for track in self.tracks])
        rows: list[NDArray[np.intp]] = []
        columns: list[NDArray[np.intp]] = []
        free_rows, free_columns = np.ones(len(self.tracks), bool), np.ones(len(detections.boxes), bool)
        # Confirmed tracks choose first, and among detections the strong ones; what is weak only
        # continues what was seen a moment ago.
        fresh = unseen_s <= TENTATIVE_S
        for of, among in ((confirmed, strong), (confirmed & fresh, ~strong), (~confirmed, strong)):
            r, c = np.flatnonzero(of & free_rows), np.flatnonzero(among & free_columns)
            if len(r) and len(c):
                i, j = assign(score[np.ix_(r, c)], 0.0)
                rows.append(r[i])
                columns.append(c[j])
                free_rows[r[i]] = False
                free_columns[c[j]] = False
        if not rows:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        return np.concatenate(rows), np.concatenate(columns)

    def _appearance(self, detections: Detections) -> Float64:
        score = np.zeros((len(self.tracks), len(detections.scores)))
        fresh = np.flatnonzero(detections.quality)
        known = np.array([i for i, track in enumerate(self.tracks) if track.recent is not None], np.intp)
        if len(fresh) and len(known):
            recent = np.stack([track.recent for track in self.tracks if track.recent is not None])
            cosines = recent @ detections.vectors[fresh].T
            ratio = self.similarity.ratio(cosines) * detections.quality[fresh]
            score[np.ix_(known, fresh)] = ratio
        return score

    def _update(self, pairs: Pairs, detections: Detections, dt_s: float) -> None:
        rows, columns = pairs
        if not len(rows):
            return
        self.filters.update(rows, detections.centres[columns], detections.noise[columns])
        if dt_s > 0:
            moved = np.isfinite(detections.flow[columns]).all(axis=1)
            if moved.any():
                self.filters.update_velocity(rows[moved], detections.flow[columns[moved]] / dt_s)

    def _see(self, pairs: Pairs, detections: Detections, t_ns: int, next_id: int) -> list[Track]:
        """Give tracks their detections; returns new tracks for those under which the person changed."""
        cut: list[Track] = []
        ratios = self._compare(pairs, detections)
        for row, column in zip(*(side.tolist() for side in pairs), strict=True):
            track = self.tracks[row]
            score, quality = float(detections.scores[column]), float(detections.quality[column])
            if quality > 0:
                track.question(detections.vectors[column], quality, ratios.get(row, 0.0) * quality)
            if track.doubt >= CHANGE and track.confirmed:
                track.open = False
                track = self.tracks[row] = track.successor(next_id + len(cut), t_ns, score)
                cut.append(track)
            else:
                track.see(t_ns, score)
            track.detection = int(detections.rows[column])
            if track.evidence >= CONFIRMATION:
                track.confirmed = True
            self._walk(row, t_ns)
        return cut

    def _compare(self, pairs: Pairs, detections: Detections) -> dict[int, float]:
        """Log-likelihood ratios of fresh embeddings, by row, being the same person as the track's.

        Also learns what the cosines of one person, and of two people seen at once, are like here.
        """
        both = [
            (row, column)
            for row, column in zip(*(side.tolist() for side in pairs), strict=True)
            if self.tracks[row].recent is not None and detections.quality[column] > 0
        ]
        if not both:
            return {}
        recent = np.stack([self.tracks[row].recent for row, _ in both])
        cosines = recent @ detections.vectors[[column for _, column in both]].T
        own = np.eye(len(both), dtype=bool)
        ratios = self.similarity.ratio(cosines[own])
        self.similarity.same.add(cosines[own])
        self.similarity.different.add(cosines[~own], 0.5)
        return {row: float(ratio) for (row, _), ratio in zip(both, ratios, strict=True)}

    def _walk(self, row: int, t_ns: int) -> None:
        cx, cy, _, h = self.filters.position[row].tolist()
        vx, vy, _, vh = self.filters.velocity[row].tolist()
        self.tracks[row].walk(t_ns, (cx, cy + h / 2, vx, vy + vh / 2, h))

    def _start(
        self, taken: NDArray[np.intp], detections: Detections, t_ns: int, dt_s: float, next_id: int
    ) -> list[Track]:
        free = detections.scores >= STRONG
        free[taken] = False
        if len(taken) and free.any():
            # A second box on a person who already has one is no newcomer.
            overlap = iou(detections.boxes, detections.boxes[taken]).max(axis=1)
            free &= overlap < 0.7
        columns = np.flatnonzero(free)
        started: list[Track] = []
        if not len(columns):
            return started
        first = len(self.tracks)
        self.filters.add(detections.centres[columns], detections.noise[columns])
        if dt_s > 0:
            moved = np.isfinite(detections.flow[columns]).all(axis=1)
            if moved.any():
                rows = first + np.flatnonzero(moved)
                self.filters.update_velocity(rows, detections.flow[columns[moved]] / dt_s)
        for offset, column in enumerate(columns.tolist()):
            track = Track(next_id + offset, self.camera, t_ns, float(detections.scores[column]))
            track.detection = int(detections.rows[column])
            if detections.quality[column] > 0:
                track.embed(detections.vectors[column], float(detections.quality[column]))
            self.tracks.append(track)
            self._walk(first + offset, t_ns)
            started.append(track)
        return started

    def _end(self, t_ns: int) -> None:
        """Forget who has been unseen for too long."""
        for row, track in enumerate(self.tracks):
            unseen_s = (t_ns - track.last_ns) * 1e-9
            limit_s = self.max_track_age_s if track.confirmed else TENTATIVE_S
            if unseen_s > limit_s or (unseen_s > 1.0 and self._outside(row)):
                track.open = False
        self.drop_closed()

    def _outside(self, row: int) -> bool:
        (cx, cy, _, _), (width, height) = self.filters.position[row], self.size_px
        return not (0 <= cx <= width and 0 <= cy <= height)

    def drop_closed(self) -> None:
        """Forget the tracks that are no longer open."""
        keep = np.array([track.open for track in self.tracks], bool)
        if not keep.all():
            self.filters.keep(keep)
            self.tracks = [track for track in self.tracks if track.open]

    def finish(self) -> None:
        """End everything: the stream is over."""
        for track in self.tracks:
            track.open = False
        self.drop_closed()

    def shown(self) -> NDArray[np.intp]:
        """Rows of the tracks to report: confirmed, and seen now or a moment ago within the picture."""
        if self.t_ns is None:
            return np.empty(0, np.intp)
        rows = [
            row
            for row, track in enumerate(self.tracks)
            if track.confirmed
            and (
                track.last_ns == self.t_ns
                or ((self.t_ns - track.last_ns) * 1e-9 <= COAST_S and not self._outside(row))
            )
        ]
        return np.array(rows, np.intp)

    def paths(self, rows: NDArray[np.intp]) -> Float32:
        """(N, PATH_POINTS, 2) float32: where the feet of these tracks will be, step by step."""
        at_s = PATH_STEP_S * np.arange(1, PATH_POINTS + 1)
        position, velocity = self.filters.position[rows], self.filters.velocity[rows]
        x = position[:, :1] + velocity[:, :1] * at_s
        y = (position[:, 1:2] + position[:, 3:] / 2) + (velocity[:, 1:2] + velocity[:, 3:] / 2) * at_s
        return np.stack([x, y], axis=-1).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Plain values and arrays for `restored`."""
        return {
            "camera": self.camera,
            "position": self.filters.position,
            "velocity": self.filters.velocity,
            "variance": self.filters.variance,
            "tracks": [track.track_id for track in self.tracks],
            "t_ns": self.t_ns,
            "size_px": list(self.size_px),
            "similarity": self.similarity.state(),
        }

    @classmethod
    def restored(
        cls, state: dict[str, Any], max_track_age_s: float, tracks: dict[int, Track]
    ) -> CameraTracker:
        """What `state` gave; `tracks` holds the tracks by their id."""
        self = cls(state["camera"], max_track_age_s)
        self.filters.position = state["position"]
        self.filters.velocity = state["velocity"]
        self.filters.variance = state["variance"]
        self.tracks = [tracks[track_id] for track_id in state["tracks"]]
        self.t_ns = state["t_ns"]
        self.size_px = (state["size_px"][0], state["size_px"][1])
        self.similarity = Similarity.restored(state["similarity"])
        return self


_STILL = np.eye(2, 3)
_LOG_2PI_2 = 2 * math.log(2 * math.pi)
