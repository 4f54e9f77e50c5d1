"""The ingest process: one camera's frames onto the frames link, and to whoever watches."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import asdict, replace

import cv2
import zmq

from services.ingest.jpeg import JpegEncoder
from services.ingest.motion import MotionEstimator
from services.ingest.recording import recorded_session
from services.ingest.stream import CapturedFrame, VideoStream
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import MessageError, SourceError
from shared.feed import FeedPublisher
from shared.health import Health, described
from shared.link_sender import LinkSender
from shared.messages import End, Frame, FrameStamp
from shared.packing import stamp_of

log = logging.getLogger(__name__)

OK = 0
START_AGAIN = 1
"""Exit code: something failed that another process in this one's place may not meet."""

SOURCE_FAILED = 3
"""Exit code: the source cannot be read; the others have been told, starting again will not help."""

_WAIT_S = 0.05
_GOODBYE_S = 3.0


class IngestService:
    """One camera from capture to the last acknowledgement.

    A recorded source has the same session and numbers whenever it is sent, so that after any restart it
    goes on behind the last frame that is safe; it is over when its end is on the store's disk.  A live
    source begins a new session when this process starts, and when the machine's clock was set.

    start_ns: capture time of a recording's first frame where the configuration says none, UTC nanoseconds.
    stream: what to read instead of the configured source.
    """

    def __init__(
        self,
        camera: CameraConfig,
        config: Config,
        endpoints: Endpoints,
        *,
        start_ns: int = 0,
        stream: VideoStream | None = None,
    ) -> None:
        self._camera = camera
        self._config = config
        start_ns = start_ns if camera.start_ns is None else camera.start_ns
        self._stream = stream or VideoStream(replace(camera, start_ns=start_ns), config)
        self._live = self._stream.live
        self._session = now_ns() if self._live else recorded_session(camera)
        self._clock_session = 0
        self._motion = MotionEstimator()
        self._jpeg = JpegEncoder(config.jpeg_quality)
        self._health = Health("ingest", camera.id, every_s=config.report_every_s)
        self._sent = 0
        self._unsent = 0
        self._last = FrameStamp(camera.id, self._session, 0, start_ns, 0, 0)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = LinkSender(self._context, endpoints.frames, name="the detector")
        self._view = FeedPublisher(self._context, endpoints.view_in, bind=False)

    def run(self, stop: threading.Event) -> int:
        """Send until the source ends (recorded) or `stop` is set; the process's exit code."""
        camera = self._camera.id
        code = OK
        self._link.open(camera, self._session, live=self._live, outbox=1)
        try:
            position = self._agree_on_position(stop)
            if position is None:
                return code
            try:
                self._send_all(position, stop)
                reason, detail = ("stopped", "") if stop.is_set() else ("finished", "")
            except SourceError as error:
                log.error("%s", error)
                reason, detail = "failed", str(error)
                code = SOURCE_FAILED if error.permanent else START_AGAIN
            if reason != "stopped" or self._live:
                self._finish(End(self._last, reason, detail, self._sent), stop)
            return code
        finally:
            stopped = self._stream.stop()
            self._view.close()
            self._link.close()
            self._context.term()
            if not stopped:
                log.warning("leaving a capture that hangs behind")
                logging.shutdown()
                os._exit(code)

    def _agree_on_position(self, stop: threading.Event) -> int | None:
        """Number of the first frame to send: what comes before is safe already; None when stopped."""
        while not stop.is_set():
            self._link.poll()
            position = self._link.position(self._camera.id)
            if position is not None:
                return position
            self._link.socket.poll(int(_WAIT_S * 1000))
        return None

    def _send_all(self, position: int, stop: threading.Event) -> None:
        if position:
            log.info("going on behind frame %d, which is safe", position)
        with self._stream:
            while not stop.is_set():
                self._link.poll()
                self._report()
                if not self._live and not self._link.room(self._camera.id) and self._sent >= position:
                    self._link.socket.poll(int(_WAIT_S * 1000))
                    continue
                captured = self._stream.read(_WAIT_S)
                if captured is None:
                    if self._stream.ended:
                        return
                    continue
                try:
                    self._handle(captured, skipped=self._sent < position - 1, safe=self._sent < position)
                finally:
                    captured.release()

    def _handle(self, captured: CapturedFrame, *, skipped: bool, safe: bool) -> None:
        if captured.clock_session != self._clock_session:
            self._clock_session = captured.clock_session
            self._begin_session()
        stamp = self._last = self._stamp(captured)
        if skipped:
            self._sent += 1
            return
        if safe:  # the frame before the first that is sent: motion begins at it
            self._motion.measure(captured.image)
            self._sent += 1
            return
        sendable = self._link.room(self._camera.id) > 0
        watched = self._view.watched(self._camera.id)
        if not sendable and not watched:
            self._unsent += 1
            return
        motion = self._motion.measure(captured.image) if sendable else None
        frame = Frame(stamp, self._jpeg.encode(captured.image), motion)
        if sendable:
            self._link.send(self._camera.id, frame, self._sent)
            self._sent += 1
        else:
            self._unsent += 1
        if watched:
            self._view.publish(self._camera.id, frame)

    def _stamp(self, captured: CapturedFrame) -> FrameStamp:
        """The frame's stamp; raises SourceError where no receiver would take a frame of its size or time."""
        height, width = captured.image.shape[:2]
        try:
            return stamp_of(
                (self._camera.id, self._session, captured.index, captured.t_ns, width, height),
            )
        except MessageError as error:
            raise SourceError(
                f"{self._camera.title}: frame {captured.index} cannot be sent: {error}. "
                "Scale the pictures down, or give the recording an earlier `start`"
            ) from None

    def _begin_session(self) -> None:
        """The machine's clock was set: what comes now is a new session, whose times may be any."""
        session = now_ns()
        self._session = session if session != self._session else session + 1
        self._link.clock_was_set()
        self._link.open(self._camera.id, self._session, live=True, outbox=1)

    def _finish(self, end: End, stop: threading.Event) -> None:
        """Send the end and stay until it is safe; when asked to stop, only for a moment.

        It does not use up its number: whoever sends more of this recording later goes on there.
        """
        number = self._link.position(self._camera.id)
        while number is None and not stop.is_set():
            self._wait()
            number = self._link.position(self._camera.id)
        if number is None:
            return
        self._tell_health()  # ahead of the end: the last counts are stored with it
        self._link.send(self._camera.id, end, number)
        deadline_s: float | None = None
        while self._link.durable(self._camera.id) <= number:
            if stop.is_set():
                deadline_s = deadline_s or time.monotonic() + _GOODBYE_S
                if time.monotonic() > deadline_s:
                    log.warning("stopped before all of the camera's frames were known to be safe")
                    return
            self._wait()
        log.info("%s: %s after %d frames, all safe", self._camera.title, end.reason, end.frames)

    def _wait(self) -> None:
        self._link.poll()
        self._report()
        self._link.socket.poll(int(_WAIT_S * 1000))

    def _report(self) -> None:
        if self._link.acknowledged:
            self._health.made_progress()
        if self._health.due_in_s() <= 0:
            self._tell_health()

    def _tell_health(self) -> None:
        stats = asdict(self._stream.stats)
        state = str(stats.pop("state"))
        counters = {
            **{name: float(value) for name, value in stats.items()},
            "sent": float(self._sent),
            "unsent": float(self._unsent),
            "rejected": float(self._link.rejected),
        }
        report = self._health.report(state, counters)
        log.info("%s: %s", state, described(report.readings))
        self._link.report(report)


def run(
    camera: CameraConfig,
    config: Config,
    endpoints: Endpoints,
    stop: threading.Event,
    *,
    start_ns: int,
) -> int:
    """Run one camera's ingest until it is over; the process's exit code.

    start_ns: capture time of a recording's first frame where the configuration says none.
    """
    # Other cameras' processes share the cores: threads would only wait for one another.
    cv2.setNumThreads(1)
    return IngestService(camera, config, endpoints, start_ns=start_ns).run(stop)
