from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.viewer.mosaic import Mosaic

SOURCES = st.dictionaries(
    st.integers(1, 1000), st.tuples(st.integers(1, 8000), st.integers(1, 8000)), min_size=0, max_size=40
)
SIDES = st.tuples(st.integers(1, 4000), st.integers(1, 3000))


@given(SOURCES, SIDES)
def test_tiles_lie_inside_the_picture_and_do_not_overlap(
    sources: dict[int, tuple[int, int]], size: tuple[int, int]
) -> None:
    places = [place for tile in Mosaic.arrange(sources, *size).tiles for place in (tile.bar, tile.image)]
    for place in places:
        assert place.width >= 1
        assert place.height >= 1
        assert place.x >= 0
        assert place.y >= 0
        assert place.x + place.width <= size[0]
        assert place.y + place.height <= size[1]
    for number, one in enumerate(places):
        for other in places[:number]:
            apart = (
                one.x + one.width <= other.x
                or other.x + other.width <= one.x
                or one.y + one.height <= other.y
                or other.y + other.height <= one.y
            )
            assert apart


@given(SOURCES, SIDES, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_point_of_a_camera_is_found_again_through_the_picture(
    sources: dict[int, tuple[int, int]], size: tuple[int, int], across: float, down: float
) -> None:
    mosaic = Mosaic.arrange(sources, *size)
    for tile in mosaic.tiles:
        x, y = across * tile.source[0] * 0.999, down * tile.source[1] * 0.999
        there = mosaic.from_camera(tile.camera, x, y)
        assert there is not None
        back = mosaic.to_camera(*there)
        assert back is not None
        assert back[0] == tile.camera
        assert back[1:] == pytest.approx((x, y), abs=1e-6 * max(tile.source))


@given(SOURCES, SIDES, st.integers(0, 4000), st.integers(0, 3000))
def test_a_pixel_of_the_picture_lies_in_at_most_one_camera_and_within_its_frame(
    sources: dict[int, tuple[int, int]], size: tuple[int, int], x: int, y: int
) -> None:
    found = Mosaic.arrange(sources, *size).to_camera(x, y)
    if found is not None:
        camera, camera_x, camera_y = found
        assert 0 <= camera_x < sources[camera][0]
        assert 0 <= camera_y < sources[camera][1]


@given(st.integers(1, 12))
def test_every_camera_has_a_tile_in_a_picture_of_usual_size(cameras: int) -> None:
    mosaic = Mosaic.arrange(dict.fromkeys(range(1, cameras + 1), (1280, 720)), 1280, 720)
    assert [tile.camera for tile in mosaic.tiles] == list(range(1, cameras + 1))


def test_pictures_keep_their_shape() -> None:
    for tile in Mosaic.arrange({1: (1920, 1080), 2: (354, 584), 3: (640, 480)}, 1280, 720).tiles:
        shape = tile.source[0] / tile.source[1]
        assert tile.image.width / tile.image.height == pytest.approx(shape, rel=0.02)


def test_upright_cameras_stand_side_by_side_and_wide_ones_on_top_of_each_other() -> None:
    upright = Mosaic.arrange({1: (300, 900), 2: (300, 900)}, 1000, 800).tiles
    wide = Mosaic.arrange({1: (900, 300), 2: (900, 300)}, 1000, 800).tiles
    assert upright[0].image.y == upright[1].image.y
    assert wide[0].image.x == wide[1].image.x


def test_outside_every_image_there_is_no_camera() -> None:
    mosaic = Mosaic.arrange({1: (640, 480)}, 640, 480)
    bar = mosaic.tiles[0].bar
    assert mosaic.to_camera(bar.x + 1, bar.y + 1) is None
    assert mosaic.to_camera(-1, 5) is None
    assert mosaic.from_camera(2, 0, 0) is None
