"""What all sources of pictures have in common, and which one an address means."""

from __future__ import annotations

import re
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, TypeAlias

from services.ingest.pool import FramePool, Image
from shared.config import CameraConfig
from shared.errors import SourceError
from shared.redaction import redacted_path

SourceKind: TypeAlias = Literal["file", "folder", "network", "webcam"]

_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")

_LONGEST_SHOWN = 300
"""Letters of a path in an error."""


class Source(ABC):
    """A sequence of pictures that is gone through once, from front to back, by one thread.

    Getting a frame has two steps, so that a frame nobody wants costs as little as the source allows:
    `grab` goes to the next frame, `retrieve` decodes it into a picture.
    """

    @abstractmethod
    def open(self) -> None:
        """Make ready; raises SourceError that says what is wrong and what to do."""

    @abstractmethod
    def grab(self) -> bool:
        """Go to the next frame; False where there is none, or none any more."""

    @abstractmethod
    def retrieve(self, pool: FramePool) -> Image | None:
        """The grabbed frame, in a buffer of `pool` where possible; None where it cannot be decoded."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; harmless when repeated."""

    def interrupt(self) -> None:  # noqa: B027 -- most sources cannot, and need not, do anything
        """From another thread: let an `open` or `grab` that waits for the other side return, if possible."""


class Recording(Source):
    """A source that has an end, and whose frames have positions."""

    fps: float
    """Nominal frames a second, known once it is open."""

    @property
    @abstractmethod
    def position_ns(self) -> int:
        """Where the grabbed frame lies, nanoseconds from the first frame."""

    @property
    @abstractmethod
    def missing(self) -> int:
        """Behind the last frame: how many more were promised than could be found."""


def kind_of(camera: CameraConfig) -> SourceKind:
    """What the camera's source is; raises SourceError where it is nothing that exists."""
    source = str(camera.source)
    if source.isdecimal():
        return "webcam"
    if _ADDRESS.match(source) and not source.lower().startswith("file://"):
        return "network"
    path = local_path(source)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        reason = "does not exist"
    except (OSError, ValueError) as error:  # too long, not allowed, with a zero byte
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    else:
        return "folder" if stat.S_ISDIR(mode) else "file"
    raise SourceError(
        f"{_shortened(redacted_path(str(path)))} {reason}; `source:` takes a video file, a folder of "
        "pictures, an address such as rtsp://host/path, or the number of a webcam"
    )


def check_delivery(camera: CameraConfig, kind: SourceKind) -> None:
    """Raise SourceError where the configured delivery does not go with the source."""
    if camera.delivery == "recorded" and kind in ("network", "webcam"):
        raise SourceError(
            f"a {kind} source cannot have `delivery: recorded`, for it does not wait; leave it out, or "
            "save the video to a file first"
        )


def local_path(source: str) -> Path:
    """The file or folder a source names."""
    return Path(re.sub(r"^file://", "", source, flags=re.IGNORECASE)).expanduser()


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
