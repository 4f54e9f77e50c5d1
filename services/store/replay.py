"""A stored run as the messages it came from, with what is known now: the settled identities."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from services.store.batch import PIXEL_UNITS, SCORE_UNITS
from services.store.history import History
from shared.messages import PATH_STEP_S, FrameStamp, Tracks

_FRAMES_AT_ONCE = 200
_PATH_STEPS = 10
_BEGINNING_OF_TIME_NS = -(1 << 63)
_END_OF_TIME_NS = (1 << 63) - 1


def replay(history: History, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Tracks]:
    """Every stored frame from `start_ns` up to, not including, `end_ns`, by (time, camera).

    Frames without people come too.  Boxes and scores are as they turned out, to 1/100 pixel and 1/10000.
    Velocities are those known when the frame was live, and predicted paths run straight on at them.  Where
    two tracks in one frame turned out to be one person's, the observed one with the higher score has the
    identity and the other is undecided (0).

    Reads a few frames at a time, so a slow consumer holds up neither the writer nor its log, and frames
    committed meanwhile are still met if their time has not been passed.
    """
    after_ns = _BEGINNING_OF_TIME_NS if start_ns is None else start_ns - 1
    end_ns = _END_OF_TIME_NS if end_ns is None else end_ns
    while True:
        # Whole instants only, so that the next stretch can begin by time alone.
        ((until_ns,),) = history.select(
            "SELECT max(t_ns) FROM "
            "(SELECT t_ns FROM frames WHERE t_ns > ? AND t_ns < ? ORDER BY t_ns LIMIT ?)",
            after_ns,
            end_ns,
            _FRAMES_AT_ONCE,
        )
        if until_ns is None:
            return
        rows = history.select(
            "SELECT s.camera, s.session, f.frame_index, f.t_ns, f.width, f.height, o.track, "
            "coalesce(t.identity, 0), o.x0, o.y0, o.x1, o.y1, o.vx, o.vy, o.score, o.observed "
            "FROM frames f JOIN sessions s USING (session_key) "
            "LEFT JOIN settled_observations o ON o.frame = f.frame "
            "LEFT JOIN tracks t USING (track) WHERE f.t_ns > ? AND f.t_ns <= ? "
            "ORDER BY f.t_ns, s.camera, s.session, f.frame_index, o.track",
            after_ns,
            until_ns,
        )
        for stamp, people in groupby(rows, key=lambda row: row[:6]):
            yield _tracks(FrameStamp(*stamp), [row[6:] for row in people if row[6] is not None])
        after_ns = until_ns


def _tracks(stamp: FrameStamp, people: list[tuple[Any, ...]]) -> Tracks:
    rows = np.array(people, dtype=np.int64).reshape(-1, 10)
    boxes = (rows[:, 2:6] / PIXEL_UNITS).astype(np.float32)
    velocities = (rows[:, 6:8] / PIXEL_UNITS).astype(np.float32)
    feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
    steps_s = PATH_STEP_S * np.arange(1, _PATH_STEPS + 1, dtype=np.float32)
    identities = rows[:, 1].copy()
    seen: set[int] = set()
    for row in np.lexsort((rows[:, 0], -rows[:, 8], -rows[:, 9])):
        if identities[row] in seen:
            identities[row] = 0
        seen.add(int(identities[row]))
    return Tracks(
        stamp=stamp,
        track_ids=rows[:, 0].copy(),
        identity_ids=identities,
        boxes=boxes,
        scores=(rows[:, 8] / SCORE_UNITS).astype(np.float32),
        observed=rows[:, 9].astype(np.bool_),
        velocities=velocities,
        paths=feet[:, None, :] + velocities[:, None, :] * steps_s[None, :, None],
        assignments=np.empty((0, 2), dtype=np.int64),
    )
