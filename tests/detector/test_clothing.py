from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.family import Sighting
from services.detector.picture import Image
from services.detector.weights import manifest
from shared.codec import decode, encode
from shared.errors import ModelError
from shared.messages import Features, FrameStamp, People

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed here")

from openvino import opset13 as ops  # noqa: E402 - only where it is installed

from services.detector import clothing  # noqa: E402 - as above
from services.detector.clothing import ClothingDescriber, shown, words  # noqa: E402 - as above
from services.detector.families import DESCRIBERS  # noqa: E402 - as above
from services.detector.openvino_family import Network  # noqa: E402 - as above

SEEN: list[tuple[str, tuple[int, int, int, int], set[str], set[str]]] = [
    # picture, box, and what a person looking at it calls the upper and the lower garment; an empty set
    # where that garment is not to be seen.
    ("000000000872", (163, 126, 429, 606), {"white"}, {"white", "light grey"}),
    ("000000001000", (115, 152, 198, 380), {"white", "light grey"}, {"black"}),
    ("000000001000", (504, 191, 639, 480), {"white"}, {"black"}),
    ("000000001000", (410, 208, 525, 480), {"red"}, {"dark blue", "black"}),
    ("000000001000", (380, 159, 469, 479), {"black"}, {"black"}),
    ("000000001000", (330, 154, 413, 468), {"turquoise"}, {"white"}),
    ("000000001000", (52, 185, 111, 397), {"white", "light grey"}, {"white", "light grey"}),
    ("000000001268", (501, 77, 640, 421), {"black"}, {"dark blue", "black"}),
    ("000000003934", (31, 74, 102, 318), {"white", "light grey"}, {"white"}),
    ("000000004134", (576, 106, 636, 316), {"brown", "orange"}, {"black"}),
    ("000000004134", (0, 110, 70, 269), {"black"}, {"black"}),
    ("000000004134", (551, 149, 640, 425), set(), {"black"}),
    ("000000005001", (77, 244, 190, 479), {"white", "light grey"}, set()),
    ("000000005001", (41, 95, 148, 474), {"black"}, set()),
    ("000000005001", (119, 81, 188, 269), {"black", "dark blue"}, {"black"}),
    ("000000005001", (171, 31, 251, 185), {"white", "light grey"}, set()),
    ("000000005001", (354, 91, 517, 470), {"black", "dark blue"}, {"black"}),
    ("000000005193", (289, 171, 409, 400), {"black"}, {"black"}),
    ("000000005529", (79, 116, 255, 450), {"dark blue"}, {"black", "dark blue"}),
    ("000000006771", (534, 165, 640, 418), {"red"}, set()),
    ("000000006954", (1, 107, 163, 454), {"beige", "red", "pink"}, set()),
    ("000000007088", (179, 208, 276, 462), {"red", "dark red"}, {"dark blue"}),
    ("000000007511", (386, 240, 509, 472), {"black"}, {"black", "dark grey", "dark blue"}),
    ("000000008211", (411, 181, 478, 345), {"blue", "light blue"}, {"dark blue", "black"}),
    ("000000009448", (127, 101, 382, 631), {"pink", "purple"}, {"blue", "dark blue"}),
    ("000000009483", (36, 62, 177, 480), {"dark blue"}, {"dark blue"}),
    ("000000009891", (206, 92, 357, 416), {"grey", "dark grey"}, {"blue", "dark blue"}),
]

IN_LONG_TROUSERS = (10, 14, 18, 21, 22, 25)
IN_SHORT_ONES = (1, 2, 3, 4, 5, 6)
"""Rows of `SEEN`."""


@pytest.fixture(scope="module")
def describer(shared_data: Path) -> ClothingDescriber:
    file = manifest()[DESCRIBERS["clothing"][0]].variants[0].files[0].file
    return ClothingDescriber(Network(shared_data / "models" / file, 2))


@pytest.fixture(scope="module")
def sightings(shared_data: Path) -> list[Sighting]:
    """The people of `SEEN`."""
    folder = shared_data / "data/images/coco-val-100/images"
    images = {name: np.asarray(cv2.imread(str(folder / f"{name}.jpg")), np.uint8) for name, *_ in SEEN}
    return [Sighting(images[name], np.array(box, np.float32), 1.0) for name, box, *_ in SEEN]


@pytest.fixture(scope="module")
def vectors(describer: ClothingDescriber, sightings: list[Sighting]) -> np.ndarray:
    return described(describer, sightings)


def described(describer: ClothingDescriber, sightings: list[Sighting]) -> np.ndarray:
    found = describer.describe(sightings)
    assert all(found)
    return np.stack([each.vector for each in found if each])


@pytest.mark.data
def test_colours_are_named_as_a_person_names_them(vectors: np.ndarray) -> None:
    upper, lower = [], []
    for (*_, above, below), vector in zip(SEEN, vectors, strict=True):
        seen = shown(vector)
        upper += [seen.upper in above] if above else []
        lower += [seen.lower in below] if below else []
    assert sum(upper) >= 20 and np.mean(upper) >= 0.8
    # Over shorts and skirts the point at which the network sees the lower garment is on the legs.
    assert np.mean(lower) >= 0.6


