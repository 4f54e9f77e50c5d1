from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.extractor import FeatureExtractor
from services.detector.failure import FrameFailure
from shared.codec import decode, encode
from shared.config import Config
from shared.messages import Motion, People
from tests.detector.fakes import (
    HEIGHT,
    WIDTH,
    MeanDescriber,
    MeanEmbedder,
    ScriptedDetector,
    frame,
    image,
)

STANDING = (100, 60, 140, 160, 0.9)
WEAK = (200, 60, 240, 160, 0.2)


def extractor(
    script: object = None,
    embedder: MeanEmbedder | None = None,
    describer: MeanDescriber | None = None,
) -> FeatureExtractor:
    detector = ScriptedDetector(script if callable(script) else lambda _: [STANDING])
    describers = {"clothing": describer} if describer else None
    return FeatureExtractor(detector, embedder or MeanEmbedder(), Config(), describers)


def test_a_person_comes_with_box_score_flow_and_appearance() -> None:
    shift = np.array([[1, 0, 2], [0, 1, -1]], np.float32)
    motion = Motion(np.full((6, 8, 2), (5, 3), np.float32), shift)

    (people,) = extractor().extract([(frame(1, motion=motion), image(1))])

    assert isinstance(people, People)
    np.testing.assert_allclose(people.boxes, [STANDING[:4]])
    np.testing.assert_allclose(people.scores, [0.9])
    np.testing.assert_allclose(people.flow, [[3, 4]], err_msg="the camera moved by (2, -1) of (5, 3)")
    np.testing.assert_array_equal(people.camera_motion, shift)
    appearance = people.features["appearance"]
    np.testing.assert_array_equal(appearance.of, [0])
    assert appearance.vectors.shape == (1, 3) and 0 < appearance.quality[0] <= 1
    assert isinstance(decode(encode(people)), People), "what is extracted can be sent"


def test_without_motion_the_flow_is_unknown_and_the_camera_still() -> None:
    (people,) = extractor().extract([(frame(1), image(1))])
    assert isinstance(people, People)
    assert np.isnan(people.flow).all()
    np.testing.assert_array_equal(people.camera_motion, np.eye(2, 3))


def test_a_weak_detection_is_reported_but_not_embedded() -> None:
    (people,) = extractor(lambda _: [STANDING, WEAK]).extract([(frame(1), image(1))])
    assert isinstance(people, People)
    np.testing.assert_allclose(people.scores, [0.9, 0.2])
    np.testing.assert_array_equal(people.features["appearance"].of, [0])


def test_an_empty_scene_is_people_with_no_rows() -> None:
    (people,) = extractor(lambda _: []).extract([(frame(1), image(1))])
    assert isinstance(people, People)
    assert people.boxes.shape == (0, 4) and people.flow.shape == (0, 2) and people.features == {}
    assert isinstance(decode(encode(people)), People)


def test_no_frames_are_no_results() -> None:
    assert extractor().extract([]) == []


