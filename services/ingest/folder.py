"""A folder of pictures as a recording."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from services.ingest.pool import FramePool, Image
from services.ingest.source import Recording
from shared.errors import SourceError

DEFAULT_FPS = 10.0

_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"))


class FolderSource(Recording):
    """The pictures of one folder in the natural order of their names ("2.jpg" before "10.jpg").

    A picture's index is its place among them, whether or not those before it can be decoded.
    """

    def __init__(self, folder: Path, fps: float | None) -> None:
        self.fps = fps or DEFAULT_FPS
        self._folder = folder
        self._pictures: list[Path] = []
        self._index = -1

    def open(self) -> None:
        """List the pictures; raises SourceError where there is none, or none that can be decoded."""
        try:
            self._pictures = pictures_of(self._folder)
        except OSError as error:
            raise SourceError(f"folder {self._folder} cannot be read: {error.strerror}") from None
        if not self._pictures:
            raise SourceError(
                f"folder {self._folder} holds no pictures "
                f"({', '.join(sorted(_SUFFIXES))}); give the folder they lie in"
            )
        self._index = -1
        if all(_decode(each) is None for each in self._pictures):
            raise SourceError(
                f"folder {self._folder}: none of its {len(self._pictures)} pictures can be decoded"
            )

    def grab(self) -> bool:
        """Go to the next picture."""
        if self._index + 1 >= len(self._pictures):
            return False
        self._index += 1
        return True

    def retrieve(self, pool: FramePool) -> Image | None:
        """The picture; not pooled, because OpenCV decodes picture files into arrays of its own."""
        del pool
        return _decode(self._pictures[self._index])

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def position_ns(self) -> int:
        """Where the picture lies, nanoseconds from the first one."""
        return round(self._index * 1e9 / self.fps)

    @property
    def missing(self) -> int:
        """Always 0: every picture that was listed was tried."""
        return 0


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder in their order; raises OSError where it cannot be read."""
    return sorted((each for each in folder.iterdir() if each.suffix.lower() in _SUFFIXES), key=_natural)


def _natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """A key that orders runs of digits as numbers."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return (*((0, int(part)) if part.isdecimal() else (1, part) for part in parts), (2, path.name))


def _decode(path: Path) -> Image | None:
    """The picture as BGR, or None where it is damaged."""
    try:
        data = path.read_bytes()
        if not data or _is_cut_off_jpeg(data):
            return None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):  # cv2.error: a header that promises an absurd size
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Whether a JPEG lacks its end; OpenCV 4 would decode it, to a picture whose rest is grey."""
    if not data.startswith(b"\xff\xd8"):
        return False
    at = 2
    # The segments before the scan are skipped by their lengths: a thumbnail in them has an end too.
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) < 0
