from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from services.viewer.controls import KEYS
from services.viewer.palette import ACCENT
from services.viewer.window import Window, check_display
from shared.errors import TrackingError
from tests.viewer.screen import PATIENCE_S, Screen, wait_until
from tests.viewer.window_program import BOXES, SIZE, TITLE, scene


@pytest.fixture
def program(screen: Screen) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.viewer.window_program"],
        env=screen.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.communicate()


def _selecting(screen: Screen) -> bool:
    seen = screen.seen()[: SIZE[1], : SIZE[0]]
    return bool((np.abs(seen[-200:, -200:].astype(int) - ACCENT).max(axis=-1) < 10).sum() > 1000)


def _middle(camera: int) -> tuple[float, float]:
    x0, y0, x1, y1 = BOXES[camera]
    return (x0 + x1) / 2, (y0 + y1) / 2


def test_the_window_shows_the_picture(screen: Screen, program: subprocess.Popen[str]) -> None:
    screen.find(TITLE)
    wanted = scene().picture(*SIZE, 0, keys=KEYS)
    wait_until(
        lambda: bool(np.mean(screen.seen()[: SIZE[1], : SIZE[0]] == wanted) > 0.99),
        "the picture on the screen",
    )


@pytest.mark.parametrize("camera", [1, 2])
def test_after_s_a_click_on_a_person_tells_the_camera_and_a_point_in_that_person_s_box(
    screen: Screen, program: subprocess.Popen[str], camera: int
) -> None:
    window = screen.find(TITLE)
    shown = scene()
    shown.picture(*SIZE, 0, keys=KEYS)
    point = shown.point_of(camera, *_middle(camera))
    assert point is not None
    screen.press(window, "s")
    wait_until(lambda: _selecting(screen), "selecting mode")
    screen.click(window, *point)
    assert program.stdout is not None
    told_camera, x, y = json.loads(program.stdout.readline())
    assert told_camera == camera
    x0, y0, x1, y1 = BOXES[camera]
    assert x0 < x < x1
    assert y0 < y < y1


def test_clicks_follow_a_window_of_another_size(screen: Screen, program: subprocess.Popen[str]) -> None:
    window = screen.find(TITLE)
    screen.xdotool("windowsize", "--sync", window, 900, 500)
    shown = scene()
    wanted = shown.picture(900, 500, 0, keys=KEYS, selecting=True)
    point = shown.point_of(2, *_middle(2))
    assert point is not None
    screen.press(window, "s")
    wait_until(lambda: bool(np.mean(screen.seen()[:500, :900] == wanted) > 0.99), "the smaller picture")
    screen.click(window, *point)
    assert program.stdout is not None
    camera, x, y = json.loads(program.stdout.readline())
    assert (camera, x, y) == (2, pytest.approx(_middle(2)[0], abs=2), pytest.approx(_middle(2)[1], abs=2))


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_q_and_escape_end_it(screen: Screen, program: subprocess.Popen[str], key: str) -> None:
    screen.press(screen.find(TITLE), key)
    assert program.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("display", [None, ":4093"])
def test_without_a_display_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, display: str | None
) -> None:
    check_display.cache_clear()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(TrackingError, match=r"display.*set DISPLAY.*--record FILE"):
        Window("nowhere")
