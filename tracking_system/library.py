"""`MultiCameraTracker`: the services' cores in one process, for programs that have frames of their own."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.extractor import FeatureExtractor
from services.detector.failure import FrameFailure
from services.detector.families import build, describers
from services.ingest.capture_clock import CaptureClock
from services.ingest.clock import SystemClock
from services.ingest.motion import MotionEstimator
from services.tracker.core import TrackerCore
from services.tracker.person import Stay
from services.viewer.drawing import annotate
from services.viewer.trail import TrailMemory
from shared.config import (
    CameraConfig,
    Config,
    Homography,
    checked_camera_id,
    checked_camera_name,
    checked_homography,
)
from shared.errors import ConfigError, SourceError, StorageError, TrackingError
from shared.limits import MAX_T_NS
from shared.messages import Followed, Frame, FrameStamp, IdentityEvent, LastSeen, Tracks, empty_people
from tracking_system.journal import Journal

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]


class MultiCameraTracker:
    """Follows people through the frames of several cameras.

        tracker = MultiCameraTracker()
        tracker.register_camera(1)
        annotated = tracker.process_frame(frame, 1)

    config: settings; the defaults where it is None.  data: a folder for the database that the command
    line reads (`tracking-system last-seen`, ...) and that people are recognised from the next time;
    nothing is kept without.  extractor: other networks than the configuration's.

    Every method may be called from any thread; frames are processed one at a time.  Call `close`, or use it
    as a context manager, so that the database is complete; at the latest that happens when the program ends.

    Raises ModelError where the networks are not to be had, StorageError where the folder cannot be used.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        data: str | Path | None = None,
        extractor: FeatureExtractor | None = None,
    ) -> None:
        self._config = config or Config()
        self._lock = threading.RLock()
        self._extractor = extractor or FeatureExtractor(
            *build(self._config), self._config, describers(self._config)
        )
        self._journal = None if data is None else Journal(Path(data), self._config, "a program's tracker")
        self._core = self._journal.core if self._journal else TrackerCore(self._config)
        if self._journal is not None:
            self._at_exit = weakref.finalize(self, _complete, self._journal, os.getpid())
        self._cameras: dict[int, _Camera] = {}
        self._selecting = False
        self._closed = False

    # -- cameras and frames -----------------------------------------------------------------------

    def register_camera(self, camera_id: int, name: str = "", homography: Homography | None = None) -> None:
        """Take in a camera, before its first frame.

        camera_id: 1 to 2147483647.  name: at most 200 letters.
        homography: row by row; carries pixels to metres on a ground plane that all
        calibrated cameras share.  Raises ConfigError where one is not, or the camera is registered already.
        """
        with self._lock:
            checked_camera_id(camera_id)
            checked_camera_name(name)
            if camera_id in self._cameras:
                raise ConfigError(f"camera {camera_id} is registered already")
            if homography is not None:
                self._core.calibrate(camera_id, checked_homography(homography))
            self._cameras[camera_id] = _Camera(camera_id)
            if self._journal is not None:
                self._journal.register(CameraConfig(camera_id, "", name))

    def process_frame(self, frame: Image, camera_id: int, t_ns: int | None = None) -> Image:
        """A copy of the frame with the people in it marked.

        frame: (height, width, 3) uint8 BGR, as OpenCV reads it; it is not changed.
        t_ns: when it was taken, UTC nanoseconds, by default now; for recordings give start + position,
            so that speeds and walking times are real.  The default is taken from the monotonic clock; when
            somebody sets the system clock, a warning is logged and the camera's tracks end.

        Raises SourceError for what is not such a frame or is not later than the camera's last one,
        ConfigError for a camera that is not registered.
        """
        with self._lock:
            camera = self._camera(camera_id)
            _check_frame(frame, camera_id)
            stamp = camera.stamp(frame, t_ns)
            tracks = self._track(stamp, frame, camera)
            if self._journal is not None:
                self._journal.write(tracks)
            camera.trails.update(tracks)
            followed = self._core.followed().people
            return annotate(
                frame,
                tracks,
                trails=camera.trails.at(stamp.t_ns),
                followed={person.identity for person in followed},
                names={person.identity: person.name for person in followed if person.name},
            )

    def _track(self, stamp: FrameStamp, frame: Image, camera: _Camera) -> Tracks:
        message = Frame(stamp, b"", camera.motion.measure(frame))
        (people,) = self._extractor.extract([(message, frame)])
        if isinstance(people, FrameFailure):
            # Logged and counted by the extractor; for the tracks it is a frame without anybody.
            people = empty_people(stamp)
        return self._core.process(people)

    def _camera(self, camera_id: int) -> _Camera:
        if self._closed:
            raise TrackingError("this tracker is closed")
        camera = self._cameras.get(camera_id)
        if camera is None:
            known = ", ".join(map(str, self._cameras)) or "none"
            raise ConfigError(
                f"camera {camera_id!r} is not registered ({known} are): call register_camera first"
            )
        return camera

    # -- people -----------------------------------------------------------------------------------

    @property
    def selecting(self) -> bool:
        """Whether the next click selects a person."""
        return self._selecting

    def toggle_selecting_mode(self) -> bool:
        """Enter selecting mode, or leave it; True where it is entered."""
        with self._lock:
            self._selecting = not self._selecting
            return self._selecting

    def click(self, camera_id: int, x: float, y: float) -> int | None:
        """In selecting mode, follow the person at a pixel of a camera's newest frame; the person's number.

        None where nobody with a number is there (selecting goes on), or outside selecting mode.  After a
        selection the mode is left.  Raises ConfigError for a camera that is not registered.
        """
        with self._lock:
            self._camera(camera_id)
            identity = self._core.identity_at(camera_id, x, y) if self._selecting else None
            if identity is not None:
                self.follow(identity)
                self._selecting = False
            return identity

    def mouse_handler(self, camera_id: int) -> Callable[[int, int, int, int, Any], None]:
        """What `cv2.setMouseCallback` takes, for a window that shows this camera's frames at their size."""

        def handle(event: int, x: int, y: int, flags: int, parameter: Any) -> None:
            if event == cv2.EVENT_LBUTTONDOWN:
                self.click(camera_id, x, y)

        return handle

    def follow(self, identity: int) -> None:
        """Highlight a person from now on; raises TrackingError where there is no such person."""
        with self._deciding(identity):
            self._decided(self._core.follow(identity, time.time_ns()))

    def unfollow(self, identity: int) -> None:
        """Stop highlighting a person; raises TrackingError where there is no such person."""
        with self._deciding(identity):
            self._decided(self._core.unfollow(identity, time.time_ns()))

    def name(self, identity: int, name: str) -> None:
        """Call a person by a name; raises TrackingError where there is no such person."""
        with self._deciding(identity):
            self._decided(self._core.name(identity, name, time.time_ns()))

    def merge(self, identity: int, other: int) -> None:
        """`other` is the same person as `identity`; raises TrackingError where that cannot be."""
        with self._deciding(identity, other):
            self._decided(self._core.merge(identity, other, time.time_ns()))

    def split(self, identity: int, track_ids: Sequence[int]) -> int:
        """These tracks of a person are somebody else's, whose new number is returned.

        Raises TrackingError where they are not that person's, or too old.
        """
        with self._deciding(identity):
            event = self._core.split(identity, track_ids, time.time_ns())
            self._decided(event)
            return event.identity

    def forget(self, identity: int) -> None:
        """Erase a person; raises TrackingError where there is no such person."""
        with self._deciding(identity):
            self._decided(self._core.forget(identity, time.time_ns()))

    def explain(self, identity: int) -> list[Stay]:
        """A person's latest tracks and why each is this person's; raises TrackingError for a stranger."""
        with self._lock:
            return self._core.explain(identity)

    def followed(self) -> Followed:
        """Who is followed, and where each was last seen."""
        with self._lock:
            return self._core.followed()

    def last_seen(self, identity: int) -> LastSeen | None:
        """Where a person was last seen, None where there is no such person."""
        with self._lock:
            return self._core.last_seen(identity)

    @contextmanager
    def _deciding(self, *identities: int) -> Iterator[None]:
        """Hold the tracker for a decision about people, of whom it may have to be reminded."""
        with self._lock:
            if self._closed:
                raise TrackingError("this tracker is closed")
            if self._journal is not None:
                for identity in identities:
                    self._journal.recall(identity)
            yield

    def _decided(self, event: IdentityEvent) -> None:
        if self._journal is not None:
            self._journal.event(event)

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Complete the database; the second time does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                if self._journal is not None:
                    self._at_exit.detach()
                    self._journal.close()

    def __enter__(self) -> MultiCameraTracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _complete(journal: Journal, owner_pid: int) -> None:
    """Close the database of a tracker that its program did not close; a forked child does nothing."""
    if os.getpid() != owner_pid:
        return
    try:
        journal.close()
    except StorageError as error:
        log.error("the last results were not written to the database: %s", error)


