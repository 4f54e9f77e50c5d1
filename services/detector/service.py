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
from dataclasses import dataclass, replace

import cv2
import zmq

from services.detector.batcher import Batcher
from services.detector.decode import Decoder, MemoryDecoder
from services.detector.extractor import FeatureExtractor
from services.detector.families import build, decoder, describers
from services.detector.worker import Job, Worker
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.errors import MessageError
from shared.feed import FeedRelay
from shared.health import Health, described, dropped_reading
from shared.hop import GOODBYE_S, WAIT_S, Begun, Hop, serve
from shared.link_receiver import Delivered, Resumed
from shared.messages import End, Frame, Message, People, empty_people

log = logging.getLogger(__name__)

LIVE_WINDOW = 2
"""A live camera has one frame in work and the newest behind it; more would only be older."""

LIVE_OUTBOX = 256
BATCHES_AHEAD = 4
"""One is decoded, one is detected in, one is described, and one waits, so that no stage ever does."""

LIVE_BATCHES_AHEAD = 2
"""Where latency counts one begins when people are found in the one before: a batch that waits only ages."""


MAX_BATCH_PX = 1 << 27
"""Pixels of one batch together: 64 frames of 1920x1080, or two of the largest that are allowed.  Four batches
in work then take 1.6 GB at most when decoded."""


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


