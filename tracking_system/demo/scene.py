"""One video as several cameras: windows of its picture, each with a scale, light and sharpness of its own.

Somebody who walks from one window into the next changes camera, size and look, as between real ones.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shared.errors import SourceError, StorageError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Window:
    """What one camera sees, as shares (0-1) of the source's width and height.

    gamma: brightness, above 1 darker.  gains: of blue, green, red.  blur_px: sigma.
    """

    name: str
    left: float
    right: float
    top: float
    bottom: float
    scale: float
    gamma: float = 1.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur_px: float = 0.0
    mirrored: bool = False


PLAZA = (
    Window("West", 0.0, 0.307, 0.19, 0.87, scale=1.5),
    Window("Middle", 0.346, 0.654, 0.19, 0.87, scale=1.25, gamma=0.65, gains=(1.1, 1.0, 0.9), blur_px=0.6),
    Window(
        "East",
        0.693,
        1.0,
        0.19,
        0.87,
        scale=1.75,
        gamma=1.5,
        gains=(0.9, 1.0, 1.1),
        blur_px=0.4,
        mirrored=True,
    ),
)
"""Three cameras with gaps between them, through which everybody has to walk unseen."""


def cut(video: Path, folder: Path, windows: Sequence[Window] = PLAZA) -> list[Path]:
    """Write `cam1.mp4`, `cam2.mp4`, ... into the folder, one a window; files of an earlier cut are kept.

    Raises SourceError where the video cannot be read, StorageError where nothing can be written.
    """
    paths = [folder / f"cam{number}.mp4" for number in range(1, len(windows) + 1)]
    if all(path.exists() for path in paths):
        return paths
    capture = cv2.VideoCapture(str(video))
    with contextlib.ExitStack() as stack:
        stack.callback(capture.release)
        if not capture.isOpened():
            raise SourceError(f"{video} cannot be read as a video")
        size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        # Under other names until they are whole, so that an interrupted cut is not taken for one.
        parts = [path.with_name(f"part-{path.name}") for path in paths]
        cameras = [_Camera(window, size) for window in windows]
        writers = [_writer(part, fps, camera.size) for part, camera in zip(parts, cameras, strict=True)]
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        with tqdm(total=frames, desc="cutting the video into cameras", unit="frame", disable=None) as bar:
            while True:
                decoded, frame = capture.read()
                if not decoded:
                    break
                for camera, writer in zip(cameras, writers, strict=True):
                    writer.write(camera.view(np.asarray(frame, np.uint8)))
                bar.update()
        for writer, part, path in zip(writers, parts, paths, strict=True):
            writer.release()
            part.replace(path)
    return paths


class _Camera:
    def __init__(self, window: Window, size: tuple[int, int]) -> None:
        width, height = size
        self._window = window
        self._columns = slice(round(window.left * width), round(window.right * width))
        self._rows = slice(round(window.top * height), round(window.bottom * height))
        # Video codecs want even sides.
        self.size = (
            round((self._columns.stop - self._columns.start) * window.scale) // 2 * 2,
            round((self._rows.stop - self._rows.start) * window.scale) // 2 * 2,
        )
        levels = (np.arange(256)[:, None] / 255) ** window.gamma * np.array(window.gains)
        self._light = (np.clip(levels, 0, 1) * 255).round().astype(np.uint8).reshape(1, 256, 3)

    def view(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = cv2.resize(frame[self._rows, self._columns], self.size, interpolation=cv2.INTER_CUBIC)
        picture = cv2.LUT(picture, self._light)
        if self._window.blur_px:
            picture = cv2.GaussianBlur(picture, (0, 0), self._window.blur_px)
        return np.asarray(cv2.flip(picture, 1) if self._window.mirrored else picture, np.uint8)


def _writer(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    if not writer.isOpened():
        raise StorageError(f"{path} cannot be written: is there room, and may you write there?")
    return writer
