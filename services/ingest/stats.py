"""How a camera's capture is doing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["connecting", "streaming", "lost", "ended"]

_WINDOW_FRAMES = 60


@dataclass(slots=True)
class StreamStats:
    """Counters since the start, and the present state.

    frames: captured and put into the buffer.  dropped: of these, pushed out by a newer one before they
        were taken (live only).  capped: not even decoded, because they came faster than `target_fps`.
    corrupt: could not be decoded, or were promised by the file and are missing.
    reconnects: times that a lost camera was found again.
    clock_steps: how many times the machine's clock was set while frames came (live only).
    fps: frames a second, of a recording its nominal rate, else measured over the last frames.
    last_frame_ns: `t_ns` of the newest frame, 0 before the first.
    pool_hit_rate: share of the pictures that were decoded into memory used before, 0-1.
    """

    state: State = "connecting"
    frames: int = 0
    dropped: int = 0
    capped: int = 0
    corrupt: int = 0
    reconnects: int = 0
    clock_steps: int = 0
    fps: float = 0.0
    last_frame_ns: int = 0
    pool_hit_rate: float = 0.0


class RateMeter:
    """Frames a second over the last frames."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=_WINDOW_FRAMES)

    def add(self, now_s: float) -> float:
        """Count a frame at `now_s`; the rate so far, 0 at the first frame."""
        self._times_s.append(now_s)
        span_s = now_s - self._times_s[0]
        return (len(self._times_s) - 1) / span_s if span_s > 0 else 0.0

    def reset(self) -> None:
        """Begin anew, after an interruption."""
        self._times_s.clear()
