"""A run from its database: every frame with the people found in it, in the order of time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from services.ingest.jpeg import JpegEncoder
from services.ingest.recording import recorded_session
from services.ingest.source import kind_of
from services.ingest.stream import VideoStream
from services.store.history import History
from services.store.replay import replay
from shared.config import CameraConfig, Config
from shared.errors import SourceError
from shared.messages import Followed, Frame, FrameStamp, LastSeen, Tracks

log = logging.getLogger(__name__)

_BLANK_GREY = 40


class StoredRun:
    """The frames and tracks of a stored run.

    Pictures of recorded cameras are read again from their sources; a camera whose source is gone, has
    changed or was live is shown on an empty picture.
    """

    def __init__(self, history: History, config: Config) -> None:
        self.cameras = history.cameras()
        self._history = history
        self._pictures = {camera: _Pictures(each, config) for camera, each in self.cameras.items()}
        self._jpeg = JpegEncoder(config.jpeg_quality)

    def __iter__(self) -> Iterator[tuple[Frame, Tracks]]:
        for tracks in replay(self._history):
            stamp = tracks.stamp
            image = self._pictures[stamp.camera].at(stamp)
            yield Frame(stamp, self._jpeg.encode(image)), tracks

    def followed(self) -> Followed:
        """Who was followed in the end, and everybody's name who has one."""
        people = []
        for person in self._history.identities():
            place = self._history.last_seen(person.identity) if person.followed else None
            if place is not None:
                x, y = place.box.foot
                people.append(LastSeen(place.identity, place.name, place.camera, place.t_ns, x, y))
        return Followed(tuple(people))

    def close(self) -> None:
        """Close the sources."""
        for each in self._pictures.values():
            each.close()


class _Pictures:
    """The pictures of one camera by frame index, read forward only."""

    def __init__(self, camera: CameraConfig, config: Config) -> None:
        self._camera = camera
        self._config = config
        self._stream: VideoStream | None = None
        self._opened = False

    def at(self, stamp: FrameStamp) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """The picture of a frame, (height, width, 3) uint8 BGR; an empty one where it is not to be had."""
        if not self._opened:
            self._opened = True
            self._open(stamp)
        while self._stream is not None:
            try:
                captured = self._stream.read()
            except SourceError as error:
                log.warning("%s", error)
                captured = None
            if captured is None or captured.index > stamp.frame_index:
                self.close()
                break
            image = captured.image.copy() if captured.index == stamp.frame_index else None
            captured.release()
            if image is not None and image.shape[:2] == (stamp.height, stamp.width):
                return image
        return np.full((max(1, stamp.height), max(1, stamp.width), 3), _BLANK_GREY, np.uint8)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None

    def _open(self, stamp: FrameStamp) -> None:
        camera = replace(self._camera, delivery="recorded")
        try:
            if kind_of(camera) not in ("file", "folder"):
                log.info("%s was live: its people are shown without pictures", camera.title)
                return
            if recorded_session(self._camera) != stamp.session:
                log.warning(
                    "%s was another recording then: its people are shown without pictures", camera.title
                )
                return
            stream = VideoStream(camera, self._config)
            stream.start()
        except SourceError as error:
            log.warning("%s; its people are shown without pictures", error)
            return
        self._stream = stream
