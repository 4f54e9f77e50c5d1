"""The buffer between the thread that captures and the one that sends."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from services.ingest.pool import FramePool, Image
from shared.errors import SourceError


@dataclass(slots=True, eq=False)
class CapturedFrame:
    """One picture of a camera.

    index: its place in the source, from 0, strictly increasing; gaps are frames that were dropped or
        could not be decoded.
    t_ns: capture time, UTC nanoseconds.
    image: (height, width, 3) uint8 BGR, valid until `release`.
    clock_session: of a live source, how many times the clock had been set when it was taken; times strictly
        increase as long as it is the same.
    """

    index: int
    t_ns: int
    image: Image
    pool: FramePool | None = field(default=None, repr=False)
    clock_session: int = 0

    def release(self) -> None:
        """Give the picture's memory back for the next one; `image` must not be used afterwards."""
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.release(self.image)


class FrameBuffer:
    """Frames on their way from one capturing thread to one consumer.

    Where the newest wins, a full buffer drops its oldest frame; else `put` waits for room.
    """

    def __init__(self, capacity: int, *, newest_wins: bool) -> None:
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._frames: deque[CapturedFrame] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._error: SourceError | None = None
        self._dropped = 0

    def put(self, frame: CapturedFrame) -> bool:
        """Add a frame; False where nobody will take it any more."""
        with self._changed:
            if self._newest_wins:
                while len(self._frames) >= self._capacity:
                    self._frames.popleft().release()
                    self._dropped += 1
            else:
                self._changed.wait_for(lambda: self._closed or len(self._frames) < self._capacity)
            if self._closed:
                frame.release()
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None) -> CapturedFrame | None:
        """The oldest frame; None after `timeout_s` without one (None: no limit), or behind the last.

        Raises the SourceError that `finish` was given, once, behind the last frame.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._finished or self._closed, timeout_s)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            error, self._error = self._error, None
            if error is not None:
                raise error
            return None

    def finish(self, error: SourceError | None = None) -> None:
        """Say that no frame will follow, and why, if it is not the source's natural end."""
        with self._changed:
            if not self._finished:
                self._finished, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what is in the buffer and let both sides go."""
        with self._changed:
            self._closed = self._finished = True
            self._error = None
            while self._frames:
                self._frames.popleft().release()
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether the last frame was taken and none will follow."""
        with self._changed:
            return self._finished and not self._frames and self._error is None

    @property
    def dropped(self) -> int:
        """Frames that a newer one pushed out."""
        with self._changed:
            return self._dropped
