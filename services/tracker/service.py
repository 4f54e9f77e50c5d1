"""The tracker process: people of all cameras in, in the order of their time; tracks and identities out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from shared.errors import LinkError, StreamRefusedError, TrackingError
from shared.feed import EVERYONE, FeedPublisher
from shared.health import Health, described
from shared.link_receiver import Delivered, LinkReceiver, Opened, Reported, Silent
from shared.link_sender import LinkSender
from shared.messages import Checkpoint, End, FrameStamp, IdentityEvent, People
from shared.request import Fields, Requester, Responder, integer, number, text

log = logging.getLogger(__name__)

OWN_STREAM = 0
"""The stream of what belongs to no camera: checkpoints and operators' decisions."""

LIVE_WINDOW = 64
_IDLE_S = 1.0
_CHECKPOINT_S = 2.0
_WAIT_S = 0.05
_BREATH_S = 0.002
"""What comes within so long of the first message is handled, and answered, in one round."""

_GOODBYE_S = 5.0
_TELL_FOLLOWED_S = 0.5


@dataclass(slots=True)
class _Camera:
    session: int
    live: bool
    first: int
    accepted: bool = False


class TrackerService:
    """Orders what the cameras bring, runs it through the core, and keeps the core's memory safe."""

    def __init__(self, cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints) -> None:
        self._known = cameras
        self._config = config
        self._endpoints = endpoints
        recorded = [camera.id for camera in cameras.values() if is_recorded(camera)]
        self._watermark: Watermark[Delivered] = Watermark(recorded, int(config.live_wait_ms * 1e6))
        self._cameras: dict[int, _Camera] = {}
        self._incarnation = now_ns()
        self._own_seq = 0
        self._refused = 0
        self._followed_told_s = 0.0
        self._process_s = 0.0
        self._core = TrackerCore(config, cameras)
        self._checkpoints = self._checkpointer({})
        self._health = Health("tracker", every_s=config.report_every_s)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._people = LinkReceiver(self._context, endpoints.people)
        self._live = FeedPublisher(self._context, endpoints.live, bind=True)
        self._control = Responder(
            self._context,
            endpoints.control,
            {
                "click": self._click,
                "follow": self._follow,
                "unfollow": self._unfollow,
                "name": self._name,
                "end_camera": self._end_camera,
            },
        )
        self._tracks = LinkSender(self._context, endpoints.tracks, name="the store")

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; then wait a moment for the store to answer for the rest."""
        try:
            warm()
            if not self._recall(stop):
                return 0
            self._tracks.open(OWN_STREAM, self._incarnation, live=False)
            poller = zmq.Poller()
            for socket in (
                self._people.socket,
                self._control.socket,
                self._tracks.socket,
                self._live.socket,
            ):
                poller.register(socket, zmq.POLLIN)
            leave_at_s: float | None = None
            while leave_at_s is None or (time.monotonic() < leave_at_s and self._unsafe()):
                if poller.poll(self._wait_ms()):
                    time.sleep(_BREATH_S)
                self._step()
                if stop.is_set() and leave_at_s is None:
                    leave_at_s = time.monotonic() + _GOODBYE_S
            return 0
        finally:
            for end in (self._people, self._live, self._control, self._tracks):
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
                return True
            return False
        finally:
            history.close()

    def _take_up(self, checkpoint: Checkpoint) -> None:
        self._core = TrackerCore.restore(self._config, checkpoint.state, checkpoint.identities)
        self._checkpoints = self._checkpointer(checkpoint.positions)
        log.info("going on with %d known identities", len(checkpoint.identities))

    def _checkpointer(self, positions: dict[int, Position]) -> Checkpointer:
        # Half a window: while one checkpoint is written down, the other half keeps the cameras busy.
        every = max(1, self._config.window // 2)
        return Checkpointer(positions, every=every, idle_s=_IDLE_S, longest_s=_CHECKPOINT_S)

    def _step(self) -> None:
        for event in self._people.receive():
            if isinstance(event, Delivered):
                self._take(event)
            elif isinstance(event, Opened):
                self._open(event)
            elif isinstance(event, Silent):
                # Recorded cameras are waited for however long it takes: their results must not depend on it.
                if self._cameras[event.stream].live:
                    self._watermark.leave(event.stream)
            elif isinstance(event, Reported):
                self._tracks.report(event.report)
        self._control.serve()
        self._poll_store()
        self._accept()
        for delivered in self._watermark.ready(time.monotonic_ns()):
            self._process(delivered)
        self._checkpoint()
        self._people.flush()
        self._tell_followed()
        self._report()

    def _poll_store(self) -> None:
        try:
            self._tracks.poll()
        except StreamRefusedError as refusal:
            if refusal.stream == OWN_STREAM:
                raise
            log.error("camera %d is left out: %s", refusal.stream, refusal)
            del self._cameras[refusal.stream]
            self._watermark.leave(refusal.stream)
            self._people.refuse(refusal.stream, str(refusal))

    def _unsafe(self) -> bool:
        return any(self._tracks.unacknowledged(stream) for stream in (OWN_STREAM, *self._cameras))

    def _wait_ms(self) -> int:
        wait_ns = self._watermark.wait_ns(time.monotonic_ns())
        longest_ms = int(_WAIT_S * 1000)
        return longest_ms if wait_ns is None else min(longest_ms, wait_ns // 1_000_000 + 1)

    def _open(self, opened: Opened) -> None:
        camera = opened.stream
        if camera not in self._known:
            self._refused += 1
            self._people.refuse(camera, f"camera {camera} is not in this tracker's configuration")
            return
        known = self._cameras.get(camera)
        if known is not None and known.session == opened.session and not known.accepted:
            return  # asked again while the store has not answered yet
        if opened.live:
            if known is None or not known.live:
                self._tracks.open(camera, self._incarnation, live=True, outbox=self._config.outbox)
        else:
            self._tracks.open(camera, opened.session, live=False)
        if known is not None and known.session != opened.session:
            self._watermark.rejoin(camera, live=opened.live)
        self._cameras[camera] = _Camera(opened.session, opened.live, opened.first)

    def _accept(self) -> None:
        """Let streams begin: a live one at once, a recorded one where our memory of it ends."""
        for camera, state in self._cameras.items():
            if state.accepted:
                continue
            if state.live:
                self._people.accept(camera, state.first, LIVE_WINDOW)
            elif self._tracks.position(camera) is not None:
                position = self._checkpoints.position(camera, state.session)
                if position < state.first:
                    self._people.refuse(
                        camera,
                        f"camera {camera}: the history before frame {state.first} is gone from the store; "
                        "start all services again",
                    )
                else:
                    self._people.accept(camera, position, self._config.window)
            else:
                continue
            state.accepted = True

    def _take(self, delivered: Delivered) -> None:
        camera, message = delivered.stream, delivered.message
        if not isinstance(message, People | End) or message.stamp.camera != camera:
            self._refused += 1
            self._people.refuse(camera, f"a {type(message).__name__} is not for a tracker's stream {camera}")
            return
        state = self._cameras[camera]
        t_ns = message.stamp.t_ns
        if isinstance(message, People) and state.live:
            offset_ns = message.clock_offset_ns + self._people.clock_offset_ns(camera)
            message = replace(message, clock_offset_ns=offset_ns)
            delivered = replace(delivered, message=message)
            t_ns += offset_ns
        self._watermark.add(camera, t_ns, delivered, live=state.live, now_ns=time.monotonic_ns())

    def _process(self, delivered: Delivered) -> None:
        camera, message = delivered.stream, delivered.message
        if camera not in self._cameras:
            return  # the store has refused it since
        if isinstance(message, People):
            began_s = time.perf_counter()
            result: Any = self._core.process(message)
            self._process_s += time.perf_counter() - began_s
        elif isinstance(message, End):
            self._core.end(message)
            self._watermark.leave(camera)
            result = message
        if self._live.watched(camera):
            self._live.publish(camera, result)
        self._tracks.send(camera, result, delivered.seq)
        if self._cameras[camera].live:
            self._people.acknowledge(camera, delivered.session, delivered.seq)
            self._checkpoints.changed(time.monotonic())
        else:
            last = isinstance(message, End)
            self._checkpoints.processed(camera, delivered.session, delivered.seq, time.monotonic(), last=last)

    def _checkpoint(self) -> None:
        self._checkpoints.take(time.monotonic(), self._core.snapshot)
        checkpoint = self._checkpoints.sendable(self._durable)
        if checkpoint is not None:
            self._checkpoints.sent(self._own(checkpoint))
        positions = self._checkpoints.acknowledged(self._tracks.durable(OWN_STREAM))
        for camera, (session, seq) in (positions or {}).items():
            self._people.acknowledge(camera, session, seq)

    def _durable(self, camera: int, session: int) -> int:
        state = self._cameras.get(camera)
        if state is None or state.session != session or state.live:
            return 1 << 63  # an earlier session's: it was durable when this one was opened
        return self._tracks.durable(camera)

    def _own(self, message: Checkpoint | IdentityEvent) -> int:
        seq = self._own_seq
        self._tracks.send(OWN_STREAM, message, seq)
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
            "rejected": float(self._people.rejected + self._control.rejected + self._refused),
            "repeated": float(self._people.repeated),
            "dropped": float(sum(self._tracks.dropped(c) for c, s in self._cameras.items() if s.live)),
        }
        report = self._health.report("running", counters)
        log.info("%s", described(report.readings))
        self._tracks.report(report)


def run(
    cameras: Mapping[int, CameraConfig], config: Config, endpoints: Endpoints, stop: threading.Event
) -> int:
    """Run the tracker until `stop` is set; the process's exit code."""
    return TrackerService(cameras, config, endpoints).run(stop)