@pytest.mark.parametrize("trouble", ["raise", "nan"])
def test_a_network_that_fails_on_one_frame_costs_that_frame_alone(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    def script(number: int) -> list[tuple[float, ...]]:
        if number != 3:
            return [STANDING]
        if trouble == "raise":
            raise RuntimeError("out of memory\nwith many more lines")
        return [(np.nan, 0, 10, 10, 0.9)]

    one = extractor(script)
    results = one.extract([(frame(n), image(n)) for n in range(1, 6)])

    assert [type(each) for each in results] == [People, People, FrameFailure, People, People]
    failure = results[2]
    assert isinstance(failure, FrameFailure) and failure.stamp.frame_index == 3
    assert failure.reason.startswith("scripted failed: ")
    assert one.counts["failed_frames"] == 1 and one.counts["frames"] == 5
    assert len(caplog.records) == 1 and "camera 1, frame 3" in caplog.text


def test_where_only_embedding_fails_people_are_reported_without_it(caplog: pytest.LogCaptureFixture) -> None:
    one = extractor(embedder=MeanEmbedder(poison=7))
    poisoned = image(1)
    poisoned[100, 120] = 7

    healthy, hurt = one.extract([(frame(1, camera=1), image(1)), (frame(1, camera=2), poisoned)])

    assert isinstance(healthy, People) and "appearance" in healthy.features
    assert isinstance(hurt, People) and len(hurt.boxes) == 1 and hurt.features == {}
    assert one.counts["failed_embeddings"] == 1
    assert "camera 2, frame 1 without appearance: mean failed: poisoned" in caplog.text


def test_what_is_seen_of_some_people_comes_with_their_rows() -> None:
    script = [(200.0, 60.0, 240.0, 160.0, 0.95), STANDING]
    describer = MeanDescriber(blind_from=150)
    (people,) = extractor(lambda _: script, describer=describer).extract([(frame(1), image(1))])

    assert isinstance(people, People) and describer.asked == 2
    np.testing.assert_array_equal(people.features["clothing"].of, [1])
    assert people.features["clothing"].vectors.shape == (1, 3)
    np.testing.assert_array_equal(people.features["appearance"].of, [0, 1])
    assert isinstance(decode(encode(people)), People), "what is extracted can be sent"


def test_describing_keeps_its_own_pace() -> None:
    describer = MeanDescriber()
    crowd = [(20.0 + 60 * n, 60.0, 50.0 + 60 * n, 160.0, 0.9) for n in range(5)]
    one = extractor(lambda _: crowd, describer=describer)
    asked = []
    for number in range(1, 9):
        before = describer.asked
        one.extract([(frame(number), image(number))])
        asked.append(describer.asked - before)
    assert asked[:3] == [2, 2, 1], "at most two who are new in one frame"
    assert max(asked[3:]) == 1 and sum(asked) > 5, "then one at a time, again and again"


def test_where_describing_fails_only_that_frame_goes_without_it(caplog: pytest.LogCaptureFixture) -> None:
    one = extractor(describer=MeanDescriber(poison=2))
    healthy, hurt = one.extract([(frame(1, camera=1), image(1)), (frame(2, camera=2), image(2))])

    assert isinstance(healthy, People) and set(healthy.features) == {"clothing", "appearance"}
    assert isinstance(hurt, People) and set(hurt.features) == {"appearance"}
    assert one.counts["failed_clothing"] == 1 and one.counts["clothing"] == 1
    assert "camera 2, frame 2 without clothing: mean describer failed: poisoned" in caplog.text


def test_a_new_session_begins_without_memory() -> None:
    embedder = MeanEmbedder()
    one = extractor(embedder=embedder)
    one.extract([(frame(1), image(1)), (frame(2), image(2))])
    assert embedder.crops == 1
    one.extract([(frame(3, session=2), image(3))])
    assert embedder.crops == 2
    one.forget(1)
    one.extract([(frame(4, session=2), image(4))])
    assert embedder.crops == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.data())
def test_results_do_not_depend_on_how_frames_were_batched(cameras: list[int], data: st.DataObject) -> None:
    def script(number: int) -> list[tuple[float, ...]]:
        x = 4.0 * number
        return [(x, 40, x + 40, 140, 0.9), (200 - x, 60, 240 - x, 150, 0.8), (0, 200, 20, 239, 0.5)]

    items = [(frame(n, camera), image(n)) for n, camera in enumerate(cameras, 1)]
    alone, together = (extractor(script, describer=MeanDescriber(blind_from=150)) for _ in range(2))
    expected = [people for item in items for people in alone.extract([item])]
    found: list[People | FrameFailure] = []
    while len(found) < len(items):
        size = data.draw(st.integers(1, 8))
        found += together.extract(items[len(found) : len(found) + size])

    for one, other in zip(expected, found, strict=True):
        assert isinstance(one, People) and isinstance(other, People)
        assert [bytes(each) for each in encode(one)] == [bytes(each) for each in encode(other)]


def test_boxes_and_crops_stay_inside_the_picture() -> None:
    outside = (-50.0, -50.0, WIDTH + 50.0, HEIGHT + 50.0, 0.9)
    (people,) = extractor(lambda _: [outside]).extract([(frame(1), image(1))])
    assert isinstance(people, People)
    np.testing.assert_array_equal(people.boxes, [[0, 0, WIDTH, HEIGHT]])
