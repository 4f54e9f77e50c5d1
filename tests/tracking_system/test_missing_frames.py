"""Missing frames in words."""

from __future__ import annotations

import pytest

from services.store.losses import FrameLosses
from services.store.statistics import CameraStatistics
from tracking_system.missing_frames import missing_text


@pytest.mark.parametrize(
    ("missing", "losses", "text"),
    [
        (0, FrameLosses(), ""),
        (1, FrameLosses(), "1 frame missing"),
        (2, FrameLosses(), "2 frames missing"),
        (
            14,
            FrameLosses(unsent=14),
            "14 frames missing (14 not sent while the detector was busy or away)",
        ),
        (
            11,
            FrameLosses(1, 2, 3, 4),
            "11 frames missing (1 dropped after capture, 2 not sent while the detector was busy or away, "
            "3 dropped at the detector for newer ones, 4 dropped at the tracker while the store was away, "
            "1 lost elsewhere)",
        ),
    ],
)
def test_missing_frames_are_told_with_where_they_went(missing: int, losses: FrameLosses, text: str) -> None:
    camera = CameraStatistics(1, "Gate", 1, 100, missing, losses, 0, 0, 0, 0, 0, 10.0, "stopped", "")
    assert missing_text(camera) == text
