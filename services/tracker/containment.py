"""An exception on one message costs that message, and the tracks of its camera, and nothing else.

Recorded frames are sent again after a restart, so a message that ended the process would end it again.
"""

from __future__ import annotations

import logging
import traceback

from services.tracker.core import TrackerCore
from services.tracker.results import no_tracks
from shared.messages import End, People, Tracks

log = logging.getLogger(__name__)


class Containment:
    """Runs messages through a core, and answers those on which it fails as frames without people."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, int | None]] = set()

    def process(self, core: TrackerCore, message: People | End) -> Tracks | End:
        """What `TrackerCore.process` or `TrackerCore.end` returns, or the answer of `give_up`."""
        try:
            return core.end(message) if isinstance(message, End) else core.process(message)
        except Exception as error:  # noqa: BLE001 - as the module says
            return self.give_up(core, message, error)

    def give_up(self, core: TrackerCore, message: People | End, error: Exception) -> Tracks | End:
        """Log the error, let the camera's tracks begin anew, and return an answer without any track.

        The traceback is logged the first time that an error comes from its line of code.
        """
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = (place.filename, place.lineno)
        log.error(
            "camera %d, frame %d: the tracker failed (%s: %s); the frame counts as one in which nobody was "
            "seen, and the camera's tracks begin anew. Please report this with the traceback",
            message.stamp.camera,
            message.stamp.frame_index,
            type(error).__name__,
            error,
            exc_info=None if where in self._logged else error,
        )
        self._logged.add(where)
        core.recover(message.stamp.camera)
        return message if isinstance(message, End) else no_tracks(message.stamp)
