"""The detector process: all cameras' frames in, their people out.

This thread owns every socket; those of `worker` decode and run the networks, a batch behind another.
A recorded frame is acknowledged to its camera only when the tracker answers for its people, so nothing
is lost whichever process dies; a live frame when it has been looked at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import zmq

from services.detector.batcher import Batcher
from services.detector.decode import Decoder, MemoryDecoder
from services.detector.extractor import FeatureExtractor
from services.detector.families import build, decoder, describers
from services.detector.worker import Job, Worker
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import StreamRefusedError
from shared.feed import FeedRelay
from shared.health import Health, described
from shared.link_receiver import Delivered, LinkReceiver, Opened, Reported, Silent
from shared.link_sender import LinkSender
from shared.messages import End, Frame, Message, People

log = logging.getLogger(__name__)

LIVE_WINDOW = 2
"""A live camera has one frame in work and the newest behind it; more would only be older."""

LIVE_OUTBOX = 256
BATCHES_AHEAD = 4
"""One is decoded, one is detected in, one is described, and one waits, so that no stage ever does.  Where
latency counts there is one: a batch that waits only ages."""

_WAIT_S = 0.05
_BREATH_S = 0.002
"""What comes within so long of the first message is handled, and answered, in one round."""

_GOODBYE_S = 5.0


@dataclass(slots=True, eq=False)
class _Passage:
    """One message of a camera on its way through: a frame's job, or what is passed on as it is."""

    seq: int
    job: Job | None = None
    message: Message | None = None
    replaced: bool = False

    @property
    def result(self) -> Message | None:
        """What is to be sent; None while it is not known."""
        return self.message if self.job is None else self.job.result


@dataclass(slots=True)
class _Camera:
    """One camera's stream: what came in is passed on in the same order."""

    session: int
    live: bool
    first: int
    accepted: bool = False
    passages: deque[_Passage] = field(default_factory=deque)


