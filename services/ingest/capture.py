"""Sources that OpenCV's `VideoCapture` reads: video files, network cameras, webcams."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import psutil

from services.ingest.pacing import Timeline
from services.ingest.pool import FramePool, Image
from services.ingest.source import Recording, Source
from shared.errors import SourceError
from shared.redaction import redacted

OPEN_TIMEOUT_S = 10.0
"""Longest that opening a network camera may take: its first whole picture may come after some seconds."""

_NETWORK_OPTIONS = "rtsp_transport;tcp|analyzeduration;2000000|fpsprobesize;2"
"""Over TCP, because lost packets ruin pictures; and without FFmpeg's usual 5 s of looking on first, which
would be 5 s more until a camera is back."""

_KNOCK_TIMEOUT_S = 2.0
_SILENT = 0
_FALLBACK_FPS = 25.0
_DAMAGED_STRETCHES = 16
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}


class _CaptureSource(Source):
    """What all three share: one `VideoCapture`, decoding into pooled buffers."""

    def __init__(self) -> None:
        self._capture: cv2.VideoCapture | None = None
        self._shape = (0, 0, 3)

    def _open(self, capture: cv2.VideoCapture) -> bool:
        if not capture.isOpened():
            capture.release()
            return False
        self._capture = capture
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._shape = (max(height, 1), max(width, 1), 3)
        return True

    def grab(self) -> bool:
        """Go to the next frame."""
        return self._capture is not None and self._capture.grab()

    def retrieve(self, pool: FramePool) -> Image | None:
        """The grabbed frame, decoded into a buffer of `pool`."""
        if self._capture is None:
            return None
        buffer = pool.acquire(self._shape)
        decoded, image = self._capture.retrieve(buffer)
        if not decoded or image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            pool.release(buffer)
            return None
        if image.shape != self._shape:
            # The source changed its resolution (or is rotated): OpenCV made an array of its own.
            height, width = image.shape[:2]
            self._shape = (height, width, 3)
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Let go of the device, file or connection."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class FileSource(_CaptureSource, Recording):
    """A video file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._timeline = Timeline(_FALLBACK_FPS)
        self._position_ns = 0
        self._primed = False
        self._grabbed = 0
        self._promised = 0

    def open(self) -> None:
        """Open the file and find its first frame."""
        try:
            with self._path.open("rb") as file:
                empty = not file.read(1)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}") from None
        if empty:
            raise SourceError(f"{self._path} is empty (0 bytes); copy or record it again")
        _prepare_ffmpeg()
        # One decoding thread: the same frames from a damaged file each time, and fewer CPU seconds.
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._open(capture):
            raise SourceError(
                f"{self._path} is not a video that FFmpeg can read: it is damaged, of another kind, "
                "or was cut off before its index was written; try to play it, or convert it"
            )
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.1 <= fps <= 1000 else _FALLBACK_FPS
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised = int(frames) if 0 < frames < 1e9 else 0
        self._timeline = Timeline(self.fps)
        self._grabbed = 0
        if not self._advance():
            self.close()
            raise SourceError(
                f"{self._path} holds no picture that can be decoded; try to play it, or convert it"
            )
        self._primed = True

    def grab(self) -> bool:
        """Go to the next frame."""
        if self._primed:
            self._primed = False
            return True
        return self._advance()

    def _advance(self) -> bool:
        # FFmpeg passes over damaged packets, and OpenCV gives up after a number of them in a row; what
        # lies behind such a stretch is still wanted.
        for _ in range(_DAMAGED_STRETCHES if self._grabbed < self._promised else 1):
            if self._capture is not None and self._capture.grab():
                self._grabbed += 1
                self._position_ns = self._timeline.advance(self._capture.get(cv2.CAP_PROP_POS_MSEC))
                return True
        return False

    @property
    def position_ns(self) -> int:
        """Where the grabbed frame lies, nanoseconds from the first frame."""
        return self._position_ns

    @property
    def missing(self) -> int:
        """How many frames the container promises beyond those that could be found."""
        return max(0, self._promised - self._grabbed)


