"""A real X server without a monitor, real mouse and keys on it, and what can be seen there."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZE = (1600, 1000)
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until it is so; fails, saying what did not happen, after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)


class Screen:
    """An Xvfb server on a free display; the environment of programs that show on it is `environment`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        reading, writing = os.pipe()
        self._server = subprocess.Popen(
            [
                "Xvfb",
                "-displayfd",
                str(writing),
                "-screen",
                "0",
                f"{SIZE[0]}x{SIZE[1]}x24",
                "-nolisten",
                "tcp",
                "-noreset",
                "-fbdir",
                self._folder.name,
            ],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as told:
            display = told.readline().strip()
        self.environment = {**os.environ, "DISPLAY": f":{display}"}
        self.environment.pop("QT_QPA_PLATFORM", None)

    def xdotool(self, *arguments: object) -> str:
        """Run xdotool; what it said, empty where it found nothing."""
        done = subprocess.run(
            ["xdotool", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def find(self, title: str) -> str:
        """The id of the window with this title, once it is there and painted; it lies at the upper left."""
        found: list[str] = []

        def painted() -> bool:
            found[:] = self.xdotool("search", "--onlyvisible", "--name", f"^{title}$").split()
            if not found:
                return False
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                if self.seen()[:20, :20].all():
                    return True
                time.sleep(0.02)
            # Where no window manager runs, Qt sometimes misses that its window has appeared and paints
            # nothing, ever; it notices when the window appears again.
            self.xdotool("windowunmap", "--sync", found[-1])
            self.xdotool("windowmap", "--sync", found[-1])
            return False

        wait_until(painted, f"a window called {title}")
        return found[-1]

    def press(self, window: str, key: str) -> None:
        """Press a key in a window."""
        self.xdotool("key", "--window", window, key)

    def click(self, window: str, x: float, y: float) -> None:
        """Click in a window, at pixels from its upper left corner."""
        self.xdotool("mousemove", "--window", window, round(x), round(y), "click", 1)

    def seen(self) -> NDArray[np.uint8]:
        """What the screen shows now: (height, width, 3) uint8 BGR."""
        # X window dump: a header of its own length, 12-byte colour map entries, then BGRX pixels.
        dump = np.fromfile(Path(self._folder.name) / "Xvfb_screen0", np.uint8)
        header = dump[:100].view(">u4")
        first = int(header[0]) + 12 * int(header[19])
        pixels = dump[first : first + 4 * SIZE[0] * SIZE[1]]
        return pixels.reshape(SIZE[1], SIZE[0], 4)[:, :, :3].copy()

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()
        self._folder.cleanup()
