"""What keys and clicks mean, apart from any window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from services.viewer.scene import Scene

KEYS = (
    ("s", "select people on / off"),
    ("f", "full screen on / off"),
    ("q, Esc", "quit"),
)
"""Every key there is, and what it does; shown in the panel."""


@dataclass(frozen=True, slots=True)
class Key:
    """A pressed key: its letter, or "escape"."""

    name: str


@dataclass(frozen=True, slots=True)
class Click:
    """A press of the left button, in pixels of the picture that is shown."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The window was closed."""


Event: TypeAlias = Key | Click | Closed


@dataclass(frozen=True, slots=True)
class Select:
    """Follow the person at this point of a camera's frames, in its pixels."""

    camera: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Unfollow:
    """Follow this person no longer."""

    identity: int


Command: TypeAlias = Select | Unfollow


class Controls:
    """The state that keys change: selecting mode, full screen, and whether to quit."""

    def __init__(self) -> None:
        self.selecting = False
        self.full_screen = False
        self.quit = False

    def handle(self, event: Event, scene: Scene) -> Command | None:
        """Take in an event that happened on the scene's last picture; a command for the tracker, if any."""
        if isinstance(event, Click):
            return self._click(event, scene)
        if isinstance(event, Closed) or event.name in ("q", "escape"):
            self.quit = True
        elif event.name == "s":
            self.selecting = not self.selecting
        elif event.name == "f":
            self.full_screen = not self.full_screen
        return None

    def _click(self, click: Click, scene: Scene) -> Command | None:
        identity = scene.cross_at(click.x, click.y)
        if identity is not None:
            return Unfollow(identity)
        if not self.selecting:
            return None
        place = scene.camera_at(click.x, click.y)
        return None if place is None else Select(*place)
