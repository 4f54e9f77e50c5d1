"""The tracker: people of all cameras in, tracks and identities out.

Pure and deterministic: no sockets, no clock, no files, no randomness.  The same frames in the same order
give the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from services.tracker.camera_tracker import CameraTracker
from services.tracker.gallery import Gallery
from services.tracker.ground import GroundPlane
from services.tracker.intake import Intake
from services.tracker.parameters import believing
from services.tracker.person import Stay, TrackedPerson
from services.tracker.reservation import Reservation, behind_blocks
from services.tracker.results import no_tracks, settled_frames, shown_tracks
from services.tracker.shadow import OWN_S, tell_apart
from services.tracker.state import pack, unpack
from services.tracker.track import Track
from shared.config import Config, Homography
from shared.errors import TrackingError
from shared.limits import MAX_FOLLOWED, MAX_NAME_LENGTH
from shared.messages import End, Followed, FrameStamp, IdentityEvent, LastSeen, People, Settled, Tracks
from shared.packing import shown
from shared.text import is_utf8

log = logging.getLogger(__name__)

STATE_VERSION = 7
SETTLE_S = 2.0
"""After so long it is settled who was where."""

CLOCK_SET_FRAMES = 10
"""So many frames of the past, one after another, are believed."""

MOST_EXPECTED = 3
"""Cameras named in which somebody may appear next."""

_DAY_S = 86_400.0

_COUNTERS = (
    "frames",
    "frames_refused",
    "frames_failed",
    "boxes_dropped",
    "embeddings_refused",
    "features_refused",
    "tracks",
    "identities",
    "assignments",
)


class TrackerCore:
    """Tracks people in every camera and decides who is who.

    cameras: ids of the cameras to come; others are taken in when they first appear.

    `counters` tells what happened: frames, frames_refused (time went back), frames_failed (messages on which
    the tracker failed, see `recover`), boxes_dropped (not finite,
    empty, outside the picture), embeddings_refused and features_refused (another length than before, not
    finite), tracks, identities, assignments.
    """

    def __init__(self, config: Config, cameras: Iterable[int] = ()) -> None:
        self._config = config
        # What the user takes for somebody is what may start a track.
        self._parameters = believing(config.confidence)
        self._cameras = {camera: self._camera(camera) for camera in sorted(cameras)}
        self._gallery = Gallery(config.similarity_threshold, config.retention_days * _DAY_S)
        self._next_track = 1
        self._reservation = Reservation()
        self._intake = Intake()
        self._stamps: dict[int, dict[int, FrameStamp]] = {}
        self._behind: dict[int, tuple[int, int]] = {}
        self._sessions: dict[int, int] = {}
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)

    def calibrate(self, camera: int, homography: Homography) -> None:
        """Tell how a camera lies to the ground: identities are then compared by place on it.

        homography: row by row; carries pixels to metres on the plane that all calibrated cameras share.
        It is not part of `snapshot`: tell a restored tracker again.
        """
        self._gallery.evidence.topology.grounds[camera] = GroundPlane(
            np.array(homography, np.float64).reshape(3, 3)
        )

    def _camera(self, camera: int) -> CameraTracker:
        return CameraTracker(camera, self._config.max_track_age, SETTLE_S, self._parameters)

    # -- frames -----------------------------------------------------------------------------------

    def process(self, people: People) -> Tracks:
        """The tracks in one frame.

        Frames of all cameras come in the order of (stamp.t_ns + clock_offset_ns, camera).  A frame that
        is not later than the last one of its camera is refused: counted, and answered with no tracks; where
        many such frames follow one another the clock was set, and the camera's tracks begin anew.
        A new session may begin earlier; the camera's tracks end there.
        """
        stamp = people.stamp
        t_ns = stamp.t_ns + people.clock_offset_ns
        camera = self._cameras.get(stamp.camera)
        if camera is None:
            camera = self._cameras[stamp.camera] = self._camera(stamp.camera)
        settled: list[Settled] = []
        if camera.t_ns is not None and t_ns <= camera.t_ns:
            same = stamp.session == self._sessions.get(stamp.camera)
            if same and not self._clock_was_set(stamp.camera, t_ns):
                self.counters["frames_refused"] += 1
                return no_tracks(stamp)
            camera.finish()
            settled = self._settled(camera)
        self._behind.pop(stamp.camera, None)
        self._sessions[stamp.camera] = stamp.session
        self.counters["frames"] += 1
        motion = np.asarray(people.camera_motion, np.float64)
        if not np.isfinite(motion).all():
            motion = np.eye(2, 3)
        self._intake.judge_lengths(people)
        for kind, (before, now) in self._intake.changed.items():
            self._forget_looks(kind, before, now)
        detections = self._intake.detections(people)
        self._stamps.setdefault(stamp.camera, {})[t_ns] = stamp
        started = camera.process(detections, t_ns, (stamp.width, stamp.height), motion, self._next_track)
        settled += self._settled(camera)
        self._next_track += len(started)
        self.counters["tracks"] += len(started)
        for track in camera.vanished:
            self._gallery.withdraw(track)
        self._intake.describe(camera, detections, people)
        self.counters |= self._intake.counts
        seen = [track for track in camera.tracks if track.last_ns == t_ns]
        if any(track.own_s < OWN_S for track in seen):
            tell_apart(camera.tracks, camera.boxes(), t_ns)
        self._gallery.see([track for track in seen if track.own_s >= OWN_S], camera.size_px)
        return shown_tracks(camera, stamp, self._decide(t_ns), self._gallery.decisions, settled)

    def _clock_was_set(self, camera: int, t_ns: int) -> bool:
        """Whether frames of the past follow one another, so that it is the last one's time that was wrong."""
        count, last_ns = self._behind.get(camera, (0, 0))
        count = count + 1 if t_ns > last_ns else 1
        self._behind[camera] = (count, t_ns)
        return count > CLOCK_SET_FRAMES

    def end(self, end: End) -> End:
        """A camera's stream is over: its tracks end.  Returns the message with what is decided of them."""
        camera = self._cameras.get(end.stamp.camera)
        if camera is None or camera.t_ns is None:
            return end
        camera.finish()
        settled = tuple(self._settled(camera))
        changes = self._decide(max(each.t_ns for each in self._cameras.values() if each.t_ns is not None))
        return replace(end, assignments=tuple(changes), decision=self._gallery.decisions, settled=settled)

    def recover(self, camera: int) -> None:
        """Make the state consistent after `process` or `end` has raised an exception on a camera's message.

        The camera's tracks end and its tracker begins anew; what was not settled yet stays as it was shown.
        Links that may not have been reported are reported again with the next decision.
        """
        self.counters["frames_failed"] += 1
        failed = self._cameras.get(camera)
        fresh = self._cameras[camera] = self._camera(camera)
        if failed is not None:
            fresh.t_ns = failed.t_ns  # later frames must still be later
        self._stamps.pop(camera, None)
        self._behind.pop(camera, None)
        self._gallery.end_camera(camera)

    def _decide(self, t_ns: int) -> list[tuple[int, int]]:
        if not self._gallery.due(t_ns):
            return []
        changes = self._gallery.decide(t_ns)
        for track in self._gallery.superseded():
            track.open = False
            self._cameras[track.camera].drop_closed()
        self.counters["assignments"] += len(changes)
        self.counters["identities"] = self._gallery.register.next_identity - 1
        return changes

    def _forget_looks(self, kind: str, before: int, now: int) -> None:
        """Drop what another network has said of people's looks: it cannot be compared with what comes now."""
        log.warning(
            "%s comes as %d numbers now, not %d: another network describes people, and what the one before "
            "told of their looks is forgotten",
            kind,
            now,
            before,
        )
        for camera in self._cameras.values():
            camera.forget_looks(kind)
        self._gallery.forget_looks(kind)

    def _settled(self, camera: CameraTracker) -> list[Settled]:
        return settled_frames(camera, self._stamps.get(camera.camera, {}))

    # -- people -----------------------------------------------------------------------------------

    def follow(self, identity: int, t_ns: int) -> IdentityEvent:
        """Follow a person from now on; raises TrackingError for an unknown identity, or one too many."""
        followed = [each for each, person in self._gallery.register.people.items() if person.followed]
        if len(followed) >= MAX_FOLLOWED and identity not in followed:
            raise TrackingError(f"{MAX_FOLLOWED} people are followed already: unfollow somebody first")
        self._changed(identity).followed = True
        return IdentityEvent(identity, "follow", t_ns)

    def unfollow(self, identity: int, t_ns: int) -> IdentityEvent:
        """Follow a person no longer; raises TrackingError for an unknown identity."""
        self._changed(identity).followed = False
        return IdentityEvent(identity, "unfollow", t_ns)

    def name(self, identity: int, name: str, t_ns: int) -> IdentityEvent:
        """Call a person by a name; raises TrackingError for an unknown identity, or what is no name."""
        if not isinstance(name, str) or not is_utf8(name):
            raise TrackingError(f"a name must be text that UTF-8 can write, not {shown(name)}")
        if len(name) > MAX_NAME_LENGTH:
            raise TrackingError(f"a name has at most {MAX_NAME_LENGTH} characters, this one has {len(name)}")
        self._changed(identity).name = name
        return IdentityEvent(identity, "name", t_ns, name)

    def merge(self, identity: int, other: int, t_ns: int) -> IdentityEvent:
        """`other` is the same person as `identity`, whose number stays.

        Raises TrackingError for an unknown identity, or where a camera has seen both at once.
        """
        self._gallery.merge(identity, other)
        return IdentityEvent(identity, "merge", t_ns, str(other))

    def split(self, identity: int, track_ids: Sequence[int], t_ns: int) -> IdentityEvent:
        """These tracks of `identity` are another person's; the event's identity is the new number.

        Raises TrackingError for an unknown identity, and for tracks that are not its own or too old.
        """
        new = self._gallery.split(identity, track_ids)
        return IdentityEvent(new, "split", t_ns, str(identity), tuple(sorted(set(track_ids))))

    def forget(self, identity: int, t_ns: int) -> IdentityEvent:
        """Erase a person; raises TrackingError for an unknown identity.

        The event names the tracks of which messages may still be on their way.
        """
        tracks = self._gallery.forget(identity)
        erased = {track.track_id for track in tracks}
        for camera in {track.camera for track in tracks}:
            self._cameras[camera].erase(erased)
        return IdentityEvent(identity, "forget", t_ns, tracks=tuple(sorted(erased)))

    def knows(self, identity: int) -> bool:
        """Whether this person is remembered."""
        return identity in self._gallery.register.people

    def recall(self, identity: int) -> None:
        """Know a person again who is in the history but was dropped from memory, without appearance."""
        self._gallery.register.recall(identity)

    def explain(self, identity: int) -> list[Stay]:
        """A person's latest tracks and why each is this person's; raises TrackingError for an unknown one."""
        return self._gallery.stays(identity)

    def followed(self) -> Followed:
        """Who is followed, and where each was last seen."""
        people = [self._last_seen(p) for _, p in sorted(self._gallery.register.people.items()) if p.followed]
        return Followed(tuple(seen for seen in people if seen is not None))

    def identity_at(self, camera: int, x: float, y: float) -> int | None:
        """The identity of the person at a pixel of a camera's newest frame, None where there is none.

        Of people one behind another it is the foremost: the one whose feet are lowest in the picture.
        """
        tracker = self._cameras.get(camera)
        if tracker is None:
            return None
        shown = tracker.shown()
        boxes = shown.boxes
        hit = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
        there = [
            (bottom, tracker.tracks[number].identity)
            for number, bottom in zip(shown.tracks[hit].tolist(), boxes[hit, 3].tolist(), strict=True)
        ]
        decided = [each for each in there if each[1]]
        return max(decided)[1] if decided else None

    def last_seen(self, identity: int) -> LastSeen | None:
        """Where a person was last seen, None for an unknown identity."""
        person = self._gallery.register.people.get(identity)
        return None if person is None else self._last_seen(person)

    def _changed(self, identity: int) -> TrackedPerson:
        person = self._gallery.register.person(identity)
        self._gallery.register.changed.add(identity)
        return person

    def _last_seen(self, person: TrackedPerson) -> LastSeen | None:
        if person.seen is None:
            return None
        camera, t_ns, x, y = person.seen
        expected = tuple(self._gallery.evidence.topology.next_cameras(camera)[:MOST_EXPECTED])
        sureness = self._gallery.sureness(person.identity)
        return LastSeen(person.identity, person.name, camera, t_ns, x, y, sureness, expected)

    # -- memory -----------------------------------------------------------------------------------

    def begin_after(self, track: int, identity: int) -> None:
        """Never give out numbers up to these, the highest that are stored."""
        self._next_track = max(self._next_track, track + 1)
        self._gallery.register.next_identity = max(self._gallery.register.next_identity, identity + 1)
        self._reservation.begin(self._next_track, self._gallery.register.next_identity)

    @property
    def reserve_is_low(self) -> bool:
        """Whether half of the numbers that the last snapshot reserved have been given out."""
        return self._reservation.is_low(self._next_track, self._gallery.register.next_identity)

    def snapshot(self, *, reserve: bool = False) -> tuple[bytes, dict[int, bytes]]:
        """All that must be remembered: the active state, and identities changed since the last snapshot.

        reserve: the tracker goes on after this snapshot, and a tracker that is restored from it will not see
            the same frames again (live cameras): it has to leave out the numbers given out meanwhile.
        """
        register = self._gallery.register
        self._reservation.begin(self._next_track, register.next_identity)
        numbers = [self._next_track, register.next_identity, self._gallery.decisions]
        tracks: dict[int, Track] = dict(self._gallery.tracks)
        for camera in self._cameras.values():
            tracks.update({track.track_id: track for track in camera.known()})
        state = pack(
            {
                "version": STATE_VERSION,
                "tracks": [track.state() for track in tracks.values()],
                "cameras": [camera.state() for camera in self._cameras.values()],
                "gallery": self._gallery.state(),
                "next": behind_blocks(*numbers) if reserve else numbers,
                "intake": self._intake.state(),
                "stamps": {
                    camera: [[t_ns, *astuple(stamp)] for t_ns, stamp in stamps.items()]
                    for camera, stamps in self._stamps.items()
                },
                "behind": self._behind,
                "sessions": self._sessions,
                "counters": self.counters,
            }
        )
        return state, self._gallery.register.changes()

    @classmethod
    def restore(cls, config: Config, state: bytes, identities: dict[int, bytes]) -> TrackerCore:
        """The tracker as it was at a snapshot: from there on it does exactly the same.

        identities: the newest bytes of every identity that any snapshot up to this one gave.  Those that
            are missing or empty are not remembered; their open tracks begin a new identity.

        Raises TrackingError where the bytes are damaged or of another version.
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
            camera = CameraTracker.restored(
                each, config.max_track_age, SETTLE_S, tracks, parameters=core._parameters
            )
            core._cameras[camera.camera] = camera
        people = [unpack(identities[identity]) for identity in sorted(identities) if identities[identity]]
        core._gallery = Gallery.restored(
            content["gallery"], config.similarity_threshold, tracks, people, config.retention_days * _DAY_S
        )
        track, identity, core._gallery.decisions = content["next"]
        core.begin_after(track - 1, identity - 1)
        core._intake = Intake.restored(content["intake"])
        core._stamps = {
            camera: {t_ns: FrameStamp(*stamp) for t_ns, *stamp in stamps}
            for camera, stamps in content["stamps"].items()
        }
        core._behind = {camera: (count, t_ns) for camera, (count, t_ns) in content["behind"].items()}
        core._sessions = content["sessions"]
        core.counters = dict.fromkeys(_COUNTERS, 0) | content["counters"]
        return core
