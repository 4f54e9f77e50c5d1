from __future__ import annotations

import numpy as np
import pytest

from services.viewer.pairing import Shown
from services.viewer.palette import ALERT, WHITE, identity_colour
from services.viewer.scene import SILENT_S, Scene
from shared.messages import Followed, Frame, LastSeen
from tests.viewer.samples import GROUND, START_NS, near, shown, stamp, tracks

SIZE = (1280, 720)
BOX = (120.0, 80.0, 160.0, 200.0)
TITLES = {1: "Gate", 2: "Yard"}


def _scene() -> Scene:
    scene = Scene(TITLES)
    scene.show(shown(1, 0, [BOX], [3]), 0)
    scene.show(shown(2, 0, [BOX], [3], size=(640, 360), colour=(40, 60, 160)), 0)
    return scene


def _at(scene: Scene, picture: np.ndarray, camera: int, x: float, y: float) -> np.ndarray:
    point = scene.point_of(camera, x, y)
    assert point is not None
    return np.array(picture[round(point[1]), round(point[0])], int)


def _around(
    scene: Scene, picture: np.ndarray, camera: int, box: tuple[float, float, float, float]
) -> np.ndarray:
    first, last = scene.point_of(camera, *box[:2]), scene.point_of(camera, *box[2:])
    assert first is not None
    assert last is not None
    return picture[round(first[1]) - 12 : round(last[1]) + 12, round(first[0]) - 12 : round(last[0]) + 12]


def test_every_camera_is_seen_at_its_place_with_its_people() -> None:
    scene = _scene()
    picture = scene.picture(*SIZE, 0)
    assert picture.shape == (720, 1280, 3)
    assert _at(scene, picture, 1, 20, 200) == pytest.approx(GROUND, abs=4)
    assert _at(scene, picture, 2, 20, 200) == pytest.approx((40, 60, 160), abs=4)
    for camera in (1, 2):
        assert near(_around(scene, picture, camera, BOX), identity_colour(3)).any()


def test_a_followed_person_is_highlighted_in_every_camera() -> None:
    scene = _scene()
    plain = scene.picture(*SIZE, 0)
    scene.follow(Followed((LastSeen(3, "", 1, START_NS, 140, 200),)))
    marked = scene.picture(*SIZE, 0)
    for camera in (1, 2):
        before = near(_around(scene, plain, camera, BOX), WHITE, 5).sum()
        after = near(_around(scene, marked, camera, BOX), WHITE, 5).sum()
        assert after > before + 200


def test_a_point_of_the_picture_is_a_point_of_a_camera() -> None:
    scene = _scene()
    scene.picture(*SIZE, 0)
    point = scene.point_of(2, 300, 100)
    assert point is not None
    camera, x, y = scene.camera_at(*point) or (0, 0.0, 0.0)
    assert (camera, round(x), round(y)) == (2, 300, 100)


def test_a_silent_camera_is_dimmed_and_says_so() -> None:
    scene = _scene()
    lively = scene.picture(*SIZE, 0)
    scene.show(shown(2, 1, size=(640, 360)), int(5e9))
    silent = scene.picture(*SIZE, int(SILENT_S * 1e9) + 1)
    assert _at(scene, silent, 1, 20, 200).sum() < 0.5 * _at(scene, lively, 1, 20, 200).sum()
    assert near(silent, ALERT, 20).any()
    assert not near(lively, ALERT, 20).any()


def test_a_camera_that_has_ended_keeps_its_last_picture() -> None:
    scene = _scene()
    scene.end(1, "finished")
    scene.end(2, "finished")
    picture = scene.picture(*SIZE, int(60e9))
    assert _at(scene, picture, 1, 20, 200) == pytest.approx(GROUND, abs=4)
    assert not near(picture, ALERT, 20).any()


def test_before_anything_came_every_camera_has_no_signal() -> None:
    picture = Scene(TITLES).picture(*SIZE, 0)
    assert near(picture, ALERT, 20).any()


def test_a_frame_that_cannot_be_decoded_is_counted_and_the_last_picture_stays() -> None:
    scene = _scene()
    scene.picture(*SIZE, 0)
    of = stamp(1, 1)
    scene.show(Shown(Frame(of, b"no picture"), tracks(of)), 0)
    picture = scene.picture(*SIZE, 0)
    assert scene.undecodable == 1
    assert _at(scene, picture, 1, 20, 200) == pytest.approx(GROUND, abs=4)


@pytest.mark.parametrize("jpeg", [b"", b"\xff\xd8\xff", b"x" * 100])
def test_a_first_frame_that_cannot_be_decoded_leaves_its_tile_empty(jpeg: bytes) -> None:
    scene = Scene(TITLES)
    scene.show(Shown(Frame(stamp(), jpeg), None), 0)
    scene.picture(*SIZE, 0)
    assert scene.undecodable == 1


def test_the_panel_tells_where_a_followed_person_was_seen_since_by_the_frames_themselves() -> None:
    scene = Scene(TITLES)
    scene.follow(Followed((LastSeen(3, "", 1, START_NS - 10**12, 0, 0),)))
    before = scene.picture(*SIZE, 0)[:, 1040:]
    scene.show(shown(2, 0, [BOX], [3]), 0)
    assert (scene.picture(*SIZE, 0)[:, 1040:] != before).any()
    (entry,) = scene.entries()
    assert entry.places == ("Yard",)
    assert entry.t_ns == START_NS


def test_cameras_that_saw_a_person_together_are_named_together() -> None:
    scene = _scene()
    scene.follow(Followed((LastSeen(3, "", 2, START_NS, 0, 0),)))
    scene.show(shown(1, 1, [BOX], [3]), 0)
    assert scene.entries()[0].places == ("Gate", "Yard")
    scene.show(shown(1, 20, [BOX], [3]), 0)
    assert scene.entries()[0].places == ("Gate",)


def test_the_cross_of_a_followed_person_is_found_under_the_mouse() -> None:
    scene = _scene()
    scene.follow(Followed((LastSeen(3, "", 1, START_NS, 0, 0),)))
    scene.picture(*SIZE, 0, keys=(("q", "quit"),))
    found = {scene.cross_at(x, y) for x in range(1040, 1280, 4) for y in range(0, 720, 4)}
    assert found == {None, 3}


def test_unknown_cameras_are_left_out() -> None:
    scene = _scene()
    before = scene.picture(*SIZE, 0)
    scene.show(shown(9, 0, [BOX], [3]), 0)
    scene.end(9, "failed")
    assert (scene.picture(*SIZE, 0) == before).all()
