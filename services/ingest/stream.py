"""`VideoStream`: optimized capture with a frame buffer and error recovery, for any kind of source."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from types import TracebackType

from services.ingest.buffer import CapturedFrame, FrameBuffer
from services.ingest.capture import FileSource, NetworkSource, WebcamSource
from services.ingest.clock import Clock, SystemClock
from services.ingest.folder import FolderSource
from services.ingest.live import LiveCapture, SourceFactory
from services.ingest.pacing import RateLimit
from services.ingest.playback import Playback
from services.ingest.pool import FramePool
from services.ingest.source import Recording, check_delivery, kind_of, local_path
from services.ingest.stats import StreamStats
from shared.config import CameraConfig, Config
from shared.errors import SourceError

__all__ = ["CapturedFrame", "StreamStats", "VideoStream"]

_IN_HAND = 3
"""Pictures outside the buffer: one being decoded, and two with the consumer."""

_STOP_S = 1.0


class VideoStream:
    """The frames of one camera, captured by a thread of their own.

    Recorded sources (files, folders) deliver every frame once, in order: capture waits while the buffer of
    `config.buffer_size` frames is full, and iteration ends where the recording does.  Live sources (RTSP
    and HTTP addresses, webcams, recordings with `delivery: live`) deliver the newest frame, at most
    `config.target_fps` a second: a camera that goes away is sought until it is back, and iteration ends
    only with `stop`, or with the recording.

        with VideoStream(camera, config) as stream:
            for frame in stream:
                ...
                frame.release()

    source: what to read instead of `camera.source`.
    Raises SourceError where the configured source cannot be used; so does `start`.
    """

    def __init__(
        self,
        camera: CameraConfig,
        config: Config,
        *,
        clock: Clock | None = None,
        source: Recording | SourceFactory | None = None,
    ) -> None:
        self._camera = camera
        self._config = config
        self._clock = clock or SystemClock()
        if source is None:
            try:
                source = _configured_source(camera, config)
            except SourceError as error:
                raise SourceError(f"{camera.title}: {error}") from None
        self._source = source
        self._live = not isinstance(source, Recording) or camera.delivery == "live"
        capacity = 1 if self._live else config.buffer_size
        self._pool = FramePool(capacity + _IN_HAND)
        self._buffer = FrameBuffer(capacity, newest_wins=self._live)
        self._stats = StreamStats()
        self._capture: Playback | LiveCapture | None = None
        self._thread: threading.Thread | None = None

    @property
    def live(self) -> bool:
        """Whether the newest frame wins; else every frame is delivered once."""
        return self._live

    def start(self) -> None:
        """Open a recording, or begin to seek a camera, and start to capture.

        Raises SourceError where a recording cannot be read; a camera that does not answer is no error.
        """
        title = self._camera.title
        if isinstance(self._source, Recording):
            try:
                self._source.open()
            except SourceError as error:
                raise SourceError(f"{title}: {error}") from None
            self._capture = Playback(
                title,
                self._source,
                buffer=self._buffer,
                pool=self._pool,
                stats=self._stats,
                clock=self._clock,
                start_ns=self._camera.start_ns or 0,
                real_time=RateLimit(self._config.target_fps) if self._live else None,
            )
        else:
            self._capture = LiveCapture(
                title,
                self._source,
                buffer=self._buffer,
                pool=self._pool,
                stats=self._stats,
                clock=self._clock,
                target_fps=self._config.target_fps,
                watchdog_s=self._config.watchdog_s,
            )
        self._thread = threading.Thread(target=self._capture.run, name="capture", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float | None = None) -> CapturedFrame | None:
        """The next frame; None behind the last one, or after `timeout_s` without one (`ended` tells which).

        The caller releases the frame when it is done with the picture.  Raises SourceError where capture
        broke off.
        """
        return self._buffer.take(timeout_s)

    def __iter__(self) -> Iterator[CapturedFrame]:
        while (frame := self.read()) is not None:
            yield frame

    @property
    def ended(self) -> bool:
        """Whether all frames were read and none will follow."""
        return self._buffer.ended

    @property
    def stats(self) -> StreamStats:
        """The counters and the state at this moment."""
        return dataclasses.replace(
            self._stats, dropped=self._buffer.dropped, pool_hit_rate=self._pool.hit_rate
        )

    def stop(self) -> bool:
        """End capture within about a second, whatever the source does; frames not yet read are dropped.

        False where a thread is still caught in a source that hangs and cannot be woken (a device, a name
        server): it delivers nothing any more, but may wake while Python shuts down, which Python before 3.14
        answers with an abort; leave such a process by `os._exit`.
        """
        if self._capture is None or self._thread is None:
            self._buffer.close()
            return True
        self._capture.stop()
        self._buffer.close()
        self._thread.join(_STOP_S)
        return not self._thread.is_alive() and not (
            isinstance(self._capture, LiveCapture) and self._capture.hung
        )

    def __enter__(self) -> VideoStream:
        if self._capture is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _configured_source(camera: CameraConfig, config: Config) -> Recording | SourceFactory:
    source = str(camera.source)
    kind = kind_of(camera)
    check_delivery(camera, kind)
    if kind == "file":
        return FileSource(local_path(source))
    if kind == "folder":
        return FolderSource(local_path(source), camera.fps)
    if kind == "network":
        return lambda lost: NetworkSource(source, read_timeout_s=config.watchdog_s, knock=lost)
    return lambda lost: WebcamSource(int(source))
