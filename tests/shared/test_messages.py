"""The messages themselves."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from shared.messages import FrameStamp, empty_people
from tests.shared.samples import one_of_each, same


def test_a_frame_without_people_has_arrays_of_the_right_types_and_no_rows() -> None:
    stamp = FrameStamp(1, 2, 3, 4, 640, 480)
    nobody = empty_people(stamp)
    assert nobody.stamp == stamp
    assert (nobody.boxes.shape, nobody.scores.shape, nobody.flow.shape) == ((0, 4), (0,), (0, 2))
    assert {array.dtype for array in (nobody.boxes, nobody.scores, nobody.flow)} == {np.dtype(np.float32)}
    assert np.array_equal(nobody.camera_motion, np.array([[1, 0, 0], [0, 1, 0]]))
    assert nobody.features == {}


def test_messages_cannot_be_changed_on_their_way() -> None:
    for message in one_of_each():
        name = message.__slots__[0]
        with pytest.raises(FrozenInstanceError):
            setattr(message, name, None)


def test_samples_differ_from_one_another() -> None:
    made = one_of_each()
    assert [[same(a, b) for a in made] for b in made] == np.eye(len(made), dtype=bool).tolist()
