"""The torch family against torchvision's own networks, with seeded weights.

Everything here runs on the CPU what runs on a GPU: the device is all that differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from services.detector.light import power, relit
from services.detector.picture import Image
from shared.errors import ConfigError

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")

from benchmarks.seeded_networks import tensor  # noqa: E402 - only where torch is installed
from services.detector import torch_device, torch_rcnn  # noqa: E402 - as above
from services.detector.torch_family import FasterRcnnDetector, ResNetEmbedder  # noqa: E402 - as above
from services.detector.torch_picture import on_device, uploaded  # noqa: E402 - as above
from services.detector.torch_rcnn import PeopleRcnn  # noqa: E402 - as above
from tests.detector.torch_networks import (  # noqa: E402 - as above
    SMALL,
    matched,
)


@pytest.fixture
def images(torch_images: list[Image]) -> list[Image]:
    return torch_images


def test_detections_are_those_of_torchvisions_own_network(
    detector: FasterRcnnDetector, faster_rcnn: tuple[Any, Path], images: list[Image]
) -> None:
    with torch.inference_mode():
        expected = [faster_rcnn[0]([tensor(image)])[0] for image in images]
    for one, found in zip(expected, detector.detect(images), strict=True):
        people = one["labels"] == 1
        boxes = one["boxes"][people].numpy()
        whole = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(axis=1)
        assert whole.sum() > 3
        np.testing.assert_allclose(found.boxes, boxes[whole], atol=1e-2)
        np.testing.assert_allclose(found.scores, one["scores"][people].numpy()[whole], atol=1e-4)


def test_the_network_sees_pictures_in_usual_light(
    detector: FasterRcnnDetector,
    faster_rcnn: tuple[Any, Path],
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    washed_out = np.asarray(((images[0] / 255) ** 0.5 * 255).round(), np.uint8)
    size = detector.size_of(washed_out.shape)
    people = PeopleRcnn(faster_rcnn[0], 1)
    raw, wanted = (
        uploaded(image, torch.device("cpu"))[None]
        for image in (washed_out, relit(washed_out, power(washed_out)))
    )
    seen = people.prepared(raw, size)
    monkeypatch.setattr(torch_rcnn, "powers", lambda pictures: torch.ones(len(pictures)))
    assert (seen - people.prepared(wanted, size)).abs().max() < 0.02
    assert (seen - people.prepared(raw, size)).abs().mean() > 0.2


def test_a_picture_in_a_batch_gives_what_it_gives_alone(
    detector: FasterRcnnDetector, images: list[Image]
) -> None:
    together = detector.detect(images)
    alone = [detector.detect([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    assert len(together[1].boxes) and together[1].boxes[:, 2].max() <= images[1].shape[1]
    assert detector.detect([]) == []


class Tolerance(NamedTuple):
    """The least share of detections that have one like them in fp32, and how alike that is."""

    iou: float
    score: float
    least: float


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [
        # fp16 keeps 11 bits of a number: at most one detection in 41 is lost at a threshold.
        ("fp16", Tolerance(iou=0.9, score=0.02, least=0.97)),
        # bf16 keeps 8, and rounds eight times coarser.
        ("bf16", Tolerance(iou=0.5, score=0.16, least=0.95)),
    ],
)
def test_half_precision_finds_the_same_people_within_its_tolerance(
    faster_rcnn: tuple[Any, Path], images: list[Image], precision: str, tolerance: Tolerance
) -> None:
    exact = FasterRcnnDetector(faster_rcnn[1], "cpu", **SMALL).detect(images)
    half = FasterRcnnDetector(faster_rcnn[1], "cpu", precision, **SMALL).detect(images)
    for wanted, found, above in ((exact, half, 0.3), (half, exact, 0.3 + tolerance.score)):
        alike, count = matched(wanted, found, tolerance.iou, tolerance.score, above)
        assert count > 10
        assert alike >= tolerance.least * count, f"{alike} of {count}"


def test_networks_draw_no_random_numbers(
    detector: FasterRcnnDetector, embedder: ResNetEmbedder, images: list[Image]
) -> None:
    # While a thread records a CUDA graph, torch refuses every other thread random numbers of that GPU.
    before = torch.get_rng_state()
    detector.detect(images)
    embedder.embed(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_embeddings_are_torchvisions_pooled_features(
    embedder: ResNetEmbedder, resnet: tuple[Any, Path], images: list[Image]
) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    crop = np.asarray(cv2.resize(images[0], (128, 256)), np.uint8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (tensor(crop) - mean[:, None, None]) / deviation[:, None, None]
    with torch.inference_mode():
        features = create_feature_extractor(resnet[0], ["flatten"])(normal[None])["flatten"][0].numpy()

    vectors = embedder.embed([images[0], crop])

    assert vectors.shape == (2, 2048) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[1], features / np.linalg.norm(features), atol=1e-4)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=2e-2, err_msg="scaled here as OpenCV scales")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, 2048)


def test_crops_embedded_together_are_embedded_as_alone(embedder: ResNetEmbedder, images: list[Image]) -> None:
    crops = [image[n : 60 + 9 * n, n:] for n, image in enumerate(images * 2)]
    alone = np.concatenate([embedder.embed([crop]) for crop in crops])
    np.testing.assert_allclose(embedder.embed(crops), alone, atol=1e-4)


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("bf16", 0.995)])
def test_embeddings_in_half_precision_point_the_same_way(
    embedder: ResNetEmbedder, resnet: tuple[Any, Path], images: list[Image], precision: str, least: float
) -> None:
    exact = embedder.embed(images)
    half = ResNetEmbedder(resnet[1], "cpu", precision).embed(images)
    assert (exact * half).sum(axis=1).min() > least
    assert 1 - (exact @ exact.T)[0, 2] > 2 * (1 - least), "people differ by more than rounding does"


def test_pictures_on_the_device_give_what_pictures_in_memory_give(
    detector: FasterRcnnDetector, embedder: ResNetEmbedder, images: list[Image]
) -> None:
    there = [on_device(image, torch.device("cpu")) for image in images]
    for one, other in zip(detector.detect(there), detector.detect(images), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    parts = [each.part(10, 5, 60, 90) for each in there]
    np.testing.assert_array_equal(
        embedder.embed(parts), embedder.embed([each[5:90, 10:60] for each in images])
    )


def test_the_class_the_duplicates_and_the_size_can_be_set(
    detector: FasterRcnnDetector, faster_rcnn: tuple[Any, Path], images: list[Image]
) -> None:
    usual = detector.detect(images[:1])[0]
    none = FasterRcnnDetector(faster_rcnn[1], "cpu", label=7, **SMALL).detect(images[:1])[0]
    few = FasterRcnnDetector(faster_rcnn[1], "cpu", box_nms_thresh=0.05, **SMALL).detect(images[:1])[0]
    sure = FasterRcnnDetector(faster_rcnn[1], "cpu", lowest_score=0.6, **SMALL).detect(images[:1])[0]
    assert len(none) == 0, "of a class that the seeded weights never see"
    assert len(usual) > len(few) > 0 and len(usual) > len(sure) > 0
    assert detector.size_of((480, 640, 3)).scaled == (128, 170)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="device cuda:77 cannot be used"):
        torch_device.chosen_device("cuda:77")
    with pytest.raises(ConfigError, match="device teapot cannot be used"):
        torch_device.chosen_device("teapot")


def test_without_a_gpu_a_pinned_buffer_is_an_ordinary_one() -> None:
    buffer = torch_device.pinned((4, 6, 3))
    assert buffer.shape == (4, 6, 3) and buffer.dtype == np.uint8


def test_errors_are_told_apart_by_what_they_mean() -> None:
    full = RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
    lost = RuntimeError("CUDA error: device-side assert triggered")
    other = RuntimeError("shapes cannot be multiplied")
    assert [torch_device.out_of_memory(each) for each in (full, lost, other, MemoryError())] == [
        True,
        False,
        False,
        True,
    ]
    recording = RuntimeError("CUDA error: operation not permitted when stream is capturing")
    assert [torch_device.device_lost(each) for each in (lost, other, recording)] == [True, False, False]


def test_memory_that_torch_does_not_give_back_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        assert torch_device.ALONE.locked(), "no other thread records meanwhile"
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED\nmore")

    monkeypatch.setattr(torch.cuda, "empty_cache", refused)
    torch_device.give_memory_back(torch.device("cuda"))
    torch_device.give_memory_back(torch.device("cpu"))
    assert not torch_device.ALONE.locked()


def test_that_there_is_no_gpu_is_said_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch_device, "has_gpu", lambda: False)
    assert torch_device.chosen_device("auto").type == "cpu"
    assert "torch finds no GPU" in caplog.text
    assert torch_device.chosen_precision("auto", torch.device("cpu")) == torch.float32
    assert torch_device.chosen_precision("auto", torch.device("cuda")) == torch.float16
