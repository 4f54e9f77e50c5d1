"""The detector process: all cameras' frames in, their people out.

Two threads: this one owns every socket; the other one decodes and runs the networks, a batch at a time.
A recorded frame is acknowledged to its camera only when the tracker answers for its people, so nothing
is lost whichever process dies; a live frame when it has been looked at.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import zmq

from services.detector.batcher import Batcher
from services.detector.decode import decode
from services.detector.extractor import FeatureExtractor
from services.detector.failure import FrameFailure
from services.detector.families import build, describers
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import StreamRefusedError
from shared.feed import FeedRelay
from shared.health import Health, described
from shared.link_receiver import Delivered, LinkReceiver, Opened, Reported, Silent
from shared.link_sender import LinkSender
from shared.messages import End, Frame, Message, People, empty_people

log = logging.getLogger(__name__)

LIVE_WINDOW = 2
"""A live camera has one frame in work and the newest behind it; more would only be older."""

LIVE_OUTBOX = 256
_BATCHES_AHEAD = 2
"""For recordings the networks never wait for a batch; with live cameras a batch that waits only ages."""

_WAIT_S = 0.05
_BREATH_S = 0.002
"""What comes within so long of the first message is handled, and answered, in one round."""

_GOODBYE_S = 5.0


@dataclass(slots=True, eq=False)
class _Job:
    """One message of a camera on its way through; `result` is set when it may be passed on."""

    delivered: Delivered
    live: bool
    result: Message | None = None
    replaced: bool = False


@dataclass(slots=True)
class _Camera:
    """One camera's stream: what came in is passed on in the same order."""

    session: int
    live: bool
    first: int
    accepted: bool = False
    jobs: deque[_Job] = field(default_factory=deque)


class _Worker(threading.Thread):
    """Runs the networks on batches; wakes the thread that owns the sockets when one is done."""

    def __init__(self, extractor: FeatureExtractor, wake: zmq.Socket[bytes]) -> None:
        super().__init__(name="networks", daemon=True)
        self.batches: queue.Queue[list[_Job] | None] = queue.Queue()
        self.done: queue.SimpleQueue[list[_Job]] = queue.SimpleQueue()
        self.counts: Counter[str] = Counter()
        self.failure: Exception | None = None
        self._extractor = extractor
        self._wake = wake

    def run(self) -> None:
        try:
            while (batch := self.batches.get()) is not None:
                self._process(batch)
                self.done.put(batch)
                self._wake.send(b"")
        except Exception as error:  # noqa: BLE001 - carried over to the main thread, which raises it
            self.failure = error
            self._wake.send(b"")

    def _process(self, batch: list[_Job]) -> None:
        decoded = []
        for job in batch:
            frame = job.delivered.message
            if not isinstance(frame, Frame):
                raise TypeError("only frames are put into batches")
            image = decode(frame)
            if isinstance(image, FrameFailure):
                self._failed(job, image)
            else:
                decoded.append((job, frame, image))
        began_s = time.perf_counter()
        results = self._extractor.extract([(frame, image) for _, frame, image in decoded])
        self.counts["network_ms"] += int((time.perf_counter() - began_s) * 1000)
        self.counts["batches"] += 1
        for (job, _, _), result in zip(decoded, results, strict=True):
            if isinstance(result, FrameFailure):
                self._failed(job, result)
            else:
                job.result = result

    def _failed(self, job: _Job, failure: FrameFailure) -> None:
        self.counts["failed_frames"] += 1
        log.warning(
            "camera %d, frame %d: %s", failure.stamp.camera, failure.stamp.frame_index, failure.reason
        )
        job.result = empty_people(failure.stamp)


class DetectorService:
    """All cameras' frames to one extractor, its people to the tracker."""

    def __init__(
        self,
        cameras: Mapping[int, CameraConfig],
        config: Config,
        endpoints: Endpoints,
        extractor: FeatureExtractor,
    ) -> None:
        self._known = cameras
        self._config = config
        self._cameras: dict[int, _Camera] = {}
        self._batcher: Batcher[_Job] = Batcher(config.batch_size, int(config.batch_wait_ms * 1e6))
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
        self._worker = _Worker(extractor, wake)
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
            self._worker.batches.put(None)
            self._worker.join(_GOODBYE_S)
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
        job = _Job(delivered, state.live)
        if isinstance(delivered.message, Frame):
            replaced = self._batcher.add(camera, job, state.live, time.monotonic_ns())
            if replaced is not None:
                replaced.replaced = True
        elif isinstance(delivered.message, End):
            job.result = delivered.message
        else:
            self._refused += 1
            self._frames.refuse(camera, f"{type(delivered.message).__name__} is not for a detector")
            return
        state.jobs.append(job)

    def _start_batches(self) -> None:
        while self._in_work < self._ahead():
            batch = self._batcher.next_batch(time.monotonic_ns())
            if batch is None:
                return
            self._in_work += 1
            self._worker.batches.put(batch)

    def _ahead(self) -> int:
        return 1 if any(state.live for state in self._cameras.values()) else _BATCHES_AHEAD

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
            while state.jobs and (state.jobs[0].result is not None or state.jobs[0].replaced):
                job = state.jobs.popleft()
                if job.result is not None:
                    self._send(camera, job.delivered.seq, job.result)
                if state.live:
                    self._frames.acknowledge(camera, state.session, job.delivered.seq)
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
            **{name: float(value) for name, value in self._extractor.counts.items()},
            **{name: float(value) for name, value in self._worker.counts.items()},
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
    extractor = FeatureExtractor(*build(config), config, describers(config))
    return DetectorService(cameras, config, endpoints, extractor).run(stop)
