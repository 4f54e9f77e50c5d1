"""Messages for the tests of the store: a second is ten frames, everybody stands where told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.messages import FrameStamp, Tracks

START_NS = 1_714_564_800_000_000_000
"""2024-05-01T12:00:00Z"""

SECOND_NS = 1_000_000_000


def stamp(camera: int, frame: int, *, session: int = 1, t_ns: int | None = None) -> FrameStamp:
    if t_ns is None:
        t_ns = START_NS + frame * SECOND_NS // 10
    return FrameStamp(camera, session, frame, t_ns, 640, 480)


def tracks(
    at: FrameStamp,
    people: Sequence[tuple[int, int]] = (),
    *,
    assign: Sequence[tuple[int, int]] = (),
    scores: Sequence[float] | None = None,
    observed: Sequence[bool] | None = None,
    boxes: Sequence[Sequence[float]] | None = None,
    decision: int = 0,
) -> Tracks:
    """One frame with `people` as (track, identity); by default a track stands at x = 10 * track."""
    ids = np.array(people, dtype=np.int64).reshape(-1, 2)
    count = len(ids)
    if boxes is None:
        boxes = [(10.0 * track, 20.0, 10.0 * track + 30.0, 120.0) for track, _ in people]
    return Tracks(
        stamp=at,
        track_ids=ids[:, 0].copy(),
        identity_ids=ids[:, 1].copy(),
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.array(scores if scores is not None else [0.5] * count, dtype=np.float32),
        observed=np.array(observed if observed is not None else [True] * count, dtype=np.bool_),
        velocities=np.full((count, 2), 5.0, dtype=np.float32),
        paths=np.zeros((count, 10, 2), dtype=np.float32),
        assignments=np.array(assign, dtype=np.int64).reshape(-1, 2),
        decision=decision,
    )
