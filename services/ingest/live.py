"""Staying with a live camera: connect, read, notice silence, connect again, for ever."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

import cv2

from services.ingest.buffer import CapturedFrame, FrameBuffer
from services.ingest.capture import OPEN_TIMEOUT_S
from services.ingest.capture_clock import CaptureClock
from services.ingest.clock import Clock
from services.ingest.pacing import Backoff, RateLimit
from services.ingest.pool import FramePool
from services.ingest.source import Source
from services.ingest.stats import RateMeter, StreamStats
from shared.errors import SourceError

log = logging.getLogger(__name__)

SourceFactory: TypeAlias = Callable[[bool], Source]
"""Makes a source for one connection, not opened yet; the argument tells whether the camera is lost."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 2.0
"""With the time it takes to connect, a camera that returns is found again within 5 s."""

REMINDER_S = 60.0
"""Seconds between log lines about a camera that stays away."""

_GRACE_S = 2.0
"""How much longer than its own time limits a connection may take before it is given up as hung."""

_INTERRUPTIONS = 5
_INTERRUPTION_S = 0.1
_STABLE_S = 10.0
_MOST_HUNG = 8


class _Connection:
    """One connection, in a thread of its own, because no time limit of the reading library is certain.

    A connection that hangs is disowned: it can deliver nothing any more, and cleans up if it ever wakes.
    """

    def __init__(
        self, source: Source, deliver: Callable[[_Connection], bool], wake: threading.Event, clock: Clock
    ) -> None:
        self.source = source
        self.failure = ""
        self.heard_s = self.begun_s = clock.monotonic_s()
        self.opened = False
        self.streaming = False
        self.disowned = False
        self.over = threading.Event()
        self._deliver = deliver
        self._wake = wake
        self._clock = clock
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def interrupt(self) -> bool:
        """Try to wake the thread; whether it has ended."""
        for _ in range(_INTERRUPTIONS):
            # Repeated, because it may have been about to open one more socket.
            self.source.interrupt()
            self._thread.join(_INTERRUPTION_S)
            if not self._thread.is_alive():
                return True
        return False

    def _run(self) -> None:
        self.failure = "capture stopped unexpectedly; see the log"
        try:
            self.source.open()
            self.opened = True
            self.heard_s = self._clock.monotonic_s()
            while not self.disowned and self.source.grab():
                self.heard_s = self._clock.monotonic_s()
                if not self._deliver(self):
                    break
            quiet_s = self._clock.monotonic_s() - self.heard_s
            self.failure = f"the stream broke off, {quiet_s:.1f} s after its last frame"
        except SourceError as error:
            self.failure = str(error)
        except (cv2.error, OSError, MemoryError) as error:
            self.failure = f"reading broke off: {error}"
        finally:
            self.source.close()
            self.over.set()
            self._wake.set()


