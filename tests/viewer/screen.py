"""A real X server without a monitor, a window manager, real mouse and keys, and what can be seen there."""

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

# As on a desktop somebody tells windows that they are shown; they get no frame and lie at the upper left.
_WINDOW_MANAGER = """<?xml version="1.0"?>
<openbox_config xmlns="http://openbox.org/3.4/rc"><theme><keepBorder>no</keepBorder></theme>
<applications><application class="*">
<decor>no</decor><position force="yes"><x>0</x><y>0</y></position>
</application></applications></openbox_config>
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until it is so; fails, saying what did not happen, after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)


class Screen:
    """Xvfb and openbox on a free display; the environment of programs that show on it is `environment`."""

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
        rules = Path(self._folder.name) / "openbox.xml"
        rules.write_text(_WINDOW_MANAGER)
        self._manager = subprocess.Popen(
            ["openbox", "--sm-disable", "--config-file", str(rules)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: bool(self.xdotool("get_num_desktops")), "a window manager on the screen")

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
            return bool(self.seen()[:20, :20].any(axis=-1).mean() > 0.5)  # the empty screen is black

        wait_until(painted, f"a window called {title}")
        return found[-1]

    def press(self, window: str, key: str) -> None:
        """Press a key in a window."""
        self.xdotool("windowactivate", "--sync", window)
        # Not sent to the window by name: where the press ends the window, the release would be lost, and the
        # key stay down for the next one.
        self.xdotool("key", key)

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
        self._manager.terminate()
        self._manager.wait()
        self._server.terminate()
        self._server.wait()
        self._folder.cleanup()
