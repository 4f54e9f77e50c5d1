"""The mosaic as a video file, at the speed of the cameras."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.pairing import Shown
from services.viewer.scene import Scene
from services.viewer.timeline import Timeline
from shared.errors import StorageError
from shared.messages import Followed

SIZE = (1280, 720)

SPARE_BYTES = 4 << 20
"""Recording stops when the disk has less than this: the file's index is written last and needs room."""


class VideoFile:
    """A video being written: MPEG-4 in an MP4 file, constant rate.

    Raises StorageError where the file cannot be written, or the disk is full; what was written before
    that remains a playable file.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._path = path
        self._size = size
        self.frames = 0
        _check_writable(path)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise StorageError(
                f"cannot record to {path}: no video can be written there; name a .mp4 file", permanent=True
            )

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture of the file's size."""
        # OpenCV does not report a full disk, and would leave a file without an index.
        if shutil.disk_usage(self._path.parent).free < SPARE_BYTES:
            self.close()
            raise StorageError(
                f"disk full: recording to {self._path} stopped after {self.frames} frames, which can be "
                "played; free some space or record elsewhere",
                permanent=True,  # beginning again would overwrite them
            )
        self._writer.write(picture)
        self.frames += 1

    def close(self) -> None:
        """Finish the file; it can be played from now on."""
        self._writer.release()


class Recorder:
    """Records a scene of its own: gathers frames on a timeline and writes one mosaic a tick.

    titles: the cameras, in the order in which they are shown, and what an operator calls them.
    """

    def __init__(self, path: Path, titles: Mapping[int, str], size: tuple[int, int] = SIZE) -> None:
        _check_writable(path)
        self._path = path
        self._size = size
        self._scene = Scene(titles)
        self._timeline = Timeline(titles)
        self._ends: dict[int, str] = {}
        self._file: VideoFile | None = None

    @property
    def frames(self) -> int:
        """How many pictures have been written."""
        return self._file.frames if self._file else 0

    @property
    def waiting(self) -> int:
        """How many frames wait for their tick."""
        return self._timeline.waiting

    def add(self, shown: Iterable[Shown]) -> None:
        """Take in frames of a camera, in their order."""
        for each in shown:
            self._timeline.add(each)

    def follow(self, followed: Followed) -> None:
        """Take in who is followed from now on."""
        self._scene.follow(followed)

    def end(self, camera: int, reason: str) -> None:
        """Take in that a camera has nothing more to send."""
        self._timeline.end(camera)
        self._ends[camera] = reason

    def write(self, *, most: int = 1, final: bool = False) -> int:
        """Write at most so many pictures that are ready; returns how many there were.

        final: nothing more will come, so that all taken in is ready.  Raises StorageError.
        """
        written = 0
        ticks = self._timeline.ticks(final=final)
        while written < most:
            tick = next(ticks, None)
            if tick is None:
                break
            t_ns, due = tick
            for shown in due:
                self._scene.show(shown, t_ns)
            for camera, reason in self._ends.items():
                if self._timeline.finished(camera):
                    self._scene.end(camera, reason)
            if self._file is None:
                self._file = VideoFile(self._path, self._timeline.fps, self._size)
            self._file.write(self._scene.picture(*self._size, t_ns))
            written += 1
        return written

    def close(self) -> None:
        """Write what was taken in and finish the file; raises StorageError."""
        try:
            while self.write(most=64, final=True):
                pass
        finally:
            if self._file is not None:
                self._file.close()


def _check_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StorageError(f"cannot record to {path}: there is no folder {folder}", permanent=True)
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise StorageError(
            f"cannot record to {path}: it may not be written; name another file", permanent=True
        )
