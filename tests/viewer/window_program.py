"""A program that shows a scene of known people in a window and tells each selection as a line of JSON.

Windows are tested in a process of their own: when its X server goes away, the toolkit ends the process.
"""

from __future__ import annotations

import json

from services.viewer.controls import KEYS, Controls, Select
from services.viewer.scene import Scene
from services.viewer.window import Window
from tests.viewer.samples import shown

TITLE = "viewer-under-test"
SIZE = (1280, 720)
BOXES = {1: (120.0, 80.0, 160.0, 200.0), 2: (400.0, 100.0, 460.0, 300.0)}


def scene() -> Scene:
    """Two cameras with one person each."""
    made = Scene({1: "Gate", 2: "Yard"})
    made.show(shown(1, 0, [BOXES[1]], [3]), 0)
    made.show(shown(2, 0, [BOXES[2]], [4], size=(640, 360), colour=(40, 60, 160)), 0)
    return made


def main() -> None:
    made, controls, window = scene(), Controls(), Window(TITLE, SIZE)
    while not controls.quit:
        window.show(made.picture(*window.size, 0, keys=KEYS, selecting=controls.selecting))
        for event in window.events(10):
            command = controls.handle(event, made)
            if isinstance(command, Select):
                print(json.dumps([command.camera, command.x, command.y]), flush=True)  # noqa: T201
    window.close()


if __name__ == "__main__":
    main()
