from __future__ import annotations

import itertools

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.viewer.palette import UNDECIDED, WHITE, Colour, identity_colour, ink_on, mixed


def _lab(colours: list[Colour]) -> np.ndarray:
    image = (np.array(colours, np.float32) / 255)[None]
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2LAB)[0])


def test_the_first_twelve_identities_are_told_apart_by_colour() -> None:
    lab = _lab([identity_colour(identity) for identity in range(1, 13)])
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
    assert min(distances) > 20  # CIE 1976; about ten times what the eye just notices


def test_identities_numbered_side_by_side_differ_strongly() -> None:
    lab = _lab([identity_colour(identity) for identity in range(1, 200)])
    assert np.linalg.norm(np.diff(lab, axis=0), axis=1).min() > 40


@given(st.integers(1, 2**62))
def test_every_identity_has_a_bright_colour(identity: int) -> None:
    assert _lab([identity_colour(identity)])[0, 0] > 45


def test_the_undecided_are_grey() -> None:
    assert identity_colour(0) == UNDECIDED
    assert len(set(UNDECIDED)) == 1


@given(st.integers(1, 10_000))
def test_letters_on_an_identity_s_plate_contrast_with_it(identity: int) -> None:
    colour = identity_colour(identity)
    lightness = _lab([colour, ink_on(colour)])[:, 0]
    assert abs(lightness[0] - lightness[1]) > 40


def test_a_mixture_lies_between_its_colours() -> None:
    assert mixed((200, 100, 0), WHITE, 1.0) == (200, 100, 0)
    assert mixed((200, 100, 0), WHITE, 0.0) == WHITE
    assert mixed((200, 100, 0), (0, 0, 0), 0.5) == (100, 50, 0)
