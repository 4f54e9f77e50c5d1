from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.faces import CHANGES, likeness
from benchmarks.faces import people as labelled_people
from services.detector.family import Sighting
from services.detector.picture import Image
from services.detector.weights import manifest
from shared.errors import ModelError

pytest.importorskip("openvino", reason="OpenVINO is not installed here")

from services.detector.face import POINTS, POINTS_SIZE, FaceDescriber, aligned
from services.detector.families import DESCRIBERS
from services.detector.openvino_family import Network

UNLIKE = 0.35
"""Faces less alike than this are taken for those of different people."""


@pytest.fixture(scope="module")
def networks(shared_data: Path) -> list[Network]:
    files = [manifest()[name].variants[0].files[0].file for name in DESCRIBERS["face"]]
    return [Network(shared_data / "models" / file, 2) for file in files]


@pytest.fixture(scope="module")
def describer(networks: list[Network]) -> FaceDescriber:
    return FaceDescriber(*networks)


@pytest.fixture(scope="module")
def people(shared_data: Path) -> list[tuple[str, Sighting]]:
    """The labelled people of the pictures, and their picture's name."""
    return labelled_people(shared_data / "data/images/coco-val-100")


@pytest.mark.data
def test_the_same_face_is_told_from_different_faces(
    describer: FaceDescriber, people: list[tuple[str, Sighting]]
) -> None:
    found = likeness(describer, [one for _, one in people])
    assert found.faces >= 25
    accepted, mistaken = found.rates(UNLIKE)
    roc = f"area {found.area:.4f}; at {UNLIKE} {accepted:.1%} of the same and {mistaken:.1%} of others"
    assert found.area > 0.995, roc
    assert accepted > 0.95, roc
    assert mistaken < 0.015, roc
    assert found.lost < 0.3 * len(CHANGES) * found.faces, "most are found again"


@pytest.mark.data
def test_vectors_are_of_length_one_and_qualities_lie_between_0_and_1(
    describer: FaceDescriber, people: list[tuple[str, Sighting]]
) -> None:
    faces = [face for face in describer.describe([one for _, one in people]) if face]
    for face in faces:
        assert face.vector.shape == (256,) and face.vector.dtype == np.float32
        assert np.linalg.norm(face.vector) == pytest.approx(1, abs=1e-5)
        assert 0 < face.quality <= 1


@pytest.mark.data
def test_a_persons_face_does_not_depend_on_the_others_in_the_call(
    describer: FaceDescriber, people: list[tuple[str, Sighting]]
) -> None:
    some = [one for _, one in people[:12]]
    together = describer.describe(some)
    for one, face in zip(some, together, strict=True):
        (alone,) = describer.describe([one])
        assert (alone is None) == (face is None)
        if alone and face:
            assert alone.vector.tobytes() == face.vector.tobytes() and alone.quality == face.quality
    assert describer.describe([]) == []


@pytest.mark.data
def test_blurred_faces_and_people_from_behind_have_none(
    describer: FaceDescriber, people: list[tuple[str, Sighting]]
) -> None:
    blurred = [
        one._replace(image=np.asarray(cv2.GaussianBlur(one.image, (0, 0), float(size) / 12), np.uint8))
        for _, one in people
        for size in [one.box[2] - one.box[0]]
    ]
    assert describer.describe(blurred) == [None] * len(people)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    nobody = Sighting(noise, np.array([20, 10, 100, 190], np.float32), 1.0)
    assert describer.describe([nobody]) == [None]


@pytest.mark.data
def test_of_two_faces_near_one_head_none_is_taken(
    describer: FaceDescriber, people: list[tuple[str, Sighting]]
) -> None:
    name, one = next(each for each in people if each[0] == "000000006954")
    x0, y0, x1, y1 = (int(each) for each in one.box)
    assert name and describer.describe([one]) != [None]
    head = cv2.resize(one.image[y0 : y0 + (y1 - y0) // 2, x0:x1], (80, 80))

    def standing(heads: int) -> Sighting:
        image: Image = np.full((400, 300, 3), 128, np.uint8)
        for number in range(heads):
            image[45:125, 70 + 80 * number : 150 + 80 * number] = head
        return Sighting(image, np.array([60, 40, 240, 390], np.float32), 1.0)

    alone, together = describer.describe([standing(1), standing(2)])
    assert alone is not None
    assert together is None


def test_points_are_carried_to_where_the_network_expects_them() -> None:
    turn = cv2.getRotationMatrix2D((100.0, 100.0), 33, 1.7)
    points = (POINTS + 60) @ turn[:, :2].T + turn[:, 2]
    image: Image = np.zeros((300, 300, 3), np.uint8)
    for x, y in points:
        cv2.circle(image, (round(x), round(y)), 4, (255, 255, 255), -1)
    face = aligned(image, points.astype(np.float32))
    expected = POINTS * 128 / np.array(POINTS_SIZE)
    for x, y in expected:
        assert face[round(y), round(x)].min() > 128


@pytest.mark.data
def test_networks_in_the_wrong_order_are_refused(networks: list[Network]) -> None:
    with pytest.raises(ModelError, match="not the output of a face detector"):
        FaceDescriber(*networks[::-1])
