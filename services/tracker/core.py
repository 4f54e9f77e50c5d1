"""The tracker: people of all cameras in, tracks and identities out.

Pure and deterministic: no sockets, no clock, no files, no randomness.  The same frames in the same order
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from services.tracker.appearance import normalised
from services.tracker.camera_tracker import PATH_POINTS, CameraTracker, Detections
from services.tracker.gallery import Gallery
from services.tracker.person import TrackedPerson
from services.tracker.state import pack, unpack
from services.tracker.track import Track
from shared.config import Config
from shared.errors import TrackingError
from shared.messages import End, Followed, FrameStamp, IdentityEvent, LastSeen, People, Tracks

STATE_VERSION = 2
SETTLE_S = 2.0
"""After so long it is settled who was where."""

MAX_NAME = 200

_COUNTERS = (
    "frames",
    "frames_refused",
    "boxes_dropped",
    "embeddings_refused",
    "tracks",
    "identities",
    "assignments",
)


class TrackerCore:
    """Tracks people in every camera and decides who is who.

    cameras: ids of the cameras to come; others are taken in when they first appear.

    `counters` tells what happened: frames, frames_refused (time went back), boxes_dropped (not finite,
    empty, outside the picture), embeddings_refused (another length than before, not finite), tracks,
    identities, assignments.
    """

    def __init__(self, config: Config, cameras: Iterable[int] = ()) -> None:
        self._config = config
        self._cameras = {camera: self._camera(camera) for camera in sorted(cameras)}
        self._gallery = Gallery(config.similarity_threshold)
        self._next_track = 1
        self._dimensions = 0
        self._sessions: dict[int, int] = {}
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)

    def _camera(self, camera: int) -> CameraTracker:
        return CameraTracker(camera, self._config.max_track_age, SETTLE_S)

    # -- frames -----------------------------------------------------------------------------------

    def process(self, people: People) -> Tracks:
        """The tracks in one frame.

        Frames of all cameras come in the order of (stamp.t_ns + clock_offset_ns, camera).  A frame that
        is not later than the last one of its camera is refused: counted, and answered with no tracks.
        A new session may begin earlier; the camera's tracks end there.
        """
        stamp = people.stamp
        t_ns = stamp.t_ns + people.clock_offset_ns
        camera = self._cameras.get(stamp.camera)
        if camera is None:
            camera = self._cameras[stamp.camera] = self._camera(stamp.camera)
        if camera.t_ns is not None and t_ns <= camera.t_ns:
            if stamp.session == self._sessions.get(stamp.camera):
                self.counters["frames_refused"] += 1
                return _nobody(stamp)
            camera.finish()
        self._sessions[stamp.camera] = stamp.session
        self.counters["frames"] += 1
        motion = np.asarray(people.camera_motion, np.float64)
        if not np.isfinite(motion).all():
            motion = np.eye(2, 3)
        started = camera.process(
            self._detections(people), t_ns, (stamp.width, stamp.height), motion, self._next_track
        )
        self._next_track += len(started)
        self.counters["tracks"] += len(started)
        for track in camera.vanished:
            self._gallery.tracks.pop(track.track_id, None)
        for track in camera.tracks:
            if track.confirmed and track.last_ns == t_ns:
                self._gallery.see(track, camera.size_px)
        return self._report(camera, stamp, self._decide(t_ns))

    def end(self, end: End) -> None:
        """A camera's stream is over: its tracks end, their identities are decided with what comes later."""
        camera = self._cameras.get(end.stamp.camera)
        if camera is not None:
            camera.finish()

    def _decide(self, t_ns: int) -> list[tuple[int, int]]:
        if not self._gallery.due(t_ns):
            return []
        changes = self._gallery.decide(t_ns)
        for track in self._gallery.superseded():
            track.open = False
            self._cameras[track.camera].drop_closed()
        self.counters["assignments"] += len(changes)
        self.counters["identities"] = self._gallery.next_identity - 1
        return changes

    def _detections(self, people: People) -> Detections:
        boxes = np.asarray(people.boxes, np.float64)
        scores = np.asarray(people.scores, np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            sound = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
            sound &= (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
            sound &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
            sound &= (boxes[:, 0] < people.stamp.width) & (boxes[:, 1] < people.stamp.height)
        self.counters["boxes_dropped"] += int((~sound).sum())
        vectors = np.zeros((len(boxes), self._dimensions))
        quality = np.zeros(len(boxes))
        features = people.features.get("appearance")
        if features is not None and len(features.of):
            given = np.asarray(features.vectors, np.float64)
            if not self._dimensions:
                self._dimensions = given.shape[1]
                vectors = np.zeros((len(boxes), self._dimensions))
            of = np.asarray(features.of, np.intp)
            trust = np.asarray(features.quality, np.float64)
            if given.shape[1] == self._dimensions:
                good = np.isfinite(given).all(axis=1) & np.isfinite(trust) & (of >= 0) & (of < len(boxes))
                good &= (np.abs(given).max(axis=1) > 0) & (trust >= 0)
                vectors[of[good]] = normalised(given[good])
                quality[of[good]] = np.clip(trust[good], 0.01, 1.0)
            else:
                good = np.zeros(len(of), bool)
            self.counters["embeddings_refused"] += int((~good).sum())
        flow = np.asarray(people.flow, np.float64)
        return Detections(
            boxes[sound], np.clip(scores[sound], 0, 1), flow[sound], vectors[sound], quality[sound]
        )

    def _report(self, camera: CameraTracker, stamp: FrameStamp, changes: list[tuple[int, int]]) -> Tracks:
        rows = camera.shown()
        tracks = [camera.tracks[row] for row in rows]
        return Tracks(
            stamp=stamp,
            track_ids=np.array([track.track_id for track in tracks], np.int64),
            identity_ids=np.array([track.identity for track in tracks], np.int64),
            boxes=camera.boxes(rows).astype(np.float32),
            scores=np.array([track.score for track in tracks], np.float32),
            observed=np.array([track.last_ns == camera.t_ns for track in tracks], np.bool_),
            velocities=camera.velocities(rows).astype(np.float32),
            paths=camera.paths(rows),
            assignments=np.array(changes, np.int64).reshape(-1, 2),
        )

    # -- people -----------------------------------------------------------------------------------

    def follow(self, identity: int, t_ns: int) -> IdentityEvent:
        """Follow a person from now on; raises TrackingError for an unknown identity."""
        self._person(identity).followed = True
        return IdentityEvent(identity, "follow", t_ns)

    def unfollow(self, identity: int, t_ns: int) -> IdentityEvent:
        """Follow a person no longer; raises TrackingError for an unknown identity."""
        self._person(identity).followed = False
        return IdentityEvent(identity, "unfollow", t_ns)

    def name(self, identity: int, name: str, t_ns: int) -> IdentityEvent:
        """Call a person by a name; raises TrackingError for an unknown identity or an endless name."""
        if len(name) > MAX_NAME:
            raise TrackingError(f"a name has at most {MAX_NAME} characters, this one has {len(name)}")
        self._person(identity).name = name
        return IdentityEvent(identity, "name", t_ns, name)

    def followed(self) -> Followed:
        """Who is followed, and where each was last seen."""
        people = [self._last_seen(p) for _, p in sorted(self._gallery.people.items()) if p.followed]
        return Followed(tuple(seen for seen in people if seen is not None))

    def identity_at(self, camera: int, x: float, y: float) -> int | None:
        """The identity of the person at a pixel of a camera's newest frame, None where there is none.

        Of people one behind another it is the foremost: the one whose feet are lowest in the picture.
        """
        tracker = self._cameras.get(camera)
        if tracker is None:
            return None
        rows = tracker.shown()
        boxes = tracker.boxes(rows)
        hit = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
        there = [
            (bottom, tracker.tracks[row].identity)
            for row, bottom in zip(rows[hit], boxes[hit, 3], strict=True)
        ]
        decided = [each for each in there if each[1]]
        return max(decided)[1] if decided else None

    def last_seen(self, identity: int) -> LastSeen | None:
        """Where a person was last seen, None for an unknown identity."""
        person = self._gallery.person(identity)
        return None if person is None else self._last_seen(person)

    def _person(self, identity: int) -> TrackedPerson:
        person = self._gallery.person(identity)
        if person is None:
            raise TrackingError(
                f"there is no person {identity}: look at the viewer or `stats` for who there is"
            )
        self._gallery.changed.add(identity)
        return person

    @staticmethod
    def _last_seen(person: TrackedPerson) -> LastSeen | None:
        if person.seen is None:
            return None
        camera, t_ns, x, y = person.seen
        return LastSeen(person.identity, person.name, camera, t_ns, x, y)

    # -- memory -----------------------------------------------------------------------------------

    def snapshot(self) -> tuple[bytes, dict[int, bytes]]:
        """All that must be remembered: the active state, and identities changed since the last snapshot."""
        tracks: dict[int, Track] = dict(self._gallery.tracks)
        for camera in self._cameras.values():
            tracks.update({track.track_id: track for track in camera.known()})
        state = pack(
            {
                "version": STATE_VERSION,
                "tracks": [track.state() for track in tracks.values()],
                "cameras": [camera.state() for camera in self._cameras.values()],
                "gallery": self._gallery.state(),
                "next_track": self._next_track,
                "dimensions": self._dimensions,
                "sessions": self._sessions,
                "counters": self.counters,
            }
        )
        return state, self._gallery.changed_people()

    @classmethod
    def restore(cls, config: Config, state: bytes, identities: dict[int, bytes]) -> TrackerCore:
        """The tracker as it was at a snapshot: from there on it does exactly the same.

        identities: the newest bytes of every identity that any snapshot up to this one gave.  Raises
        TrackingError where the bytes are damaged or of another version.
        """
        content = unpack(state)
        version = content.get("version") if isinstance(content, dict) else None
        if version != STATE_VERSION:
            raise TrackingError(
                f"the stored state of the tracker has version {version}, this program reads {STATE_VERSION}: "
                "use the release that wrote it, or start with an empty database"
            )
        try:
            return cls._restored(config, content, identities)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise TrackingError(
                f"the stored state of the tracker is damaged ({error}): start with an empty database"
            ) from None

    @classmethod
    def _restored(cls, config: Config, content: dict[str, Any], identities: dict[int, bytes]) -> TrackerCore:
        core = cls(config)
        tracks = {track.track_id: track for track in map(Track.restored, content["tracks"])}
        for each in content["cameras"]:
            camera = CameraTracker.restored(each, config.max_track_age, SETTLE_S, tracks)
            core._cameras[camera.camera] = camera
        people = [unpack(identities[identity]) for identity in sorted(identities)]
        core._gallery = Gallery.restored(content["gallery"], config.similarity_threshold, tracks, people)
        core._next_track = content["next_track"]
        core._dimensions = content["dimensions"]
        core._sessions = content["sessions"]
        core.counters = dict.fromkeys(_COUNTERS, 0) | content["counters"]
        return core


def _nobody(stamp: FrameStamp) -> Tracks:
    return Tracks(
        stamp=stamp,
        track_ids=np.empty(0, np.int64),
        identity_ids=np.empty(0, np.int64),
        boxes=np.empty((0, 4), np.float32),
        scores=np.empty(0, np.float32),
        observed=np.empty(0, np.bool_),
        velocities=np.empty((0, 2), np.float32),
        paths=np.empty((0, PATH_POINTS, 2), np.float32),
        assignments=np.empty((0, 2), np.int64),
    )
