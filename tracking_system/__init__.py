"""Follow people across many cameras.

    from tracking_system import MultiCameraTracker, Config

The names are loaded when they are first used, so that a service starts with its own parts alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tracking_system.version import __version__

if TYPE_CHECKING:
    from shared.config import Config
    from shared.errors import TrackingError
    from tracking_system.library import MultiCameraTracker

__all__ = ["Config", "MultiCameraTracker", "TrackingError", "__version__"]

_PLACES = {
    "Config": "shared.config",
    "MultiCameraTracker": "tracking_system.library",
    "TrackingError": "shared.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    return getattr(importlib.import_module(_PLACES[name]), name)
