"""One camera: detections in, tracks out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tracker.advance import Evidence
from services.tracker.appearance import Similarity, Spread, likened
from services.tracker.calibration import Calibration
from services.tracker.continuation import continued, points_of
from services.tracker.forest import Forest
from services.tracker.kalman import Float64, to_corners
from services.tracker.leaves import DETECTION, FIRST_NS, TREE, Int64
from services.tracker.parameters import DEFAULT, Parameters, paced
from services.tracker.settling import Settled, Settler
from services.tracker.shown import Shown, shown
from services.tracker.track import Track

ERASED = 0
"""In place of the number of a track that was erased."""

CHANGE = 4.0
"""Accumulated log-likelihood ratio at which a track is split because its appearance contradicts it.  A track
is split only while another person is near enough to have been swapped with it."""


@dataclass(slots=True)
class Detections:
    """The sound detections of one frame.

    boxes: (N, 4) float64 `x0, y0, x1, y1`.  scores: (N,).  flow: (N, 2) pixels, NaN where unknown.
    vectors: (N, D) embeddings, zero where there is none.  quality: (N,), 0 where there is none.
    rows: (N,) their rows in the message.
    """

    boxes: Float64
    scores: Float64
    flow: Float64
    vectors: Float64
    quality: Float64
    rows: NDArray[np.intp]


class CameraTracker:
    """The tracks of one camera: those of the hypothesis that is believed now.

    tracks: the confirmed tracks, `rows[i]` being the leaf of `tracks[i]`, `columns[i]` its detection in the
    last frame, -1 for none.  vanished: tracks that this frame has shown to be nobody of their own.
    settle_s: after how long `settled` tells who was where.
    """

    def __init__(
        self,
        camera: int,
        max_track_age_s: float,
        settle_s: float,
        parameters: Parameters = DEFAULT,
    ) -> None:
        self.camera = camera
        self.max_track_age_s = max_track_age_s
        self.parameters = parameters
        self.forest = Forest(parameters, max(parameters.scan_s, settle_s))
        self.settler = Settler(self.forest, settle_s)
        self.calibration = Calibration(parameters)
        self.tracks: list[Track] = []
        self.rows: Int64 = np.empty(0, np.int64)
        self.columns: list[int] = []
        self.vanished: list[Track] = []
        self.settled: list[Settled] = []
        self.t_ns: int | None = None
        self.size_px = (0, 0)
        self.similarity = _usual_similarity()
        self._track_of: dict[int, Track] = {}  # by tree, those not believed just now too
        self._id_of: dict[int, int] = {}  # track by tree, as long as frames of it may have to be settled

    def process(
        self,
        detections: Detections,
        t_ns: int,
        size_px: tuple[int, int],
        motion: Float64 | None,
        next_id: int,
    ) -> list[Track]:
        """Continue, start and end tracks with the detections of one frame.

        motion: (2, 3) affine from the previous frame's pixels to this one's; None where no picture tells it,
        and it is estimated from the detections.  next_id: the id of the first track that starts, counting up
        from there.  Returns the tracks that started.
        """
        last_ns, self.t_ns = self.t_ns, t_ns
        dt_s = 0.0 if last_ns is None else (t_ns - last_ns) * 1e-9
        self.size_px = size_px
        self.settled = self._named(self.settler.before(t_ns))
        belief = self.calibration.odds(detections.scores)
        forest = self.forest
        forest.parameters = paced(self.parameters, dt_s)
        same, different = self.similarity.same, self.similarity.different
        since_ns = forest.step(
            Evidence(
                detections.boxes,
                detections.scores,
                belief,
                detections.flow,
                detections.vectors,
                detections.quality,
            ),
            t_ns=t_ns,
            dt_s=dt_s,
            affine=motion,
            size_px=size_px,
            age_s=self.max_track_age_s,
            same=(same.mean, same.deviation),
            different=(different.mean, different.deviation),
        )
        started = self._follow(since_ns, t_ns, next_id)
        self._compare(detections)
        started += self._cut(detections, t_ns, next_id + len(started))
        self.settled += self._named(self.settler.after(t_ns, dt_s))
        return started

    def _follow(self, since_ns: int | None, t_ns: int, next_id: int) -> list[Track]:
        """Bring the tracks in line with the believed hypothesis; returns those that started.

        since_ns: since when it is another than was believed before.
        """
        forest = self.forest
        leaves = forest.leaves
        self.rows, places, columns, points = continued(
            leaves.state, leaves.tags, forest.believed, self.rows, t_ns * 1e-9
        )
        self.columns = columns.tolist()
        started: list[Track] = []
        before = self.tracks
        tracks: list[Track] = []
        for place, column, point in zip(places.tolist(), self.columns, points.tolist(), strict=True):
            if place >= 0:
                track = before[place]
                if column >= 0:
                    track.observe(t_ns, point)
            else:
                row = int(self.rows[len(tracks)])
                track = self._return(row, t_ns if since_ns is None else since_ns)
                if track is None:
                    track = self._start(row, next_id + len(started))
                    started.append(track)
            tracks.append(track)
        self.tracks = tracks
        if len(self._track_of) > len(tracks):
            self._part(t_ns if since_ns is None else since_ns)
        return started

    def _return(self, leaf: int, since_ns: int) -> Track | None:
        """The track of a leaf whose line was not believed before since_ns, None where there is none yet."""
        track = self._track_of.get(int(self.forest.leaves.tags[leaf, TREE]))
        if track is not None:
            track.rewind(since_ns)
            track.open = True
            self._replay(track, leaf, since_ns)
        return track

    def _start(self, leaf: int, track_id: int) -> Track:
        tag = self.forest.leaves.tags[leaf]
        tree, first_ns = int(tag[TREE]), int(tag[FIRST_NS])
        track = self._track_of[tree] = Track(track_id, self.camera, first_ns)
        self._id_of[tree] = track_id
        self._replay(track, leaf, first_ns)
        return track

    def _replay(self, track: Track, leaf: int, since_ns: int) -> None:
        """See again what a leaf's line saw at since_ns and later; the newest embedding is left out."""
        for generation, row in self.forest.history(leaf, since_ns):
            (point,) = points_of(generation.state, np.array([row]), generation.t_ns * 1e-9).tolist()
            track.observe(generation.t_ns, point)
            column = generation.tags[row, DETECTION]
            quality = float(generation.quality[column])
            if quality > 0 and generation.t_ns != self.t_ns:
                track.embed(generation.vectors[column], quality, generation.t_ns)

    def _part(self, since_ns: int) -> None:
        """Take leave of the tracks that are not in the believed hypothesis."""
        alive = set(self.forest.leaves.tags[:, TREE].tolist())
        believed = set(self.forest.leaves.tags[self.rows, TREE].tolist())
        self.vanished = []
        for tree, track in list(self._track_of.items()):
            if tree in believed:
                continue
            if track.open:
                track.open = False
                if tree in alive:
                    track.rewind(since_ns)
                    if track.first_ns >= since_ns:
                        self.vanished.append(track)
            if tree not in alive:
                track.close()
                del self._track_of[tree]

    def _compare(self, detections: Detections) -> None:
        """Question the fresh embeddings, and learn from them.

        What is learned is what the cosines of one person, and of two people seen at once, are like here.
        """
        quality_of = detections.quality.tolist()
        news = [
            (track, column)
            for track, column in zip(self.tracks, self.columns, strict=True)
            if column >= 0 and quality_of[column] > 0
        ]
        if not news:
            return
        known = [(track.recent, column) for track, column in news if track.recent is not None]
        ratios: Iterator[float] = iter(())
        if known:
            recent, new = zip(*known, strict=True)
            own, sums = likened(np.array(recent), detections.vectors, np.array(new))
            ratios = iter(self.similarity.ratio(own).tolist())
            self.similarity.learn(len(known), sums)
        for track, column in news:
            quality = quality_of[column]
            ratio = 0.0 if track.recent is None else next(ratios) * quality
            track.question(detections.vectors[column].copy(), quality, ratio, self.t_ns or 0)

    def _cut(self, detections: Detections, t_ns: int, next_id: int) -> list[Track]:
        """New tracks for those under which the person has changed."""
        cut: list[Track] = []
        for i, track in enumerate(self.tracks):
            if track.doubt < CHANGE or not self._contested(track, t_ns):
                continue
            old = int(self.forest.leaves.tags[self.rows[i], TREE])
            tree = self.forest.rename(old, t_ns)
            successor = track.successor(next_id + len(cut), t_ns)
            (point,) = points_of(self.forest.leaves.state, self.rows[i : i + 1], t_ns * 1e-9).tolist()
            successor.observe(t_ns, point)
            track.rewind(t_ns)
            track.close()
            del self._track_of[old]
            self._track_of[tree] = successor
            self._id_of[tree] = successor.track_id
            self.tracks[i] = successor
            cut.append(successor)
        return cut

    def _contested(self, track: Track, t_ns: int) -> bool:
        """Whether somebody else may be under a track: who is not seen now, or not sure to be who is seen."""
        others = (other for other in self._track_of.values() if other is not track)
        return any(other.last_ns < t_ns or other.doubt > 0 for other in others)

    def _named(self, settled: list[Settled]) -> list[Settled]:
        """The same with the tracks' ids for the trees' numbers, without tracks that were erased."""
        named = [
            each._replace(ids=np.array([self._id_of[tree] for tree in each.ids.tolist()], np.int64))
            for each in settled
        ]
        named = [each if each.ids.all() else each.only(each.ids != ERASED) for each in named]
        if settled and len(self._id_of) > 2 * len(self._track_of) + 64:
            alive = {tree for each in self.forest.past for tree in each.tags[:, TREE].tolist()}
            self._id_of = {tree: number for tree, number in self._id_of.items() if tree in alive}
        return named

    def drop_closed(self) -> None:
        """Forget the tracks that are no longer open."""
        closed = [i for i, track in enumerate(self.tracks) if not track.open]
        if not closed:
            return
        self.forest.drop({int(self.forest.leaves.tags[self.rows[i], TREE]) for i in closed})
        self._keep_open()

    def erase(self, track_ids: Collection[int]) -> None:
        """Forget these tracks and all that was kept of them; none of their frames is settled any more."""
        trees = {tree for tree, number in self._id_of.items() if number in track_ids}
        if not trees:
            return
        for tree in trees:
            self._id_of[tree] = ERASED
            self._track_of.pop(tree, None)
        self.forest.erase(trees)
        self._keep_open()

    def _keep_open(self) -> None:
        keep = [i for i, track in enumerate(self.tracks) if track.open]
        self.tracks, self.rows = [self.tracks[i] for i in keep], self.rows[keep]
        self.columns = [self.columns[i] for i in keep]

    def forget_looks(self, kind: str) -> None:
        """Drop what a network has said of these people's looks that describes nobody any more."""
        for track in self.known():
            track.forget_looks(kind)
        if kind == "appearance":
            self.similarity = _usual_similarity()

    def finish(self) -> None:
        """End everything: the stream is over; what was left to settle is in `settled`."""
        self.settled = self._named(self.settler.flush())
        for track in self._track_of.values():
            track.close()
        tree = self.forest.tree
        self.forest = Forest(self.parameters, self.forest.memory_s)
        self.forest.tree = tree
        self.settler = self.settler.again(self.forest)
        self.tracks, self.rows, self.columns = [], np.empty(0, np.int64), []
        self._track_of, self._id_of = {}, {}
        self.vanished = []

    def shown(self) -> Shown:
        """The tracks to report, now: seen now, or a moment ago within the picture."""
        leaves, (width, height) = self.forest.leaves, self.size_px
        t_ns = 0 if self.t_ns is None else self.t_ns
        return Shown(*shown(leaves.state, leaves.tags, self.rows, t_ns, width, height, self.parameters))

    def boxes(self) -> Float64:
        """(N, 4) float64 `x0, y0, x1, y1` of the tracks, now."""
        return to_corners(self.forest.leaves.state[self.rows, :4])

    def known(self) -> list[Track]:
        """All tracks that may still be continued, those not believed just now too."""
        return list(self._track_of.values())

    def state(self) -> dict[str, Any]:
        """Plain values and arrays for `restored`."""
        return {
            "camera": self.camera,
            "forest": self.forest.state(),
            "done_ns": self.settler.done_ns,
            "calibration": self.calibration.state(),
            "tracks": [track.track_id for track in self.tracks],
            "rows": self.rows,
            "track_of": [[tree, track.track_id] for tree, track in self._track_of.items()],
            "id_of": list(self._id_of.items()),
            "t_ns": self.t_ns,
            "size_px": list(self.size_px),
            "similarity": self.similarity.state(),
        }

    @classmethod
    def restored(
        cls,
        state: dict[str, Any],
        max_track_age_s: float,
        settle_s: float,
        tracks: dict[int, Track],
        *,
        parameters: Parameters = DEFAULT,
    ) -> CameraTracker:
        """What `state` gave; `tracks` holds the tracks by their id."""
        self = cls(state["camera"], max_track_age_s, settle_s, parameters)
        self.forest = Forest.restored(state["forest"], self.parameters, self.forest.memory_s)
        self.settler = self.settler.again(self.forest, state["done_ns"])
        self.calibration = Calibration.restored(state["calibration"], self.parameters)
        self.tracks = [tracks[track_id] for track_id in state["tracks"]]
        self.rows = state["rows"]
        self.columns = self.forest.leaves.tags[self.rows, DETECTION].tolist()
        self._track_of = {tree: tracks[track_id] for tree, track_id in state["track_of"]}
        self._id_of = dict(state["id_of"])
        self.t_ns = state["t_ns"]
        self.size_px = (state["size_px"][0], state["size_px"][1])
        self.similarity = Similarity.restored(state["similarity"])
        return self


def _usual_similarity() -> Similarity:
    """Before anything is learned."""
    return Similarity(Spread(0.75, 0.15, 50.0), Spread(0.25, 0.2, 50.0))
