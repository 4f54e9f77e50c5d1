"""The viewer process: feeds in; a window, a recording, or both out."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import zmq

from services.viewer.commands import CommandSender
from services.viewer.controls import KEYS, Controls
from services.viewer.pairing import Pairing, Shown
from services.viewer.recorder import Recorder
from services.viewer.scene import Scene
from services.viewer.window import Window
from shared.config import CameraConfig, Config
from shared.config_file import is_recorded
from shared.endpoints import Endpoints
from shared.errors import ConfigError, StorageError
from shared.feed import EVERYONE, FeedSubscriber
from shared.health import Health, described
from shared.messages import End, Followed, Frame, FrameStamp, Message, Tracks

log = logging.getLogger(__name__)

TITLE = "tracking-system"

LIVE_PATIENCE_S = 2.0
"""A live camera's frame without tracks is shown after this."""

SETTLE_S = 0.3
"""A camera's end is believed when no frame of it came for this long: the two feeds keep no common order."""

MOST_WAITING = 1500
"""Frames waiting to be recorded; with more, feeds are left to drop theirs."""

_WAIT_MS = 20
_LONGEST_FRAME_S = 0.25
_SHORTEST_FRAME_S = 1 / 30
_NOTICE_S = 6.0
_TICKS_AT_ONCE = 4


