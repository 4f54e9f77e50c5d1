"""What became of the frames of a camera that are not in its history, in words."""

from __future__ import annotations

from services.store.statistics import CameraStatistics

_PLACES = (
    ("capture", "dropped after capture"),
    ("unsent", "not sent while the detector was busy or away"),
    ("detector", "dropped at the detector for newer ones"),
    ("tracker", "dropped at the tracker while the store was away"),
)


def missing_text(camera: CameraStatistics) -> str:
    """How many of a camera's frames are missing and where they went, as one line; "" where none is."""
    if not camera.missing:
        return ""
    frames = f"{camera.missing} frame{'s' * (camera.missing > 1)} missing"
    counted = [(getattr(camera.losses, field), words) for field, words in _PLACES]
    places = [f"{count} {words}" for count, words in counted if count]
    elsewhere = camera.missing - sum(count for count, _ in counted)
    if places and elsewhere:
        places.append(f"{elsewhere} lost elsewhere")
    return f"{frames} ({', '.join(places)})" if places else frames