class DetectorService:
    """All cameras' frames to one extractor, its people to the tracker."""

    def __init__(
        self,
        cameras: Mapping[int, CameraConfig],
        config: Config,
        endpoints: Endpoints,
        extractor: FeatureExtractor,
        decoder: Decoder | None = None,
    ) -> None:
        """decoder: makes the pictures that the extractor's networks take; by default in memory."""
        self._known = cameras
        self._config = config
        self._cameras: dict[int, _Camera] = {}
        self._batcher: Batcher[_Passage] = Batcher(config.batch_size, int(config.batch_wait_ms * 1e6))
        self._incarnation = now_ns()
        self._health = Health("detector", every_s=config.report_every_s)
        self._extractor = extractor
        self._in_work = 0
        self._refused = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._frames = LinkReceiver(self._context, endpoints.frames)
        self._relay = FeedRelay(self._context, endpoints.view_in, endpoints.view_out)
        self._people = LinkSender(self._context, endpoints.people, name="the tracker")
        self._woken = self._context.socket(zmq.PAIR)
        self._woken.bind("inproc://networks")
        wake = self._context.socket(zmq.PAIR)
        wake.connect("inproc://networks")
        self._worker = Worker(extractor, decoder or MemoryDecoder(), lambda: wake.send(b""))
        self._wake = wake

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; then pass on what is in work, and leave."""
        self._worker.start()
        poller = zmq.Poller()
        for socket in (self._frames.socket, self._people.socket, self._woken):
            poller.register(socket, zmq.POLLIN)
        leave_at_s: float | None = None
        try:
            while leave_at_s is None or (time.monotonic() < leave_at_s and self._busy()):
                if poller.poll(self._wait_ms()):
                    time.sleep(_BREATH_S)
                self._step()
                if stop.is_set() and leave_at_s is None:
                    leave_at_s = time.monotonic() + _GOODBYE_S
            return 0
        finally:
            self._worker.stop(_GOODBYE_S)
            self._relay.close()
            self._frames.close()
            self._people.close()
            self._woken.close(linger=0)
            self._wake.close(linger=0)
            self._context.term()

    def _step(self) -> None:
        for event in self._frames.receive():
            if isinstance(event, Delivered):
                self._take(event)
            elif isinstance(event, Opened):
                self._open(event)
            elif isinstance(event, Silent):
                log.warning("camera %d is silent", event.stream)
            elif isinstance(event, Reported):
                self._people.report(event.report)
        self._poll_tracker()
        self._accept()
        self._start_batches()
        self._collect()
        self._pass_on()
        self._frames.flush()
        self._report()

    def _poll_tracker(self) -> None:
        try:
            self._people.poll()
        except StreamRefusedError as refusal:
            log.error("camera %d is left out: %s", refusal.stream, refusal)
            del self._cameras[refusal.stream]
            self._frames.refuse(refusal.stream, str(refusal))

    def _busy(self) -> bool:
        unsafe = any(self._people.unacknowledged(camera) for camera in self._cameras)
        return bool(self._in_work or len(self._batcher) or unsafe)

    def _wait_ms(self) -> int:
        deadline_ns = self._batcher.deadline_ns()
        if deadline_ns is None or self._in_work >= self._ahead():
            return int(_WAIT_S * 1000)
        return max(0, min(int(_WAIT_S * 1000), (deadline_ns - time.monotonic_ns()) // 1_000_000 + 1))

    def _open(self, opened: Opened) -> None:
        camera = opened.stream
        if camera not in self._known:
            self._refused += 1
            self._frames.refuse(camera, f"camera {camera} is not in this detector's configuration")
            return
        known = self._cameras.get(camera)
        if known is not None and known.session == opened.session and not known.accepted:
            return  # asked again while the tracker has not answered yet
        keep = known is not None and known.live and opened.live
        if not keep:
            session = self._incarnation if opened.live else opened.session
            self._people.open(camera, session, live=opened.live, outbox=LIVE_OUTBOX)
        self._cameras[camera] = _Camera(opened.session, opened.live, opened.first)

    def _accept(self) -> None:
        """Let cameras begin: a live one at once, a recorded one where the tracker goes on."""
        for camera, state in self._cameras.items():
            if state.accepted:
                continue
            if state.live:
                self._frames.accept(camera, state.first, LIVE_WINDOW)
            elif self._people.position(camera) is not None:
                self._frames.accept(camera, self._people.durable(camera), self._config.window)
            else:
                continue
            state.accepted = True

    def _take(self, delivered: Delivered) -> None:
        camera, state = delivered.stream, self._cameras[delivered.stream]
        message = delivered.message
        if isinstance(message, Frame):
            passage = _Passage(delivered.seq, Job(message, state.live))
            replaced = self._batcher.add(camera, passage, state.live, time.monotonic_ns())
            if replaced is not None:
                replaced.replaced = True
        elif isinstance(message, End):
            passage = _Passage(delivered.seq, message=message)
        else:
            self._refused += 1
            self._frames.refuse(camera, f"{type(message).__name__} is not for a detector")
            return
        state.passages.append(passage)

    def _start_batches(self) -> None:
        while self._in_work < self._ahead():
            batch = self._batcher.next_batch(time.monotonic_ns())
            if batch is None:
                return
            self._in_work += 1
            self._worker.passed_over = self._batcher.dropped.total()
            self._worker.put([passage.job for passage in batch if passage.job is not None])

    def _ahead(self) -> int:
        """How many batches may be in work."""
        at_once = self._config.performance == "latency" or (
            self._config.performance == "auto" and any(state.live for state in self._cameras.values())
        )
        return 1 if at_once else BATCHES_AHEAD

    def _collect(self) -> None:
        while self._woken.poll(0):
            self._woken.recv()
        if self._worker.failure is not None:
            raise self._worker.failure
        while not self._worker.done.empty():
            self._worker.done.get()
            self._in_work -= 1

    def _pass_on(self) -> None:
        """Send what is ready, in each camera's order, and acknowledge what is safe."""
        for camera, state in self._cameras.items():
            while state.passages and (state.passages[0].result is not None or state.passages[0].replaced):
                passage = state.passages.popleft()
                if passage.result is not None:
                    self._send(camera, passage.seq, passage.result)
                if state.live:
                    self._frames.acknowledge(camera, state.session, passage.seq)
            if not state.live and state.accepted:
                self._frames.acknowledge(camera, state.session, self._people.durable(camera) - 1)

    def _send(self, camera: int, seq: int, message: Message) -> None:
        if isinstance(message, People) and self._cameras[camera].live:
            message = replace(message, clock_offset_ns=self._frames.clock_offset_ns(camera))
        self._people.send(camera, message, seq)

    def _report(self) -> None:
        if self._health.due_in_s() > 0:
            return
        counters = {
            **self._extractor.readings(),
            **self._worker.readings(),
            "replaced": float(sum(self._batcher.dropped.values())),
            "waiting": float(len(self._batcher)),
            "rejected": float(self._frames.rejected + self._refused),
            "repeated": float(self._frames.repeated),
        }
        report = self._health.report("running", counters)
        log.info("%s", described(report.readings))
        self._people.report(report)


def run(
    cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints, stop: threading.Event
) -> int:
    """Run the detector until `stop` is set; the process's exit code."""
    cv2.setNumThreads(1)  # the networks' threads use the cores already
    networks = build(config)
    extractor = FeatureExtractor(*networks, config, describers(config))
    return DetectorService(cameras, config, endpoints, extractor, decoder(networks)).run(stop)