class ViewerService:
    """Feeds to pictures; a window's clicks to the tracker.

    Raises TrackingError where a window is wanted and there is no display, StorageError where the
    recording cannot be begun.
    """

    def __init__(
        self,
        cameras: Mapping[int, CameraConfig],
        config: Config,
        endpoints: Endpoints,
        *,
        record: Path | None,
        window: bool,
    ) -> None:
        titles = {camera: each.title for camera, each in cameras.items()}
        self._scene = Scene(titles)
        self._controls = Controls()
        self._recorder = Recorder(record, titles) if record is not None else None
        self._window = Window(TITLE) if window else None
        self._pairings = {
            # A recorded frame may wait for as long as the pipeline holds frames of its camera.
            camera: Pairing(
                2 * config.window + config.buffer_size,
                math.inf if is_recorded(each) else LIVE_PATIENCE_S,
            )
            for camera, each in cameras.items()
        }
        self._ends: dict[int, End] = {}
        self._settled: set[int] = set()
        self._arrived_s = dict.fromkeys(cameras, 0.0)
        self._failure: StorageError | None = None
        self._notice, self._notice_until_s = "", 0.0
        self._drawn_s = 0.0
        self._news = True
        self._health = Health("viewer", every_s=config.report_every_s)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._frames = FeedSubscriber(self._context, endpoints.view_out, cameras)
        self._live = FeedSubscriber(self._context, endpoints.live, [EVERYONE, *cameras])
        self._commands = CommandSender(self._context, endpoints.control)

    def run(self, stop: threading.Event) -> int:
        """Show and record until `stop` is set, the operator quits, or (without a window) all is recorded.

        Returns 0.  Raises StorageError where the recording failed; with a window, when that is closed.
        """
        poller = zmq.Poller()
        poller.register(self._frames.socket, zmq.POLLIN)
        poller.register(self._live.socket, zmq.POLLIN)
        wait_ms = 0
        try:
            while not (stop.is_set() or self._controls.quit or self._is_over()):
                poller.poll(wait_ms)
                self._receive()
                self._settle()
                wait_ms = 0 if self._record() else _WAIT_MS
                self._update_window()
                self._report()
            self._receive()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure
        return 0

    def _is_over(self) -> bool:
        return self._window is None and (self._failure is not None or self._settled >= set(self._pairings))

    def _receive(self) -> None:
        """Take in what waits, frames before tracks."""
        if self._recorder is not None and self._recorder.waiting > MOST_WAITING:
            return
        while messages := self._frames.receive():
            for message in messages:
                self._take(message)
        for message in self._live.receive():
            self._take(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, Followed):
            self._scene.follow(message)
            if self._recorder is not None:
                self._recorder.follow(message)
            self._news = True
            return
        if not isinstance(message, Frame | Tracks | End) or message.stamp.camera not in self._pairings:
            return
        camera = message.stamp.camera
        if isinstance(message, Frame):
            self._arrived_s[camera] = time.monotonic()
            end = self._ends.get(camera)
            # The two feeds do not keep step: the end may overtake the last frames.
            if end is not None and _after(message.stamp, end.stamp):
                del self._ends[camera]
                self._settled.discard(camera)
            self._show(self._pairings[camera].add_frame(message))
        elif isinstance(message, Tracks):
            self._show(self._pairings[camera].add_tracks(message))
        else:
            self._ends[camera] = message

    def _show(self, shown: list[Shown]) -> None:
        for each in shown:
            self._scene.show(each, time.monotonic_ns())
            self._news = True
        if self._recorder is not None:
            self._recorder.add(shown)

    def _settle(self) -> None:
        now_s = time.monotonic()
        for camera, end in self._ends.items():
            if camera not in self._settled and now_s - self._arrived_s[camera] > SETTLE_S:
                self._settled.add(camera)
                self._show(self._pairings[camera].flush())
                self._scene.end(camera, end.reason)
                if self._recorder is not None:
                    self._recorder.end(camera, end.reason)
                self._news = True

    def _record(self) -> bool:
        """Write pictures that are ready; whether there may be more."""
        if self._recorder is None:
            return False
        try:
            return self._recorder.write(most=_TICKS_AT_ONCE) == _TICKS_AT_ONCE
        except StorageError as error:
            self._give_up_recording(error)
            return False

    def _give_up_recording(self, error: StorageError) -> None:
        log.error("%s", error)
        self._failure = error
        self._recorder = None
        self._tell(str(error))

    def _update_window(self) -> None:
        if self._window is None:
            return
        for notice in self._commands.notices():
            log.info("%s", notice)
            self._tell(notice)
        for event in self._window.events():
            command = self._controls.handle(event, self._scene)
            self._news = True
            if command is not None:
                self._commands.send(command)
        now_s = time.monotonic()
        since_s = now_s - self._drawn_s
        if self._controls.quit or since_s < (_SHORTEST_FRAME_S if self._news else _LONGEST_FRAME_S):
            return
        picture = self._scene.picture(
            *self._window.size,
            time.monotonic_ns(),
            keys=KEYS,
            selecting=self._controls.selecting,
            notice=self._notice if now_s < self._notice_until_s else "",
        )
        self._window.show(picture, full_screen=self._controls.full_screen)
        self._drawn_s, self._news = now_s, False

    def _tell(self, notice: str) -> None:
        self._notice, self._notice_until_s = notice, time.monotonic() + _NOTICE_S
        self._news = True

    def _report(self) -> None:
        if self._health.due_in_s() > 0:
            return
        counters = {
            "recorded": float(self._recorder.frames if self._recorder else 0),
            "rejected": float(self._frames.rejected + self._live.rejected),
            "undecodable": float(self._scene.undecodable),
        }
        log.info("%s", described(self._health.report("running", counters).readings))

    def _close(self) -> None:
        try:
            if self._recorder is not None:
                for pairing in self._pairings.values():
                    self._recorder.add(pairing.flush())
                self._recorder.close()
                log.info("recorded %d pictures", self._recorder.frames)
        except StorageError as error:
            self._give_up_recording(error)
        finally:
            if self._window is not None:
                self._window.close()
            self._commands.close()
            self._frames.close()
            self._live.close()
            self._context.term()


def _after(stamp: FrameStamp, other: FrameStamp) -> bool:
    """Whether a frame of a camera comes after another one, or belongs to another session."""
    return stamp.session != other.session or stamp.frame_index > other.frame_index


def run(
    cameras: Mapping[int, CameraConfig],
    config: Config,
    endpoints: Endpoints,
    stop: threading.Event,
    *,
    record: Path | None = None,
    window: bool = True,
) -> int:
    """Run the viewer: a window, a recording into `record`, or both; the process's exit code.

    Raises ConfigError where neither is wanted, TrackingError where there is no display, StorageError
    where the recording failed.
    """
    if record is None and not window:
        raise ConfigError("nothing to show to: give --record FILE, or leave the window on")
    return ViewerService(cameras, config, endpoints, record=record, window=window).run(stop)