class NetworkSource(_CaptureSource):
    """A camera at an RTSP or HTTP address, or another one that FFmpeg knows.

    read_timeout_s: silence after which `grab` gives up.
    knock: first see whether the address answers at all, which takes less time than FFmpeg does.
    """

    def __init__(self, address: str, *, read_timeout_s: float, knock: bool) -> None:
        super().__init__()
        self._address = address
        self._read_timeout_s = read_timeout_s
        self._knock = knock
        self._peers: frozenset[tuple[str, int]] = frozenset()

    def open(self) -> None:
        """Connect, within `OPEN_TIMEOUT_S`."""
        _prepare_ffmpeg()
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _NETWORK_OPTIONS)
        self._peers = _resolved(self._address)
        if self._knock:
            _knock(self._address)
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_TIMEOUT_S * 1e3),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(self._read_timeout_s * 1e3),
            cv2.CAP_PROP_N_THREADS, 1,  # threads would each hold a frame back
        ]  # fmt: skip
        if not self._open(cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, parameters)):
            _knock(self._address)
            raise SourceError("it answers but gives no video; check the path, the user and the password")

    def interrupt(self) -> None:
        """Shut this process's connections to the camera, which is the only way to wake FFmpeg early."""
        process = psutil.Process()
        # psutil 6 renamed it.
        listed = getattr(process, "net_connections", None) or process.connections
        for each in listed(kind="tcp"):
            if each.fd >= 0 and each.raddr and tuple(each.raddr)[:2] in self._peers:
                _shut(each.fd, local=tuple(each.laddr)[:2], remote=tuple(each.raddr)[:2])


class WebcamSource(_CaptureSource):
    """A camera of this machine, by its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def open(self) -> None:
        """Open the device."""
        _prepare_ffmpeg()
        if not self._open(cv2.VideoCapture(self._number)):
            raise SourceError(f"webcam {self._number} cannot be opened; is it connected, and free?")


def _shut(fd: int, *, local: tuple[str, int], remote: tuple[str, int]) -> None:
    """Shut the TCP connection between these two addresses, if the descriptor still is that one.

    Since it was listed, another thread may have closed it and its number may have been given to something
    else.  The copy that is looked at stays what it is, whatever happens to the number.
    """
    with contextlib.suppress(OSError):
        copy = os.dup(fd)
        try:
            connection = socket.socket(fileno=copy)
        except OSError:  # no socket any more
            os.close(copy)
            return
        with connection:
            ends = connection.getsockname()[:2], connection.getpeername()[:2]
            if ends == (local, remote):
                connection.shutdown(socket.SHUT_RDWR)


def _place(address: str) -> tuple[str, int] | None:
    """Host and TCP port of a network address; None where only FFmpeg can tell."""
    parts = urlsplit(address)
    try:
        port = parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError:
        raise SourceError(
            f"{redacted(address)} has an impossible port number; in a user or password / ? # @ : must be "
            "written as %2F %3F %23 %40 %3A"
        ) from None
    if not parts.hostname or port is None or parts.scheme.lower() not in _PORTS:
        return None
    return parts.hostname, port


def _shown(address: str, place: str) -> str:
    """The place for an error; where it may be a part of the password, the address without that."""
    rest = address.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    return redacted(address) if "@" in rest[len(authority) :] else place


def _resolved(address: str) -> frozenset[tuple[str, int]]:
    """The IP addresses and the port behind a network address; raises SourceError for an unknown name."""
    place = _place(address)
    if place is None:
        return frozenset()
    try:
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        name = _shown(address, place[0])
        raise SourceError(f"the name {name} is not known; check the address and the network") from None
    return frozenset((str(each[4][0]), place[1]) for each in found)


def _knock(address: str) -> None:
    """Raise SourceError with the reason where nobody answers at a network address."""
    place = _place(address)
    if place is None:
        return
    name = _shown(address, f"{place[0]} port {place[1]}")
    try:
        socket.create_connection(place, _KNOCK_TIMEOUT_S).close()
    except TimeoutError:
        raise SourceError(f"{name} does not answer; is the camera on, and the network up?") from None
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise SourceError(f"{name}: {reason}; is the camera on, and the address right?") from None


def _prepare_ffmpeg() -> None:
    """Settings that OpenCV takes only from the environment; what the user has set there stays."""
    # Without this, one camera that does not answer keeps every other one from being opened.
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    # FFmpeg writes several lines for each damaged packet; damage is counted instead.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV 4 has it at the top, OpenCV 5 only in its logging module.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(_SILENT)
