"""What the services say to each other: the typed messages.

A message is one small msgpack header followed by raw buffers (JPEG bytes, numpy arrays), each a
ZeroMQ frame of its own; `shared.codec` makes and checks them.  Nothing is ever pickled.

Conventions everywhere: boxes are float32 `x0, y0, x1, y1` in pixels of the sent frame, x to the
right, y down; times are UTC nanoseconds; vectors of features are L2-normalised float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

PROTOCOL_VERSION = 2

Buffer: TypeAlias = bytes | bytearray | memoryview
Float32: TypeAlias = NDArray[np.float32]
Int64: TypeAlias = NDArray[np.int64]
Int32: TypeAlias = NDArray[np.int32]
Bool: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """Which frame, of which camera, taken when.

    camera: the integer id from the configuration, 1 or more.
    session: one uninterrupted numbering of frames; a recorded source has the same one each time.
    frame_index: the frame's place in its source, from 0, strictly increasing in a session.
    t_ns: capture time, UTC nanoseconds (recorded: start of the recording + position).
    width, height: pixels of the frame as sent.
    """

    camera: int
    session: int
    frame_index: int
    t_ns: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """How the picture moved between the previous *sent* frame and this one.

    grid: (rows, cols, 2) float32, mean displacement (dx, dy) in pixels of the sent frame in each cell
        of an even grid over the frame, the camera's own motion included.
    camera: (2, 3) float32 affine matrix that carries a pixel of the previous frame's background to
        this frame; the identity for a camera that stands still.
    """

    grid: Float32
    camera: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """ingest -> detector, ingest -> viewers: one JPEG with its time and motion."""

    stamp: FrameStamp
    jpeg: Buffer
    motion: Motion | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Feature vectors of some of the people of one message.

    of: (M,) int32, rows of `People.boxes` they belong to, each at most once, increasing.
    vectors: (M, D) float32, L2-normalised.
    quality: (M,) float32 in 0-1, how far the crop can be trusted (size, sharpness, occlusion).
    """

    of: Int32
    vectors: Float32
    quality: Float32


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """detector -> tracker: the people seen in one frame.

    boxes: (N, 4) float32 pixels.  scores: (N,) float32 in 0-1.
    flow: (N, 2) float32, each person's displacement in pixels since the previous frame of this
        camera with the camera's own motion removed; NaN where it was not measured.
    camera_motion: (2, 3) float32 affine, as in `Motion.camera`.
    features: by kind ("appearance", "face", "clothing"); a person without a fresh one has no row.
    clock_offset_ns: what to add to `stamp.t_ns` to read it on the tracker's host's clock.
    """

    stamp: FrameStamp
    boxes: Float32
    scores: Float32
    flow: Float32
    camera_motion: Float32
    features: dict[str, Features] = field(default_factory=dict)
    clock_offset_ns: int = 0


def empty_people(stamp: FrameStamp) -> People:
    """A frame in which nobody was seen, or that could not be looked at."""
    return People(
        stamp=stamp,
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        flow=np.zeros((0, 2), np.float32),
        camera_motion=np.eye(2, 3, dtype=np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Who was where in an earlier frame, as it turned out: corrected tracks, smoothed boxes, gaps filled.

    stamp: of that frame.  The arrays are those of `Tracks`; `observed` is False where a gap was filled.
    """

    stamp: FrameStamp
    track_ids: Int64
    boxes: Float32
    scores: Float32
    observed: Bool
    velocities: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """tracker -> store, tracker -> viewers: who is where in one frame.

    track_ids: (N,) int64, unique over all cameras and sessions of one store, 1 or more.
    identity_ids: (N,) int64, the person; 0 while undecided.  Never one identity twice.
    boxes: (N, 4) float32 pixels.  scores: (N,) float32.
    observed: (N,) bool, False where the box is only a prediction (nobody was detected there).
    velocities: (N, 2) float32 pixels/s of the box's centre.
    paths: (N, K, 2) float32, predicted foot points (x, y) in pixels at `PATH_STEP_S` steps from now.
    assignments: (M, 2) int64 rows (track, identity): from now on, for its whole history too, this
        track belongs to this identity.
    decision: how many times identities had been decided when this was made.  The cameras' streams reach the
        store in any order; of two answers to whom a track belongs the one of the later decision counts.
    settled: earlier frames of this camera, in order, each once; for the history.
    """

    stamp: FrameStamp
    track_ids: Int64
    identity_ids: Int64
    boxes: Float32
    scores: Float32
    observed: Bool
    velocities: Float32
    paths: Float32
    assignments: Int64
    decision: int = 0
    settled: tuple[Settled, ...] = ()


PATH_STEP_S = 0.2
"""Seconds between the points of `Tracks.paths`."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a stream, in order behind its last frame, on every link in turn.

    reason: "finished" (a recording is over), "stopped" (asked to), "failed" (see `detail`).
    frames: how many frames the stream had before this.
    assignments, decision, settled: from the tracker on, what was decided at the end, as in `Tracks`.
    """

    stamp: FrameStamp
    reason: str
    detail: str = ""
    frames: int = 0
    assignments: tuple[tuple[int, int], ...] = ()
    decision: int = 0
    settled: tuple[Settled, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """tracker -> store: all the tracker must remember to go on after a restart.

    positions: camera -> (session, last sequence number that `state` contains).
    state: opaque bytes of the active tracks.
    identities: identity -> opaque bytes, only those that changed since the previous checkpoint.
    events: the operator's decisions that `state` and `identities` contain and no earlier checkpoint did; the
        store keeps them in the transaction in which it keeps the checkpoint.
    ends: the same as `positions` for the ends of recordings that `state` contains.  An end has the number
        that the next frame has, if there is one after all.
    """

    positions: dict[int, tuple[int, int]]
    state: bytes
    identities: dict[int, bytes] = field(default_factory=dict)
    events: tuple[IdentityEvent, ...] = ()
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)


class Expected(NamedTuple):
    """Where somebody may appear next: the camera, how probably (0-1), after how many seconds on average."""

    camera: int
    probability: float
    after_s: float


@dataclass(frozen=True, slots=True)
class LastSeen:
    """Where a followed person was last seen.

    x, y: foot point, pixels of that camera's frame.
    sureness: probability (0-1) that it was this person.
    expected: where people went from there before, the most probable first; empty before any did.
    """

    identity: int
    name: str
    camera: int
    t_ns: int
    x: float
    y: float
    sureness: float = 1.0
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """tracker -> viewers: who is being followed, and where each was last seen; resent to newcomers."""

    people: tuple[LastSeen, ...] = ()


DECISIONS = ("follow", "unfollow", "name", "merge", "split", "forget")


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """tracker -> store: an operator's decision about an identity, to be kept for good.

    kind: one of `DECISIONS`.  value: the name, for "name"; for "merge" the number of the identity that is now
        this one; for "split" the number of the identity that this one was part of; else empty.
    tracks: for "split" and "forget" the tracks that the decision concerns; else empty.
    """

    identity: int
    kind: str
    t_ns: int
    value: str = ""
    tracks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Any service -> store: how a process is doing.  Best effort, the newest wins.

    service: "ingest", ...  instance: the camera id for ingest, else 0.
    readings: cpu_percent, rss_bytes, threads, ... (psutil) and counters of the service's own.
    """

    service: str
    instance: int
    host: str
    pid: int
    t_ns: int
    state: str
    readings: dict[str, float] = field(default_factory=dict)


Message: TypeAlias = Frame | People | Tracks | End | Checkpoint | Followed | IdentityEvent | Report
