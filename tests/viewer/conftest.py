from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.viewer.screen import Screen


@pytest.fixture(scope="session")
def screen() -> Iterator[Screen]:
    """A screen to open windows on and click in."""
    missing = [program for program in ("Xvfb", "xdotool", "openbox") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: no screen to open a window on")
    screen = Screen()
    yield screen
    screen.close()