@pytest.mark.data
@pytest.mark.parametrize(
    ("gains", "least"), [((0.75,) * 3, 0.8), ((1.15, 1.0, 0.87), 0.85), ((0.85, 1.0, 1.15), 0.85)]
)
def test_names_stay_in_other_light(
    describer: ClothingDescriber,
    sightings: list[Sighting],
    vectors: np.ndarray,
    gains: tuple[float, float, float],
    least: float,
) -> None:
    """Darker, bluer and redder: most garments keep their name, or one next to it that the table allows."""
    lit = [
        one._replace(image=np.clip(one.image * np.array(gains), 0, 255).astype(np.uint8)) for one in sightings
    ]
    kept = []
    for (*_, upper, lower), before, after in zip(SEEN, vectors, described(describer, lit), strict=True):
        kept += [shown(after).upper in upper | {shown(before).upper}] if upper else []
        kept += [shown(after).lower in lower | {shown(before).lower}] if lower else []
    assert np.mean(kept) >= least


@pytest.mark.data
def test_long_trousers_are_told_from_short_ones(vectors: np.ndarray) -> None:
    worn = [shown(vector).worn["long trousers"] for vector in vectors]
    assert min(worn[row] for row in IN_LONG_TROUSERS) > max(worn[row] for row in IN_SHORT_ONES)
    assert "long trousers" in words(vectors[10])
    assert "long trousers" not in words(vectors[5])


@pytest.mark.data
def test_the_vector_has_length_one_and_can_be_sent(vectors: np.ndarray) -> None:
    assert vectors.shape == (len(SEEN), clothing.DIMENSIONS) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    count = len(vectors)
    features = Features(np.arange(count, dtype=np.int32), vectors, np.ones(count, np.float32))
    people = People(
        stamp=FrameStamp(1, 1, 0, 0, 640, 480),
        boxes=np.tile(np.array([0, 0, 10, 20], np.float32), (count, 1)),
        scores=np.ones(count, np.float32),
        flow=np.zeros((count, 2), np.float32),
        camera_motion=np.eye(2, 3, dtype=np.float32),
        features={"clothing": features},
    )
    received = decode(encode(people))
    assert isinstance(received, People)
    assert words(received.features["clothing"].vectors[0]) == words(vectors[0])


@pytest.mark.data
def test_nobodys_description_depends_on_the_others(
    describer: ClothingDescriber, sightings: list[Sighting], vectors: np.ndarray
) -> None:
    for row in (0, 7, 20):
        assert described(describer, [sightings[row]])[0].tobytes() == vectors[row].tobytes()
    assert describer.describe([]) == []


def network(folder: Path, confidences: list[float], points: int = 2) -> Network:
    """A network that answers every picture alike."""
    image = ops.parameter([1, 3, 160, 80], np.float32, name="image")
    nothing = ops.reduce_sum(ops.multiply(image, np.float32(0)), np.array([0, 1, 2, 3]), keep_dims=True)
    answers = [
        ops.add(np.array(each, np.float32).reshape(1, -1, 1, 1), nothing)
        for each in [confidences, *[[0.5, 0.25 + 0.5 * n] for n in range(points)]]
    ]
    openvino.save_model(openvino.Model(answers, [image], "worn"), folder / "worn.xml", compress_to_fp16=False)
    return Network(folder / "worn.xml", 1)


def person(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> Sighting:
    """Somebody in two colours, BGR, before a wall that shows what white is."""
    image: Image = np.full((240, 320, 3), 230, np.uint8)
    image[20:120, 100:180] = upper
    image[120:220, 100:180] = lower
    return Sighting(image, np.array([100, 20, 180, 220], np.float32), 0.9)


def test_sex_and_hair_leave_no_trace_in_the_vector(tmp_path: Path) -> None:
    known = [0.0, 0.9, 0.1, 0.2, 0.7, 0.95, 0.0, 0.3]
    other = [1.0, 0.9, 0.1, 0.2, 0.7, 0.95, 1.0, 0.3]
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
    seen = person((200, 60, 30), (20, 20, 20))
    one = described(ClothingDescriber(network(tmp_path / "one", known)), [seen])
    two = described(ClothingDescriber(network(tmp_path / "other", other)), [seen])
    assert one.tobytes() == two.tobytes()


def test_the_numbers_can_be_read_back(tmp_path: Path) -> None:
    answer = [0.0, 0.9, 0.1, 0.85, 0.7, 0.95, 0.0, 0.3]
    (vector,) = described(
        ClothingDescriber(network(tmp_path, answer)), [person((40, 40, 200), (100, 30, 20))]
    )
    seen = shown(vector)
    assert seen.worn == pytest.approx(
        {"long trousers": 0.95, "long sleeves": 0.7, "coat": 0.3, "bag": 0.9, "backpack": 0.1, "hat": 0.85},
        abs=1e-4,
    )
    assert words(vector) == "red above, dark blue below, long trousers, bag, hat"


@pytest.mark.parametrize("trouble", [{"confidences": [0.5] * 7}, {"confidences": [0.5] * 8, "points": 1}])
def test_a_network_of_another_layout_is_refused(tmp_path: Path, trouble: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="not the outputs of a network of clothing"):
        ClothingDescriber(network(tmp_path, **trouble))


def test_nan_is_an_error_not_a_description(tmp_path: Path) -> None:
    broken = ClothingDescriber(network(tmp_path, [float("nan")] * 8))
    with pytest.raises(ValueError, match="NaN"):
        broken.describe([person((0, 0, 0), (0, 0, 0))])


def test_a_vector_of_another_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="a clothing vector has"):
        shown(np.ones(7, np.float32))