class LiveCapture:
    """Fills a buffer with a live camera's newest frames; `run` is the body of the supervising thread."""

    def __init__(
        self,
        title: str,
        make_source: SourceFactory,
        *,
        buffer: FrameBuffer,
        pool: FramePool,
        stats: StreamStats,
        clock: Clock,
        target_fps: float,
        watchdog_s: float,
    ) -> None:
        self._title = title
        self._make_source = make_source
        self._buffer = buffer
        self._pool = pool
        self._stats = stats
        self._clock = clock
        self._capture_clock = CaptureClock(title, clock)
        self._limit = RateLimit(target_fps)
        self._watchdog_s = watchdog_s
        self._meter = RateMeter()
        self._index = 0
        self._delivering = threading.Lock()
        self._stopping = False
        self._wake = threading.Event()
        self._hung: list[_Connection] = []
        self._lost_s: float | None = None
        self._attempts = 0
        self._reminded_s = 0.0

    def stop(self) -> None:
        """Let `run` return at once, whatever the camera does."""
        self._stopping = True
        self._wake.set()

    @property
    def hung(self) -> bool:
        """Whether a thread is still caught in a connection that was given up."""
        self._hung = [each for each in self._hung if not each.over.is_set()]
        return bool(self._hung)

    def run(self) -> None:
        """Keep the camera until `stop`; the buffer is finished afterwards."""
        error: SourceError | None = SourceError(f"{self._title}: capture stopped unexpectedly; see the log")
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        try:
            while not self._stopping:
                source = self._make_source(self._lost_s is not None)
                connection = _Connection(source, self._deliver, self._wake, self._clock)
                connection.start()
                reason = self._watch(connection)
                if self._stopping:
                    break
                now_s = self._clock.monotonic_s()
                if connection.streaming and now_s - connection.begun_s > _STABLE_S:
                    backoff.reset()
                self._note_loss(reason, now_s)
                if self.hung and len(self._hung) >= _MOST_HUNG:
                    error = SourceError(
                        f"{self._title}: {_MOST_HUNG} connections hang and cannot be ended; "
                        "restart this camera's process",
                        permanent=False,
                    )
                    return
                pause_s = backoff.pause_s()
                if not connection.streaming:
                    # A failed attempt that took its time has waited already.
                    pause_s = max(FIRST_PAUSE_S, pause_s - (now_s - connection.begun_s))
                self._clock.wait(self._wake, pause_s)
                self._wake.clear()
            error = None
        finally:
            with self._delivering:
                self._stats.state = "ended"
            self._buffer.finish(error)

    def _watch(self, connection: _Connection) -> str:
        """Wait until the connection is over, hangs or is to be stopped; why it is no good any more."""
        while True:
            limit_s = _GRACE_S + (
                self._watchdog_s if connection.opened else max(OPEN_TIMEOUT_S, self._watchdog_s)
            )
            left_s = connection.heard_s + limit_s - self._clock.monotonic_s()
            if left_s > 0:
                self._clock.wait(self._wake, left_s)
                self._wake.clear()
            if connection.over.is_set():
                return connection.failure
            if self._stopping or left_s <= 0:
                with self._delivering:
                    connection.disowned = True
                if not connection.interrupt():
                    self._hung.append(connection)
                return f"no picture for {limit_s:.0f} s"

    def _deliver(self, connection: _Connection) -> bool:
        """Take over the frame that the connection has grabbed; False where it is disowned."""
        now_s = self._clock.monotonic_s()
        if not self._limit.admits(now_s):
            self._stats.capped += 1
            return not connection.disowned
        with self._delivering:
            if connection.disowned:
                return False
            t_ns, clock_session = self._capture_clock.now_ns(), self._capture_clock.session
        image = connection.source.retrieve(self._pool)
        with self._delivering:
            if connection.disowned:
                return False
            if image is None:
                self._stats.corrupt += 1
                return True
            if not connection.streaming:
                connection.streaming = True
                self._note_streaming(now_s, f"{image.shape[1]}x{image.shape[0]}")
            self._stats.frames += 1
            self._stats.fps = self._meter.add(now_s)
            self._stats.last_frame_ns = t_ns
            self._stats.clock_steps = clock_session
            self._index += 1
            return self._buffer.put(CapturedFrame(self._index - 1, t_ns, image, self._pool, clock_session))

    def _note_streaming(self, now_s: float, size: str) -> None:
        if self._lost_s is None:
            log.info("%s: streaming %s", self._title, size)
        else:
            away_s = now_s - self._lost_s
            log.info("%s: streaming %s after %.1f s, %s", self._title, size, away_s, self._failed_attempts())
            self._stats.reconnects += self._stats.frames > 0
        self._stats.state = "streaming"
        self._lost_s = None
        self._meter.reset()

    def _note_loss(self, reason: str, now_s: float) -> None:
        if self._lost_s is None:
            self._lost_s = self._reminded_s = now_s
            self._attempts = 0
            self._stats.state = "lost"
            self._stats.fps = 0.0
            log.warning("%s: lost: %s; trying again until it is back", self._title, reason)
            return
        self._attempts += 1
        if now_s - self._reminded_s >= REMINDER_S:
            self._reminded_s = now_s
            away_s, attempts = now_s - self._lost_s, self._failed_attempts()
            log.warning("%s: still lost after %.0f s, %s: %s", self._title, away_s, attempts, reason)

    def _failed_attempts(self) -> str:
        return "1 failed attempt" if self._attempts == 1 else f"{self._attempts} failed attempts"
