"""The tracker process: people of all cameras in, in the order of their time; tracks and identities out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import zmq

from services.tracker.checkpointing import Checkpointer, Position
from services.tracker.core import TrackerCore
from services.tracker.warming import warm
from services.tracker.watermark import Watermark
from shared.clock import now_ns
from shared.config import CameraConfig, Config
from shared.config_file import is_recorded
from shared.endpoints import Endpoints
from shared.errors import LinkError, TrackingError
from shared.feed import EVERYONE, FeedPublisher
from shared.health import Health, described
from shared.heap import collect_rarely
from shared.hop import WAIT_S, Begun, Hop, serve
from shared.link_receiver import Delivered, Resumed
from shared.messages import Checkpoint, End, FrameStamp, IdentityEvent, People
from shared.request import Fields, Requester, Responder, integer, number, text

log = logging.getLogger(__name__)

OWN_STREAM = 0
"""The stream of what belongs to no camera: checkpoints and operators' decisions."""

LIVE_WINDOW = 64
_IDLE_S = 1.0
_CHECKPOINT_S = 2.0
_TELL_FOLLOWED_S = 0.5


class TrackerService:
    """Orders what the cameras bring, runs it through the core, and keeps the core's memory safe."""

    def __init__(self, cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints) -> None:
        self._known = cameras
        self._config = config
        self._endpoints = endpoints
        recorded = [camera.id for camera in cameras.values() if is_recorded(camera)]
        self._watermark: Watermark[Delivered] = Watermark(recorded, int(config.live_wait_ms * 1e6))
        self._own_seq = 0
        self._followed_told_s = 0.0
        self._process_s = 0.0
        self._core = self._calibrated(TrackerCore(config, cameras))
        self._checkpoints = self._checkpointer({})
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
        self._control = Responder(
            self._context,
            endpoints.control,
            {
                "click": self._click,
                "follow": self._follow,
                "unfollow": self._unfollow,
                "name": self._name,
                "merge": self._merge,
                "split": self._split,
                "forget": self._forget,
                "end_camera": self._end_camera,
            },
        )

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; then wait a moment for the store to answer for the rest."""
        try:
            warm()
            collect_rarely()
            if not self._recall(stop):
                return 0
            self._hop.outgoing.open(OWN_STREAM, self._hop.incarnation, live=False)
            links = self._hop.incoming.socket, self._hop.outgoing.socket
            sockets = (*links, self._control.socket, self._live.socket)
            serve(sockets, stop, step=self._step, busy=self._unsafe, longest_ms=self._wait_ms)
            return 0
        finally:
            for end in (self._hop, self._live, self._control):
                end.close()
            self._context.term()

    def _recall(self, stop: threading.Event) -> bool:
        """Take up the newest checkpoint; False when stopped before the store has answered."""
        history = Requester(self._context, self._endpoints.history)
        warned = False
        try:
            while not stop.is_set():
                try:
                    reply = history.ask_for_message("checkpoint", timeout_s=1.0)
                except LinkError:
                    if not warned:
                        log.info("waiting for the store at %s", self._endpoints.history)
                    warned = True
                    continue
                if isinstance(reply.message, Checkpoint):
                    self._take_up(reply.message)
                ended = reply.fields.get("ended")
                for camera in ended if isinstance(ended, list) else ():
                    # Its sender may be gone for good; if it comes again it is waited for again.
                    self._watermark.leave(camera)
                return True
            return False
        finally:
            history.close()

    def _take_up(self, checkpoint: Checkpoint) -> None:
        self._core = self._calibrated(
            TrackerCore.restore(self._config, checkpoint.state, checkpoint.identities)
        )
        self._checkpoints = self._checkpointer(checkpoint.positions)
        log.info("going on with %d known identities", len(checkpoint.identities))

    def _calibrated(self, core: TrackerCore) -> TrackerCore:
        for camera in self._known.values():
            if camera.homography is not None:
                core.calibrate(camera.id, camera.homography)
        return core

    def _checkpointer(self, positions: dict[int, Position]) -> Checkpointer:
        # Half a window: while one checkpoint is written down, the other half keeps the cameras busy.
        every = max(1, self._config.window // 2)
        return Checkpointer(positions, every=every, idle_s=_IDLE_S, longest_s=_CHECKPOINT_S)

    def _step(self) -> None:
        for event in self._hop.receive():
            if isinstance(event, Delivered):
                self._take(event)
            elif isinstance(event, Begun):
                if event.renewed or not event.live:
                    # What waits of a recorded camera comes again: it goes on behind what was processed.
                    self._watermark.rejoin(event.stream, live=event.live)
                    self._checkpoints.reopened(event.stream)
            elif isinstance(event, Resumed):
                self._watermark.resume(event.stream, lambda each: isinstance(each.message, End))
                self._checkpoints.reopened(event.stream)
            elif self._hop.streams[event.stream].live:
                # Recorded cameras are waited for however long it takes: their results must not depend on it.
                self._watermark.leave(event.stream)
        self._control.serve()
        for camera in self._hop.poll():
            self._watermark.leave(camera)
        self._hop.accept(self._checkpoints.position)
        for delivered in self._watermark.ready(time.monotonic_ns()):
            self._process(delivered)
        self._checkpoint()
        self._hop.flush()
        self._tell_followed()
        self._report()

    def _unsafe(self) -> bool:
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
        if isinstance(message, People):
            began_s = time.perf_counter()
            result: Any = self._core.process(message)
            self._process_s += time.perf_counter() - began_s
        elif isinstance(message, End):
            result = self._core.end(message)
            self._watermark.leave(camera)
        if self._live.watched(camera):
            self._live.publish(camera, result)
        self._hop.outgoing.send(camera, result, delivered.seq)
        if self._hop.streams[camera].live:
            self._hop.incoming.acknowledge(camera, delivered.session, delivered.seq)
            self._checkpoints.changed(time.monotonic())
        else:
            last = isinstance(message, End)
            self._checkpoints.processed(camera, delivered.session, delivered.seq, time.monotonic(), last=last)

    def _checkpoint(self) -> None:
        self._checkpoints.take(time.monotonic(), self._core.snapshot)
        checkpoint = self._checkpoints.sendable(self._durable)
        if checkpoint is not None:
            self._checkpoints.sent(self._own(checkpoint))
        positions = self._checkpoints.acknowledged(self._hop.outgoing.durable(OWN_STREAM))
        for camera, (session, seq) in (positions or {}).items():
            self._hop.incoming.acknowledge(camera, session, seq)

    def _durable(self, camera: int, session: int) -> int:
        state = self._hop.streams.get(camera)
        if state is None or state.session != session or state.live:
            return 1 << 63  # an earlier session's: it was durable when this one was opened
        return self._hop.outgoing.durable(camera)

    def _own(self, message: Checkpoint | IdentityEvent) -> int:
        seq = self._own_seq
        self._hop.outgoing.send(OWN_STREAM, message, seq)
        self._own_seq += 1
        return seq

    def _click(self, fields: Fields) -> Fields:
        camera, x, y = integer(fields, "camera"), number(fields, "x"), number(fields, "y")
        identity = self._core.identity_at(camera, x, y)
        if identity is None:
            raise TrackingError(f"nobody with an identity is at {x:.0f}, {y:.0f} of camera {camera} now")
        return self._decide(self._core.follow(identity, now_ns()))

    def _follow(self, fields: Fields) -> Fields:
        return self._decide(self._core.follow(integer(fields, "identity"), now_ns()))

    def _unfollow(self, fields: Fields) -> Fields:
        return self._decide(self._core.unfollow(integer(fields, "identity"), now_ns()))

    def _name(self, fields: Fields) -> Fields:
        return self._decide(self._core.name(integer(fields, "identity"), text(fields, "name"), now_ns()))

    def _merge(self, fields: Fields) -> Fields:
        identity, other = integer(fields, "identity"), integer(fields, "other")
        return self._decide(self._core.merge(identity, other, now_ns()))

    def _split(self, fields: Fields) -> Fields:
        tracks = fields.get("tracks")
        if not isinstance(tracks, list) or not all(type(each) is int for each in tracks):
            raise TrackingError("tracks must be a list of whole numbers")
        return self._decide(self._core.split(integer(fields, "identity"), tracks, now_ns()))

    def _forget(self, fields: Fields) -> Fields:
        return self._decide(self._core.forget(integer(fields, "identity"), now_ns()))

    def _decide(self, event: IdentityEvent) -> Fields:
        self._own(event)
        self._checkpoints.changed(time.monotonic())
        self._live.publish(EVERYONE, self._core.followed())
        return {"identity": event.identity}

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

    def _report(self) -> None:
        if self._health.due_in_s() > 0:
            return
        counters = {
            **{name: float(value) for name, value in self._core.counters.items()},
            "process_s": self._process_s,
            "rejected": float(self._hop.incoming.rejected + self._control.rejected + self._hop.refused),
            "repeated": float(self._hop.incoming.repeated),
            "dropped": float(
                sum(self._hop.outgoing.dropped(c) for c, s in self._hop.streams.items() if s.live)
            ),
        }
        report = self._health.report("running", counters)
        log.info("%s", described(report.readings))
        self._hop.outgoing.report(report)


def run(
    cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints, stop: threading.Event
) -> int:
    """Run the tracker until `stop` is set; the process's exit code."""
    return TrackerService(cameras, config, endpoints).run(stop)
