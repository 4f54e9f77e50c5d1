from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.viewer.drawing import annotate, draw, label_of
from services.viewer.palette import UNDECIDED, WHITE, identity_colour
from services.viewer.trail import TrailMemory
from tests.viewer.samples import GROUND, near, picture, stamp, tracks

BOX = (120.0, 80.0, 160.0, 200.0)
LEFT_EDGE = (slice(95, 195), slice(118, 123))


def test_the_picture_itself_is_left_as_it_was() -> None:
    image = picture()
    annotated = annotate(image, tracks(stamp(), [BOX], [3]))
    assert (image == GROUND).all()
    assert not (annotated == GROUND).all()


def test_nobody_there_changes_nothing() -> None:
    assert (annotate(picture(), tracks(stamp())) == GROUND).all()


def test_a_box_has_the_colour_of_its_identity_on_its_edge_and_not_inside() -> None:
    annotated = annotate(picture(), tracks(stamp(), [BOX], [3]))
    assert near(annotated[LEFT_EDGE], identity_colour(3)).any(axis=1).all()
    assert (annotated[110:190, 130:150] == GROUND).all()


def test_the_undecided_are_drawn_in_grey() -> None:
    annotated = annotate(picture(), tracks(stamp(), [BOX], [0]))
    assert near(annotated[LEFT_EDGE], UNDECIDED, 5).any(axis=1).all()


def test_a_predicted_box_is_dashed() -> None:
    annotated = annotate(picture(), tracks(stamp(), [BOX], [3], observed=[False]))
    coloured = near(annotated[LEFT_EDGE], identity_colour(3)).any(axis=1)
    assert 0.3 < coloured.mean() < 0.9


def test_a_followed_person_s_box_is_thicker_and_bright() -> None:
    plain = annotate(picture(), tracks(stamp(), [BOX], [3]))
    marked = annotate(picture(), tracks(stamp(), [BOX], [3]), followed={3})
    row = 150

    def changed(image: np.ndarray) -> int:
        return int((image[row, 100:140] != GROUND).any(axis=-1).sum())

    assert changed(marked) >= 2 * changed(plain)
    assert near(marked[row, 100:140], WHITE, 5).any()
    assert not near(plain[row, 100:140], WHITE, 5).any()


def test_following_one_person_highlights_nobody_else() -> None:
    boxes = [BOX, (260.0, 80.0, 300.0, 200.0)]
    plain = annotate(picture(), tracks(stamp(), boxes, [3, 4]))
    marked = annotate(picture(), tracks(stamp(), boxes, [3, 4]), followed={3})
    assert (plain[:, 240:] == marked[:, 240:]).all()


def test_a_label_stands_above_the_box() -> None:
    annotated = annotate(picture(), tracks(stamp(), [BOX], [3]))
    assert near(annotated[62:78, 118:126], identity_colour(3), 5).any()


def test_a_label_of_a_person_at_the_upper_edge_stays_in_the_picture() -> None:
    annotated = annotate(picture(), tracks(stamp(), [(120.0, -5.0, 160.0, 200.0)], [3]))
    assert near(annotated[0:20, 122:132], identity_colour(3), 5).sum() > 40


def test_labels_of_people_side_by_side_do_not_cover_each_other() -> None:
    boxes = [(120.0, 80.0, 150.0, 200.0), (124.0, 82.0, 154.0, 200.0)]
    annotated = annotate(picture(), tracks(stamp(), boxes, [3, 4]))
    for identity in (3, 4):
        assert near(annotated, identity_colour(identity), 3).sum() > 250


def test_labels_are_short_unless_a_person_is_followed_or_named() -> None:
    assert label_of(0, followed=False, name="") == "?"
    assert label_of(7, followed=False, name="") == "7"
    assert label_of(7, followed=True, name="") == "★ Person 7"
    assert label_of(7, followed=False, name="Zoë") == "Zoë"
    assert label_of(7, followed=True, name="Zoë") == "★ Zoë"


def test_a_trail_fades_with_age() -> None:
    memory = TrailMemory()
    for index in range(40):
        x = 20.0 + 6 * index
        found = tracks(stamp(index=index), [(x - 5, 100.0, x + 5, 150.0)], [3])
        memory.update(found)
    annotated = annotate(picture(), tracks(stamp(index=39)), trails=memory.at(found.stamp.t_ns))
    colour = np.array(identity_colour(3), float)

    def strength(x: int) -> float:
        column = annotated[140:160, x].astype(float)
        full = np.linalg.norm(colour - GROUND)
        return float((np.linalg.norm(column - GROUND, axis=1) / full).max())

    assert strength(60) < strength(150) < strength(235)
    assert strength(60) < 0.45
    assert strength(235) > 0.7


def test_a_predicted_path_is_a_row_of_dots() -> None:
    path = [(140.0 + 25 * step, 200.0) for step in range(1, 6)]
    annotated = annotate(picture(), tracks(stamp(), [BOX], [3], paths=[path]))
    row = (annotated[198:203, 170:260] != GROUND).any(axis=(0, 2))
    changes = np.count_nonzero(np.diff(row.astype(int)) == 1)
    assert changes >= 4
    assert not row.all()


def test_no_path_is_drawn_for_who_stands() -> None:
    path = [(140.0 + 0.1 * step, 200.0) for step in range(1, 6)]
    standing = annotate(picture(), tracks(stamp(), [BOX], [3], paths=[path]))
    assert (standing == annotate(picture(), tracks(stamp(), [BOX], [3]))).all()


def test_tracks_are_drawn_at_the_scale_of_the_canvas() -> None:
    canvas = picture((640, 480))
    draw(canvas, tracks(stamp(), [BOX], [3]), scale=2.0)
    assert near(canvas[200:380, 236:246], identity_colour(3)).any(axis=1).all()


def test_lines_and_letters_grow_with_the_picture() -> None:
    small = annotate(picture((320, 240)), tracks(stamp(), [BOX], [3]))
    large = picture((1920, 1440))
    draw(large, tracks(stamp(), [BOX], [3]), scale=6.0)
    small_px = int((small[150, 100:140] != GROUND).any(axis=-1).sum())
    large_px = int((large[900, 600:840] != GROUND).any(axis=-1).sum())
    assert large_px >= 2 * small_px


@given(
    st.lists(st.tuples(*[st.floats(-(2.0**99), 2.0**99, width=32)] * 4), min_size=1, max_size=4),
    st.booleans(),
)
def test_boxes_anywhere_are_drawn_or_left_out(
    boxes: list[tuple[float, float, float, float]], observed: bool
) -> None:
    paths = [[(box[0], box[1]), (box[2], box[3])] for box in boxes]
    identities = list(range(len(boxes)))
    found = tracks(stamp(), boxes, identities, observed=[observed] * len(boxes), paths=paths)
    assert annotate(picture(), found, followed={1}).shape == (240, 320, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (16, 16)])
def test_a_tiny_picture_is_no_difficulty(size: tuple[int, int]) -> None:
    found = tracks(
        stamp(size=size), [(0.0, 0.0, 5.0, 5.0), (3.0, 3.0, 3.0, 3.0)], [1, 2], observed=[True, False]
    )
    assert annotate(picture(size), found, followed={1}).shape == (size[1], size[0], 3)
