"""What the tracker of one camera has found, as messages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.tracker.camera_tracker import CameraTracker
from services.tracker.shown import PATH_POINTS
from shared.messages import FrameStamp, Settled, Tracks


def shown_tracks(
    camera: CameraTracker,
    stamp: FrameStamp,
    changes: Sequence[tuple[int, int]],
    decision: int,
    settled: Sequence[Settled],
) -> Tracks:
    """The tracks to show in the newest frame.

    changes: (track, identity) decided with this frame.  decision: its number.  settled: earlier frames as
        they turned out to be.
    """
    shown = camera.shown()
    tracks = [camera.tracks[number] for number in shown.tracks.tolist()]
    return Tracks(
        stamp=stamp,
        track_ids=np.array([track.track_id for track in tracks], np.int64),
        identity_ids=np.array([track.identity for track in tracks], np.int64),
        boxes=shown.boxes.astype(np.float32),
        scores=shown.scores,
        observed=shown.observed,
        velocities=shown.velocities,
        paths=shown.paths,
        assignments=np.array(changes, np.int64).reshape(-1, 2),
        decision=decision,
        settled=tuple(settled),
    )


def settled_frames(camera: CameraTracker, stamps: dict[int, FrameStamp]) -> list[Settled]:
    """What the camera's tracker has settled; takes the stamps of those frames out of `stamps`, by time."""
    return [
        Settled(
            stamp=stamps.pop(each.t_ns),
            track_ids=each.ids,
            boxes=each.boxes,
            scores=each.scores,
            observed=each.observed,
            velocities=each.velocities,
        )
        for each in camera.settled
    ]


def no_tracks(stamp: FrameStamp) -> Tracks:
    """A frame in which nobody is tracked."""
    return Tracks(
        stamp=stamp,
        track_ids=np.empty(0, np.int64),
        identity_ids=np.empty(0, np.int64),
        boxes=np.empty((0, 4), np.float32),
        scores=np.empty(0, np.float32),
        observed=np.empty(0, np.bool_),
        velocities=np.empty((0, 2), np.float32),
        paths=np.empty((0, PATH_POINTS, 2), np.float32),
        assignments=np.empty((0, 2), np.int64),
    )
