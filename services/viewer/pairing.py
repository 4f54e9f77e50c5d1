"""Frames and the tracks found in them come on two feeds; here they meet again.

A frame is held back until its tracks arrive.  It goes on without them when the tracker is too far behind
(`most_pending` frames, or `patience_s` of the camera's time) or the camera has ended; it is passed over
when a later frame of the same camera finds its tracks first.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from shared.messages import Frame, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A frame ready to be looked at, with its tracks if they are known."""

    frame: Frame
    tracks: Tracks | None

    @property
    def t_ns(self) -> int:
        """Capture time, on the tracker's clock where it is known."""
        return self.tracks.stamp.t_ns if self.tracks is not None else self.frame.stamp.t_ns


class Pairing:
    """The frames and tracks of one camera; gives each frame at most once, in their order."""

    def __init__(self, most_pending: int, patience_s: float = math.inf) -> None:
        self._most_pending = most_pending
        self._patience_s = patience_s
        self._frames: deque[Frame] = deque()
        self._early: dict[tuple[int, int], Tracks] = {}
        self._session = -1
        self._newest_index = -1

    def add_frame(self, frame: Frame) -> list[Shown]:
        """Take in a frame; a repeated one, or one older than the newest, is dropped."""
        stamp = frame.stamp
        shown: list[Shown] = []
        if stamp.session != self._session:
            shown = self.flush()
            self._session, self._newest_index = stamp.session, -1
        if stamp.frame_index <= self._newest_index:
            return shown
        self._newest_index = stamp.frame_index
        self._frames.append(frame)
        early = self._early.pop((stamp.session, stamp.frame_index), None)
        return shown + (self._overdue() if early is None else self._meet(early))

    def add_tracks(self, tracks: Tracks) -> list[Shown]:
        """Take in the tracks of a frame, which may be on its way still."""
        stamp = tracks.stamp
        if stamp.session != self._session or stamp.frame_index > self._newest_index:
            self._early[stamp.session, stamp.frame_index] = tracks
            if len(self._early) > self._most_pending:
                del self._early[next(iter(self._early))]
            return []
        return self._meet(tracks)

    def flush(self) -> list[Shown]:
        """Everything held back, as it is: nothing more will come."""
        shown = [Shown(frame, None) for frame in self._frames]
        self._frames.clear()
        return shown

    def _meet(self, tracks: Tracks) -> list[Shown]:
        wanted = tracks.stamp.frame_index
        while self._frames and self._frames[0].stamp.frame_index < wanted:
            self._frames.popleft()
        if self._frames and self._frames[0].stamp.frame_index == wanted:
            return [Shown(self._frames.popleft(), tracks)]
        return []

    def _overdue(self) -> list[Shown]:
        shown = []
        newest_ns = self._frames[-1].stamp.t_ns
        while (
            len(self._frames) > self._most_pending
            or newest_ns - self._frames[0].stamp.t_ns > self._patience_s * 1e9
        ):
            shown.append(Shown(self._frames.popleft(), None))
        return shown
