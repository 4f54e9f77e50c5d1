"""The tracker process: people of all cameras in, in the order of their time; tracks and identities out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import zmq

from services.tracker.checkpointing import Checkpointer, Position
from services.tracker.containment import Containment
from services.tracker.control import Control
from services.tracker.core import TrackerCore
from services.tracker.recall import Recalled, recall
from services.tracker.warming import warm
from services.tracker.watermark import Watermark
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.config_file import is_recorded
from shared.endpoints import Endpoints
from shared.errors import LinkError, MessageError, TrackingError
from shared.feed import EVERYONE, FeedPublisher
from shared.health import Health, described, dropped_reading
from shared.heap import collect_rarely
from shared.hop import WAIT_S, Begun, Hop, serve
from shared.link_receiver import Delivered, Resumed
from shared.messages import Checkpoint, End, FrameStamp, IdentityEvent, People, Tracks
from shared.request import Fields, Requester, integer, text

log = logging.getLogger(__name__)

OWN_STREAM = 0
"""The stream of what belongs to no camera: the checkpoints."""

LIVE_WINDOW = 64
_IDLE_S = 1.0
_CHECKPOINT_S = 2.0
_TELL_FOLLOWED_S = 0.5
_ASK_AGAIN_S = 1.0

_RECALL_TIMEOUT_S = 60.0
"""How long one answer of the store may take while the state is restored: many times the largest."""

_RESERVE_WAIT_S = 10.0
"""Longest time for which live cameras are held back at the start because the store cannot write."""

_QUIET_S = 0.2
_DRAIN_S = 2.0
"""How long what has arrived is still processed after the request to stop; the rest stays with the senders."""


class TrackerService:
    """Orders what the cameras bring, runs it through the core, and keeps the core's state safe."""

    def __init__(self, cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints) -> None:
        self._known = cameras
        self._config = config
        self._endpoints = endpoints
        recorded = [camera.id for camera in cameras.values() if is_recorded(camera)]
        self._has_live = len(recorded) < len(cameras)
        self._watermark: Watermark[Delivered] = Watermark(recorded, int(config.live_wait_ms * 1e6))
        self._own_seq = 0
        self._followed_told_s = 0.0
        self._process_s = 0.0
        self._core = self._calibrated(TrackerCore(config, cameras))
        self._checkpoints = self._checkpointer({})
        self._containment = Containment()
        self._owed_ends: dict[int, Position] = {}
        self._begin_by_s: float | None = None
        self._closing = False
        self._heard_s = 0.0
        self._drain_until_s: float | None = None
        self._health = Health("tracker", every_s=config.report_every_s)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._hop = Hop(
            self._context,
            name="tracker",
            address=endpoints.people,
            towards=("store", endpoints.tracks),
            known=cameras,
            windows=(config.window, LIVE_WINDOW),
            outbox=config.outbox,
        )
        self._live = FeedPublisher(self._context, endpoints.live, bind=True)
        self._control = Control(
            self._context,
            (endpoints.control, endpoints.history),
            core=lambda: self._core,
            decided=self._decide,
            end_camera=self._end_camera,
        )

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; then wait a moment for the store to answer for the rest."""
        try:
            warm()
            collect_rarely()
            if not self._recall(stop):
                return 0
            self._hop.outgoing.open(OWN_STREAM, self._hop.incarnation, live=False)
            self._reserve()
            links = self._hop.incoming.socket, self._hop.outgoing.socket
            sockets = (*links, self._control.socket, self._live.socket)
            serve(sockets, stop, step=partial(self._step, stop), busy=self._unsafe, longest_ms=self._wait_ms)
            return 0
        finally:
            for end in (self._hop, self._live, self._control):
                end.close()
            self._context.term()

    def _recall(self, stop: threading.Event) -> bool:
        """Take up the newest checkpoint; False when stopped before the store has answered."""
        history = Requester(self._context, self._endpoints.history, stop)
        told = ""
        try:
            while not stop.is_set():
                try:
                    recalled = recall(history, timeout_s=_RECALL_TIMEOUT_S)
                except LinkError:
                    reason = f"waiting for the store at {self._endpoints.history}"
                except TrackingError as error:
                    # It is there but cannot read its database now: locked, or a disk that failed.
                    reason = f"the store has no checkpoint to give yet: {error}"
                else:
                    self._take_up(recalled)
                    return True
                if reason != told:
                    log.info("%s", reason)
                told = reason
                stop.wait(_ASK_AGAIN_S)
            return False
        finally:
            history.close()

    def _take_up(self, recalled: Recalled) -> None:
        checkpoint = recalled.checkpoint
        if checkpoint is not None:
            self._core = self._calibrated(
                TrackerCore.restore(self._config, checkpoint.state, checkpoint.identities)
            )
            self._checkpoints = self._checkpointer(checkpoint.positions)
            log.info("going on with %d known identities", len(checkpoint.identities))
        self._core.begin_after(recalled.track, recalled.identity)
        for camera in recalled.ended:
            # Its sender may be gone for good; if it comes again it is waited for again.
            self._watermark.leave(camera)

    def _reserve(self) -> None:
        """Request a checkpoint that reserves numbers; live cameras wait until the store has written it.

        Recorded cameras need none: after a crash their frames are tracked again from the last checkpoint.
        """
        if self._has_live:
            now_s = time.monotonic()
            self._checkpoints.changed(now_s)
            self._checkpoints.hurry()
            self._begin_by_s = now_s + _RESERVE_WAIT_S

    def _may_begin(self) -> bool:
        if self._begin_by_s is None:
            return True
        if time.monotonic() < self._begin_by_s:
            return False
        self._begin_by_s = None
        log.error(
            "the store has written nothing for %g s: cameras start without reserved numbers. If this tracker "
            "is killed before the store writes, other people may get the numbers shown until then",
            _RESERVE_WAIT_S,
        )
        return True

    def _calibrated(self, core: TrackerCore) -> TrackerCore:
        for camera in self._known.values():
            if camera.homography is not None:
                core.calibrate(camera.id, camera.homography)
        return core

    def _checkpointer(self, positions: dict[int, Position]) -> Checkpointer:
        # Half a window: while one checkpoint is written down, the other half keeps the cameras busy.
        every = max(1, self._config.window // 2)
        return Checkpointer(positions, every=every, idle_s=_IDLE_S, longest_s=_CHECKPOINT_S)

    def _step(self, stop: threading.Event) -> None:
        if stop.is_set() and not self._closing:
            self._closing = self._is_drained()
        for event in () if self._closing else self._hop.receive():
            self._heard_s = time.monotonic()
            if isinstance(event, Delivered):
                self._take(event)
            elif isinstance(event, Begun):
                if event.renewed or not event.live:
                    # What waits of a recorded camera comes again: it goes on behind what was processed.
                    self._watermark.rejoin(event.stream, live=event.live)
                    self._checkpoints.reopened(event.stream)
                    self._owed_ends.pop(event.stream, None)
            elif isinstance(event, Resumed):
                self._watermark.resume(event.stream, lambda each: isinstance(each.message, End))
                self._checkpoints.reopened(event.stream)
                self._owed_ends.pop(event.stream, None)
            elif self._hop.streams[event.stream].live:
                # Recorded cameras are waited for however long it takes: their results must not depend on it.
                self._watermark.leave(event.stream)
        self._control.serve()
        for camera in self._hop.poll():
            self._watermark.leave(camera)
        if self._may_begin():
            self._hop.accept(self._checkpoints.position)
        for delivered in self._watermark.ready(time.monotonic_ns()):
            self._process(delivered)
        self._checkpoint()
        self._hop.flush()
        self._tell_followed()
        self._report()

    def _is_drained(self) -> bool:
        """After the request to stop: whether nothing more arrives, or it has gone on for long enough.

        What is not read then stays with its senders, and the last checkpoint reserves no numbers.
        """
        now_s = time.monotonic()
        if self._drain_until_s is None:
            self._drain_until_s = now_s + _DRAIN_S
        return now_s >= self._drain_until_s or now_s - self._heard_s > _QUIET_S

    def _unsafe(self) -> bool:
        if not self._closing or not self._checkpoints.is_complete:
            return True
        return bool(self._hop.unacknowledged() or self._hop.outgoing.unacknowledged(OWN_STREAM))

    def _wait_ms(self) -> int:
        wait_ns = self._watermark.wait_ns(time.monotonic_ns())
        return int(WAIT_S * 1000) if wait_ns is None else wait_ns // 1_000_000 + 1

    def _take(self, delivered: Delivered) -> None:
        camera, message = delivered.stream, delivered.message
        if not isinstance(message, People | End) or message.stamp.camera != camera:
            self._hop.refuse(camera, f"a {type(message).__name__} is not for a tracker's stream {camera}")
            return
        state = self._hop.streams[camera]
        t_ns = message.stamp.t_ns
        if isinstance(message, People) and state.live:
            offset_ns = message.clock_offset_ns + self._hop.incoming.clock_offset_ns(camera)
            message = replace(message, clock_offset_ns=offset_ns)
            delivered = replace(delivered, message=message)
            t_ns += offset_ns
        self._watermark.add(camera, t_ns, delivered, live=state.live, now_ns=time.monotonic_ns())

    def _process(self, delivered: Delivered) -> None:
        camera, message = delivered.stream, delivered.message
        if camera not in self._hop.streams:
            return  # the store has refused it since
        if not isinstance(message, People | End):
            return  # `_take` lets no other message through
        began_s = time.perf_counter()
        result = self._containment.process(self._core, message)
        self._process_s += time.perf_counter() - began_s
        if isinstance(message, End):
            self._watermark.leave(camera)
            self._tell_health()  # ahead of the end: the last counts are stored with it
        self._send(camera, delivered.seq, message, result)
        if self._hop.streams[camera].live:
            self._hop.incoming.acknowledge(camera, delivered.session, delivered.seq)
            self._checkpoints.changed(time.monotonic())
        else:
            last = isinstance(message, End)
            self._checkpoints.processed(camera, delivered.session, delivered.seq, time.monotonic(), last=last)

    def _send(self, camera: int, seq: int, message: People | End, result: Tracks | End) -> None:
        try:
            self._hop.outgoing.send(camera, result, seq)
        except MessageError as error:  # too many rows for one message, or numbers that are not finite
            result = self._containment.give_up(self._core, message, error)
            self._hop.outgoing.send(camera, result, seq)
        if self._live.watched(camera):
            self._live.publish(camera, result)

    def _checkpoint(self) -> None:
        now_s = time.monotonic()
        if self._closing or (self._has_live and self._core.reserve_is_low):
            self._checkpoints.hurry()
        self._checkpoints.take(now_s, self._snapshot)
        checkpoint = self._checkpoints.sendable()
        if checkpoint is not None:
            self._checkpoints.sent(self._own(checkpoint))
        acknowledged = self._checkpoints.acknowledged(self._hop.outgoing.durable(OWN_STREAM), now_s)
        if acknowledged is not None:
            self._begin_by_s = None
            self._health.made_progress()
            for camera, (session, seq) in acknowledged.positions.items():
                self._hop.incoming.acknowledge(camera, session, seq)
            self._owed_ends.update(acknowledged.ends)
            self._control.confirm(acknowledged.events)
        self._acknowledge_ends()

    def _acknowledge_ends(self) -> None:
        for camera, (session, seq) in list(self._owed_ends.items()):
            state = self._hop.streams.get(camera)
            if state is None or state.session != session or self._hop.outgoing.durable(camera) > seq:
                self._hop.incoming.acknowledge(camera, session, seq)
                del self._owed_ends[camera]

    def _snapshot(self) -> tuple[bytes, dict[int, bytes]]:
        return self._core.snapshot(reserve=self._has_live and not self._closing)

    def _own(self, message: Checkpoint) -> int:
        seq = self._own_seq
        self._hop.outgoing.send(OWN_STREAM, message, seq)
        self._own_seq += 1
        return seq

    def _decide(self, event: IdentityEvent) -> None:
        self._checkpoints.decided(event, time.monotonic())
        self._live.publish(EVERYONE, self._core.followed())

    def _end_camera(self, fields: Fields) -> Fields:
        camera, reason = integer(fields, "camera"), text(fields, "reason", 1000)
        if camera not in self._known:
            raise TrackingError(f"camera {camera} is not in this tracker's configuration")
        log.warning("camera %d is given up: %s", camera, reason)
        self._watermark.leave(camera)
        self._live.publish(camera, End(FrameStamp(camera, 0, 0, now_ns(), 0, 0), "failed", reason))
        return {}

    def _tell_followed(self) -> None:
        newcomers = EVERYONE in self._live.newcomers()
        now_s = time.monotonic()
        if newcomers or now_s - self._followed_told_s > _TELL_FOLLOWED_S:
            followed = self._core.followed()
            if newcomers or followed.people:
                self._live.publish(EVERYONE, followed)
            self._followed_told_s = now_s

    def _dropped(self) -> dict[str, float]:
        """Frames given up because the store was away for too long, of each live camera that has any."""
        live = [camera for camera, state in self._hop.streams.items() if state.live]
        counts = {camera: self._hop.outgoing.dropped(camera) for camera in live}
        return {dropped_reading(camera): float(count) for camera, count in counts.items() if count}

    def _report(self) -> None:
        if self._health.due_in_s() <= 0:
            self._tell_health()

    def _tell_health(self) -> None:
        counters = {
            **{name: float(value) for name, value in self._core.counters.items()},
            "process_s": self._process_s,
            "rejected": float(self._hop.incoming.rejected + self._control.rejected + self._hop.refused),
            "repeated": float(self._hop.incoming.repeated),
            **self._dropped(),
        }
        report = self._health.report("running", counters)
        log.info("%s", described(report.readings))
        self._hop.outgoing.report(report)


def run(
    cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints, stop: threading.Event
) -> int:
    """Run the tracker until `stop` is set; the process's exit code."""
    return TrackerService(cameras, config, endpoints).run(stop)
