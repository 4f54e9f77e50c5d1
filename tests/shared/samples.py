"""Messages to send in tests, and hypothesis strategies for every type of them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from shared.limits import MAX_AREA_PX, MAX_CAMERA, MAX_CLOCK_OFFSET_NS, MAX_SIDE_PX, MAX_T_NS
from shared.messages import (
    DECISIONS,
    Checkpoint,
    End,
    Expected,
    Features,
    Followed,
    Frame,
    FrameStamp,
    IdentityEvent,
    LastSeen,
    Message,
    Motion,
    People,
    Report,
    Settled,
    Tracks,
)

INT64_MAX = (1 << 63) - 1


def numbered(index: int, camera: int = 1, jpeg: bytes = b"\xff\xd8jpeg") -> Frame:
    """A frame that says which one it is."""
    return Frame(FrameStamp(camera, 7, index, index * 40_000_000, 640, 480), jpeg)


def index_of(message: Message) -> int:
    """What `numbered` numbered it with."""
    assert isinstance(message, Frame)
    return message.stamp.frame_index


def report(pid: int = 1) -> Report:
    return Report("ingest", 3, "edge", pid, 1, "running", {"cpu_percent": 1.5})


def tracks(people: int = 2) -> Tracks:
    ids = np.arange(1, people + 1, dtype=np.int64)
    return Tracks(
        FrameStamp(1, 2, 3, 4, 640, 480),
        ids,
        ids + 10,
        np.ones((people, 4), np.float32),
        np.full(people, 0.5, np.float32),
        np.ones(people, np.bool_),
        np.zeros((people, 2), np.float32),
        np.zeros((people, 5, 2), np.float32),
        np.zeros((0, 2), np.int64),
    )


def people(count: int = 3) -> People:
    return People(
        FrameStamp(1, 2, 3, 4, 640, 480),
        np.ones((count, 4), np.float32),
        np.full(count, 0.5, np.float32),
        np.full((count, 2), np.nan, np.float32),
        np.eye(2, 3, dtype=np.float32),
        {
            "appearance": Features(
                np.arange(count, dtype=np.int32),
                np.ones((count, 8), np.float32),
                np.ones(count, np.float32),
            )
        },
    )


def one_of_each() -> list[Message]:
    """A message of every type."""
    stamp = FrameStamp(1, 2, 3, 4, 640, 480)
    return [
        Frame(stamp, b"jpeg", Motion(np.ones((3, 4, 2), np.float32), np.eye(2, 3, dtype=np.float32))),
        people(),
        tracks(),
        End(stamp, "finished", "all", 3),
        Checkpoint(
            {1: (2, 3)},
            b"state",
            {1: b"one", 2: b""},
            (IdentityEvent(2, "split", 5, "1", (7, 9)),),
            {1: (2, 4)},
        ),
        Followed((LastSeen(1, "Ann", 2, 3, 4.0, 5.0, 0.9, (Expected(3, 0.75, 4.5),)),)),
        IdentityEvent(1, "forget", 2, "", (3, 4)),
        report(),
    ]


def same(a: object, b: object) -> bool:
    """Whether two messages say the same, arrays and buffers included."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    if is_dataclass(a) and is_dataclass(b):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (bytes, bytearray, memoryview)) and isinstance(b, (bytes, bytearray, memoryview)):
        return bytes(a) == bytes(b)
    return a == b


naturals = st.integers(0, INT64_MAX)
positives = st.integers(1, INT64_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
times = st.integers(0, MAX_T_NS)
cameras = st.integers(0, MAX_CAMERA)
sizes = st.tuples(st.integers(0, MAX_SIDE_PX), st.integers(0, MAX_SIDE_PX)).filter(
    lambda size: size[0] * size[1] <= MAX_AREA_PX
)
stamps = st.tuples(st.integers(1, MAX_CAMERA), naturals, naturals, times, sizes).map(
    lambda fields: FrameStamp(*fields[:4], *fields[4])
)
expected = st.lists(st.builds(Expected, cameras, finite, finite), max_size=3).map(tuple)
events = st.builds(
    IdentityEvent,
    positives,
    st.sampled_from(DECISIONS),
    naturals,
    texts,
    st.lists(positives, max_size=4).map(tuple),
)


def floats(*shape: int, nan: bool = False) -> st.SearchStrategy[NDArray[np.float32]]:
    elements = st.floats(width=32, allow_nan=nan, allow_infinity=nan)
    return hnp.arrays(np.float32, shape, elements=elements)


motions = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: st.builds(Motion, floats(*shape, 2), floats(2, 3))
)
frames = st.builds(Frame, stamps, st.binary(max_size=50), st.none() | motions)


@st.composite
def features_of(draw: Any, count: int) -> Features:
    of = draw(st.lists(st.integers(0, count - 1), unique=True).map(sorted)) if count else []
    rows, dimensions = len(of), draw(st.integers(0, 6))
    return Features(np.array(of, np.int32), draw(floats(rows, dimensions)), draw(floats(rows)))


@st.composite
def any_people(draw: Any) -> People:
    count = draw(st.integers(0, 4))
    return People(
        draw(stamps),
        draw(floats(count, 4)),
        draw(floats(count)),
        draw(floats(count, 2, nan=True)),
        draw(floats(2, 3)),
        draw(st.dictionaries(texts, features_of(count), max_size=3)),
        draw(st.integers(-MAX_CLOCK_OFFSET_NS, MAX_CLOCK_OFFSET_NS)),
    )


@st.composite
def any_settled(draw: Any) -> Settled:
    count = draw(st.integers(0, 3))
    return Settled(
        draw(stamps),
        draw(hnp.arrays(np.int64, count)),
        draw(floats(count, 4)),
        draw(floats(count)),
        draw(hnp.arrays(np.bool_, count)),
        draw(floats(count, 2)),
    )


@st.composite
def any_tracks(draw: Any) -> Tracks:
    count, steps, assigned = (draw(st.integers(0, 4)) for _ in range(3))
    return Tracks(
        draw(stamps),
        draw(hnp.arrays(np.int64, count)),
        draw(hnp.arrays(np.int64, count)),
        draw(floats(count, 4)),
        draw(floats(count)),
        draw(hnp.arrays(np.bool_, count)),
        draw(floats(count, 2)),
        draw(floats(count, steps, 2)),
        draw(hnp.arrays(np.int64, (assigned, 2))),
        draw(naturals),
        tuple(draw(st.lists(any_settled(), max_size=2))),
    )


messages: st.SearchStrategy[Message] = st.one_of(
    frames,
    any_people(),
    any_tracks(),
    st.builds(
        End,
        stamps,
        st.sampled_from(["finished", "stopped", "failed"]),
        texts,
        naturals,
        st.lists(st.tuples(naturals, naturals), max_size=2).map(tuple),
        naturals,
        st.lists(any_settled(), max_size=2).map(tuple),
    ),
    st.builds(
        Checkpoint,
        st.dictionaries(cameras, st.tuples(naturals, naturals), max_size=4),
        st.binary(max_size=30),
        st.dictionaries(positives, st.binary(max_size=10), max_size=4),
        st.lists(events, max_size=3).map(tuple),
    ),
    st.builds(
        Followed,
        st.lists(
            st.builds(LastSeen, positives, texts, cameras, naturals, finite, finite, finite, expected),
            max_size=4,
        ).map(tuple),
    ),
    events,
    st.builds(
        Report,
        texts,
        naturals,
        texts,
        naturals,
        naturals,
        texts,
        st.dictionaries(texts, finite, max_size=4),
    ),
)
