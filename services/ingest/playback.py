"""Reading a recording from front to back: every frame once, or in real time as if it were a camera."""

from __future__ import annotations

import logging
import threading

import cv2

from services.ingest.buffer import CapturedFrame, FrameBuffer
from services.ingest.capture_clock import CaptureClock
from services.ingest.clock import Clock
from services.ingest.pacing import RateLimit
from services.ingest.pool import FramePool
from services.ingest.source import Recording
from services.ingest.stats import RateMeter, StreamStats
from shared.errors import SourceError

log = logging.getLogger(__name__)


class Playback:
    """Fills a buffer from an open recording; `run` is the body of the capturing thread.

    start_ns: capture time of the first frame, UTC nanoseconds (not used in real time).
    real_time: None, or the limit of frames a second at which the recording is played as a live camera.
    """

    def __init__(
        self,
        title: str,
        source: Recording,
        *,
        buffer: FrameBuffer,
        pool: FramePool,
        stats: StreamStats,
        clock: Clock,
        start_ns: int = 0,
        real_time: RateLimit | None = None,
    ) -> None:
        self._title = title
        self._source = source
        self._buffer = buffer
        self._pool = pool
        self._stats = stats
        self._clock = clock
        self._capture_clock = CaptureClock(title, clock)
        self._start_ns = start_ns
        self._real_time = real_time
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let `run` return soon; the buffer must be closed too, for `run` may wait for room in it."""
        self._stopping.set()

    def run(self) -> None:
        """Read until the end or `stop`; the source is closed and the buffer finished afterwards."""
        error: SourceError | None = SourceError(f"{self._title}: capture stopped unexpectedly; see the log")
        self._stats.state = "streaming"
        try:
            self._read()
            error = None
        except (cv2.error, OSError, MemoryError) as failure:
            error = SourceError(f"{self._title}: reading broke off: {failure}")
        finally:
            self._source.close()
            self._stats.state = "ended"
            self._buffer.finish(error)

    def _read(self) -> None:
        index = -1
        meter = RateMeter()
        begin_s: float | None = None
        begin_position_ns = 0
        self._stats.fps = self._source.fps
        while not self._stopping.is_set() and self._source.grab():
            index += 1
            t_ns = self._start_ns + self._source.position_ns
            if self._real_time is not None:
                if begin_s is None:
                    begin_s, begin_position_ns = self._clock.monotonic_s(), self._source.position_ns
                due_s = begin_s + (self._source.position_ns - begin_position_ns) / 1e9
                if self._clock.wait(self._stopping, max(0.0, due_s - self._clock.monotonic_s())):
                    return
                if not self._real_time.admits(due_s):
                    self._stats.capped += 1
                    continue
                t_ns = self._capture_clock.now_ns()
                self._stats.clock_steps = self._capture_clock.session
                self._stats.fps = meter.add(due_s)
            image = self._source.retrieve(self._pool)
            if image is None:
                self._stats.corrupt += 1
                log.warning("%s: frame %d cannot be decoded, passed over", self._title, index)
                continue
            session = self._capture_clock.session
            if not self._buffer.put(CapturedFrame(index, t_ns, image, self._pool, session)):
                return
            self._stats.frames += 1
            self._stats.last_frame_ns = t_ns
        missing = 0 if self._stopping.is_set() else self._source.missing
        if missing:
            self._stats.corrupt += missing
            log.warning(
                "%s: ended after %d frames, %d fewer than the file promises: it may be damaged or cut off",
                self._title, index + 1, missing,
            )  # fmt: skip
