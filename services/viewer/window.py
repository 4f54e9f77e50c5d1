"""The window: OpenCV's own (Qt or GTK), its mouse and its keys.

Pictures are made at the window's size, so letters stay sharp however large it is drawn.
"""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.controls import Click, Closed, Event, Key
from shared.errors import TrackingError

SMALLEST = (320, 200)
LARGEST = (7680, 4320)

_ESCAPE = 27
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"
_PROBE_S = 30


@lru_cache(maxsize=1)
def check_display() -> None:
    """Raises TrackingError, with what to do, where no window can be opened."""
    # The toolkit under OpenCV ends the whole process when it finds no display, so another one tries first.
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
        failed, said = probe.returncode != 0, probe.stderr
    except subprocess.TimeoutExpired:
        failed, said = True, f"no answer within {_PROBE_S} s"
    if failed:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = next(
            (line for line in lines if "display" in line.lower()), lines[-1] if lines else "no reason"
        )
        raise TrackingError(
            f"no window can be opened ({reason}): set DISPLAY to a screen that can be reached, or record "
            "to a file with --record FILE"
        )


class Window:
    """One window; used from the thread that made it, best the main thread.

    Raises TrackingError where there is no display.
    """

    def __init__(self, title: str, size: tuple[int, int] = (1280, 720)) -> None:
        check_display()
        self._title = title
        self._size = size
        self._clicks: list[Click] = []
        self._full_screen = False
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL | cv2.WINDOW_FREERATIO)
        cv2.resizeWindow(title, *size)
        cv2.setMouseCallback(title, self._on_mouse)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what can be seen, in pixels; pictures look best at this size."""
        if self._is_open():
            _, _, width, height = cv2.getWindowImageRect(self._title)
            if width > 0 and height > 0:
                self._size = (
                    min(max(width, SMALLEST[0]), LARGEST[0]),
                    min(max(height, SMALLEST[1]), LARGEST[1]),
                )
        return self._size

    def show(self, picture: NDArray[np.uint8], *, full_screen: bool = False) -> None:
        """Show a picture; clicks are told in its pixels."""
        cv2.imshow(self._title, picture)
        if full_screen != self._full_screen:
            mode = cv2.WINDOW_FULLSCREEN if full_screen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, mode)
            self._full_screen = full_screen

    def events(self, wait_ms: int = 1) -> list[Event]:
        """What the operator did since the last call; lets the window work for at least `wait_ms`."""
        code = cv2.waitKey(max(wait_ms, 1))
        events: list[Event] = [*self._clicks]
        self._clicks.clear()
        if code >= 0:
            letter = chr(code & 0xFF).lower()
            events.append(Key("escape" if code & 0xFF == _ESCAPE else letter))
        if not self._is_open():
            events.append(Closed())
        return events

    def close(self) -> None:
        """Take the window away."""
        if self._is_open():
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False

    def _on_mouse(self, event: int, x: int, y: int, flags: int, data: object) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            self._clicks.append(Click(x, y))