def _area_px(passage: _Passage) -> int:
    """Pixels to be decoded for this message."""
    stamp = passage.job.frame.stamp if passage.job is not None else None
    return stamp.width * stamp.height if stamp is not None else 0


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
        self._config = config
        self._passages: dict[int, deque[_Passage]] = {}
        self._batcher: Batcher[_Passage] = Batcher(
            config.batch_size, int(config.batch_wait_ms * 1e6), weight=_area_px, heaviest=MAX_BATCH_PX
        )
        self._health = Health("detector", every_s=config.report_every_s)
        self._extractor = extractor
        self._in_work = 0
        self._started = 0
        self._failed = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._hop = Hop(
            self._context,
            name="detector",
            address=endpoints.frames,
            towards=("tracker", endpoints.people),
            known=cameras,
            windows=(config.window, LIVE_WINDOW),
            outbox=LIVE_OUTBOX,
        )
        self._relay = FeedRelay(self._context, endpoints.view_in, endpoints.view_out)
        self._woken = self._context.socket(zmq.PAIR)
        self._woken.bind("inproc://networks")
        wake = self._context.socket(zmq.PAIR)
        wake.connect("inproc://networks")
        self._worker = Worker(extractor, decoder or MemoryDecoder(), lambda: wake.send(b""))
        self._wake = wake

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; then pass on what is in work, and leave."""
        self._worker.start()
        sockets = (self._hop.incoming.socket, self._hop.outgoing.socket, self._woken)
        try:
            serve(sockets, stop, step=self._step, busy=self._busy, longest_ms=self._wait_ms)
            return 0
        finally:
            self._worker.stop(GOODBYE_S)
            self._relay.close()
            self._hop.close()
            self._woken.close(linger=0)
            self._wake.close(linger=0)
            self._context.term()

    def _step(self) -> None:
        for event in self._hop.receive():
            if isinstance(event, Delivered):
                self._take(event)
            elif isinstance(event, Begun):
                self._passages[event.stream] = deque()
            elif isinstance(event, Resumed):
                self._take_back_end(event.stream)
            else:
                log.warning("camera %d is silent", event.stream)
        for camera in self._hop.poll():
            del self._passages[camera]
        self._hop.accept(lambda camera, _: self._hop.outgoing.durable(camera))
        self._start_batches()
        self._collect()
        self._pass_on()
        self._hop.flush()
        self._report()

    def _busy(self) -> bool:
        return bool(self._in_work or len(self._batcher) or self._hop.unacknowledged())

    def _wait_ms(self) -> int:
        deadline_ns = self._batcher.deadline_ns()
        if deadline_ns is None or not self._may_start():
            return int(WAIT_S * 1000)
        return (deadline_ns - time.monotonic_ns()) // 1_000_000 + 1

    def _take(self, delivered: Delivered) -> None:
        camera, message = delivered.stream, delivered.message
        if isinstance(message, Frame):
            live = self._hop.streams[camera].live
            passage = _Passage(delivered.seq, Job(message, live))
            replaced = self._batcher.add(camera, passage, live, time.monotonic_ns())
            if replaced is not None:
                replaced.replaced = True
        elif isinstance(message, End):
            passage = _Passage(delivered.seq, message=message)
        else:
            self._hop.refuse(camera, f"{type(message).__name__} is not for a detector")
            return
        self._passages[camera].append(passage)

    def _take_back_end(self, camera: int) -> None:
        """Drop the end of a stream that goes on, if it has not been passed on yet."""
        passages = self._passages[camera]
        if passages and isinstance(passages[-1].message, End):
            passages.pop()

    def _start_batches(self) -> None:
        while self._may_start():
            batch = self._batcher.next_batch(time.monotonic_ns())
            if batch is None:
                return
            self._in_work += 1
            self._started += 1
            self._worker.passed_over = self._batcher.dropped.total()
            self._worker.put([passage.job for passage in batch if passage.job is not None])

    def _may_start(self) -> bool:
        """Whether another batch may begin."""
        at_once = self._config.performance == "latency" or (
            self._config.performance == "auto" and any(state.live for state in self._hop.streams.values())
        )
        if at_once:
            return self._started == self._worker.detected and self._in_work < LIVE_BATCHES_AHEAD
        return self._in_work < BATCHES_AHEAD

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
        for camera, state in self._hop.streams.items():
            passages = self._passages[camera]
            while passages and (passages[0].result is not None or passages[0].replaced):
                passage = passages.popleft()
                if passage.result is not None:
                    self._send(camera, passage.seq, passage.result)
                if state.live:
                    self._hop.acknowledge(camera, passage.seq)
            if not state.live and state.accepted:
                self._hop.acknowledge(camera, self._hop.outgoing.durable(camera) - 1)

    def _send(self, camera: int, seq: int, message: Message) -> None:
        if isinstance(message, End):
            self._tell_health()  # ahead of the end: the last counts are stored with it
        if isinstance(message, People) and self._hop.streams[camera].live:
            message = replace(message, clock_offset_ns=self._hop.incoming.clock_offset_ns(camera))
        try:
            self._hop.outgoing.send(camera, message, seq)
        except MessageError as error:
            if not isinstance(message, People):
                raise
            log.error("camera %d, frame %d: %s", camera, message.stamp.frame_index, error)
            self._failed += 1
            self._hop.outgoing.send(camera, empty_people(message.stamp), seq)

    def _report(self) -> None:
        if self._hop.outgoing.acknowledged:
            self._health.made_progress()
        if self._health.due_in_s() <= 0:
            self._tell_health()

    def _dropped(self) -> dict[str, float]:
        """Frames of each live camera that newer ones replaced, or that waited too long for the tracker."""
        live = [camera for camera, state in self._hop.streams.items() if state.live]
        replaced = self._batcher.dropped
        counts = {camera: replaced[camera] + self._hop.outgoing.dropped(camera) for camera in live}
        return {dropped_reading(camera): float(count) for camera, count in counts.items() if count}

    def _tell_health(self) -> None:
        counters = {
            **self._extractor.readings(),
            **self._worker.readings(),
            "replaced": float(sum(self._batcher.dropped.values())),
            **self._dropped(),
            "waiting": float(len(self._batcher)),
            "unsendable_frames": float(self._failed),
            "rejected": float(self._hop.incoming.rejected + self._hop.refused),
            "repeated": float(self._hop.incoming.repeated),
        }
        report = self._health.report("running", counters)
        log.info("%s", described(report.readings))
        self._hop.outgoing.report(report)


def run(
    cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints, stop: threading.Event
) -> int:
    """Run the detector until `stop` is set; the process's exit code."""
    cv2.setNumThreads(1)  # the networks' threads use the cores already
    networks = build(config)
    extractor = FeatureExtractor(*networks, config, describers(config))
    return DetectorService(cameras, config, endpoints, extractor, decoder(networks)).run(stop)
