from __future__ import annotations

from services.viewer.controls import KEYS, Click, Closed, Controls, Key, Select, Unfollow
from services.viewer.scene import Scene
from shared.messages import Followed, LastSeen
from tests.viewer.samples import START_NS, shown


def _scene() -> Scene:
    scene = Scene({1: "Gate"})
    scene.show(shown(1, 0, [(120.0, 80.0, 160.0, 200.0)], [3]), 0)
    scene.follow(Followed((LastSeen(3, "", 1, START_NS, 0, 0),)))
    scene.picture(1280, 720, 0, keys=KEYS)
    return scene


def _click(scene: Scene, x: float, y: float) -> Click:
    point = scene.point_of(1, x, y)
    assert point is not None
    return Click(*point)


def test_s_switches_selecting_mode_on_and_off() -> None:
    controls, scene = Controls(), _scene()
    assert not controls.selecting
    controls.handle(Key("s"), scene)
    assert controls.selecting
    controls.handle(Key("s"), scene)
    assert not controls.selecting


def test_a_click_in_selecting_mode_selects_that_point_of_the_camera() -> None:
    controls, scene = Controls(), _scene()
    controls.handle(Key("s"), scene)
    command = controls.handle(_click(scene, 140, 150), scene)
    assert isinstance(command, Select)
    assert (command.camera, round(command.x), round(command.y)) == (1, 140, 150)


def test_a_click_outside_selecting_mode_does_nothing() -> None:
    scene = _scene()
    assert Controls().handle(_click(scene, 140, 150), scene) is None


def test_a_click_beside_every_camera_does_nothing() -> None:
    controls, scene = Controls(), _scene()
    controls.handle(Key("s"), scene)
    assert controls.handle(Click(1, 1), scene) is None


def test_a_click_on_a_cross_ends_the_following_of_that_person() -> None:
    scene = _scene()
    spots = [Click(x, y) for x in range(1040, 1280, 4) for y in range(0, 200, 4)]
    assert {Controls().handle(spot, scene) for spot in spots} == {None, Unfollow(3)}


def test_q_escape_and_closing_the_window_quit() -> None:
    for event in (Key("q"), Key("escape"), Closed()):
        controls = Controls()
        controls.handle(event, _scene())
        assert controls.quit


def test_f_switches_full_screen() -> None:
    controls = Controls()
    controls.handle(Key("f"), _scene())
    assert controls.full_screen


def test_other_keys_do_nothing() -> None:
    controls = Controls()
    controls.handle(Key("x"), _scene())
    assert (controls.selecting, controls.full_screen, controls.quit) == (False, False, False)
