"""Second boxes on one body: a track that is never apart from an older one is no person of its own."""

from __future__ import annotations

import numpy as np

from services.tracker.kalman import Float64
from services.tracker.track import Track

OWN_S = 0.2
"""So much time of its own makes a track somebody."""

COVERED = 0.7
"""Share of the smaller of two boxes that lies in the other, above which they may show one body."""

BESIDE = 0.25
"""What time counts in which both are detected in one frame: detectors seldom see a body twice for long."""

HERE_S = 0.4
"""Who was not detected for longer casts no shadow."""


def tell_apart(tracks: list[Track], boxes: Float64, t_ns: int) -> None:
    """Count the time that the tracks of one camera which were detected at t_ns have had for themselves.

    boxes: (N, 4) float64 `x0, y0, x1, y1` pixels, of these tracks, now.
    """
    asked = [i for i, track in enumerate(tracks) if track.own_s < OWN_S and track.last_ns == t_ns]
    if not asked:
        return
    sides = np.minimum(boxes[asked, None, 2:], boxes[None, :, 2:])
    sides = np.maximum(sides - np.maximum(boxes[asked, None, :2], boxes[None, :, :2]), 0.0)
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0)
    covered = sides.prod(axis=2) > COVERED * np.minimum(areas[asked, None], areas[None])
    for row, i in enumerate(asked):
        track = tracks[i]
        age = (track.first_ns, track.track_id)
        hosts = [
            other
            for other, over in zip(tracks, covered[row].tolist(), strict=True)
            if over and (other.first_ns, other.track_id) < age and (t_ns - other.last_ns) * 1e-9 < HERE_S
        ]
        since_ns = track.seen_ns[-2] if len(track.seen_ns) > 1 else t_ns
        passed_s = min((t_ns - since_ns) * 1e-9, OWN_S)
        if not hosts:
            track.own_s += passed_s
        elif all(host.last_ns == t_ns for host in hosts):
            track.own_s += BESIDE * passed_s