class _Camera:
    """One registered camera: the numbering of its frames, and what is remembered between them."""

    def __init__(self, camera_id: int) -> None:
        self._id = camera_id
        self._session = time.time_ns()
        self._clock = CaptureClock(f"camera {camera_id}", SystemClock())
        self._next_index = 0
        self._begin()

    def _begin(self) -> None:
        self._last_ns = -1
        self.motion = MotionEstimator()
        self.trails = TrailMemory()

    def _now_ns(self) -> int:
        steps = self._clock.session
        t_ns = self._clock.now_ns()
        if self._clock.session != steps:
            self._session += 1
            self._begin()
        return t_ns

    def stamp(self, frame: Image, t_ns: int | None) -> FrameStamp:
        if t_ns is None:
            t_ns = self._now_ns()
        if type(t_ns) is not int or t_ns <= self._last_ns:
            raise SourceError(
                f"camera {self._id}: t_ns must be a whole number of nanoseconds, later than the last frame's "
                f"{self._last_ns}, not {t_ns!r}"
            )
        if t_ns > MAX_T_NS:
            raise SourceError(
                f"camera {self._id}: t_ns must be before 2200 (nanoseconds since 1970), not {t_ns}"
            )
        index, self._next_index, self._last_ns = self._next_index, self._next_index + 1, t_ns
        height, width = frame.shape[:2]
        return FrameStamp(self._id, self._session, index, t_ns, width, height)


def _check_frame(frame: Any, camera_id: int) -> None:
    wanted = "a frame must be a (height, width, 3) array of uint8, as cv2.VideoCapture.read gives it"
    if frame is None:
        raise SourceError(
            f"camera {camera_id}: the frame is None: is the video over, or could it not be read?"
        )
    if not isinstance(frame, np.ndarray):
        raise SourceError(f"camera {camera_id}: {wanted}, not {type(frame).__name__}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise SourceError(f"camera {camera_id}: {wanted}, not {frame.shape} of {frame.dtype}")
