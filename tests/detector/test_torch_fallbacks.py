"""What the torch family makes of what fails; the failures are injected, the rest is real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.detector.picture import Image

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")

from services.detector import torch_family  # noqa: E402 - as above
from services.detector.extractor import FeatureExtractor  # noqa: E402 - as above
from services.detector.failure import FrameFailure  # noqa: E402 - as above
from services.detector.torch_family import FasterRcnnDetector, ResNetEmbedder  # noqa: E402 - as above
from services.detector.torch_rcnn import PeopleRcnn  # noqa: E402 - as above
from shared.config import Config  # noqa: E402 - as above
from shared.messages import Frame, FrameStamp, People  # noqa: E402 - as above
from tests.detector.fakes import MeanEmbedder  # noqa: E402 - as above


@pytest.fixture
def images(torch_images: list[Image]) -> list[Image]:
    return torch_images


def no_memory() -> Exception:
    error: Exception = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")
    return error


def test_a_batch_that_does_not_fit_is_halved_and_no_larger_one_is_tried_again(
    embedder: ResNetEmbedder,
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crops = [images[n % 3][n:] for n in range(7)]
    expected = embedder.embed(crops)
    tried: list[int] = []
    forward = embedder._run.exact.forward

    def cramped(values: Any) -> Any:
        tried.append(len(values))
        if len(values) > 2:
            raise no_memory()
        return forward(values)

    monkeypatch.setattr(embedder._run.exact, "forward", cramped)
    np.testing.assert_allclose(embedder.embed(crops), expected, atol=1e-4)
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert "resnet50: out of memory with 7 at once: 3 from now on" in caplog.text
    assert embedder.counts["resnet50_batch_halved"] == 2
    embedder.embed(crops)
    assert set(tried[9:]) == {1}


def test_a_single_picture_that_does_not_fit_is_made_smaller_and_others_are_not(
    detector: FasterRcnnDetector,
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch_family, "SMALLEST_INPUT_PX", 64)
    forward = detector._run.exact.backbone.forward

    def cramped(values: Any) -> Any:
        if values.shape[3] > 160:
            raise no_memory()
        return forward(values)

    wide, small = images[0].shape, images[1].shape
    monkeypatch.setattr(detector._run.exact.backbone, "forward", cramped)
    found = detector.detect(images[:1])

    assert len(found[0]) and found[0].boxes.max() > 128, "boxes are those of the picture as it came"
    assert detector.size_of(wide).scaled == (96, 127)
    assert detector.size_of(small).scaled == (128, 140), "another camera's pictures are not touched"
    assert detector.counts["fasterrcnn_resnet50_fpn_v2_input_shrunk"] == 1
    assert "its input is made smaller" in caplog.text


def test_where_nothing_fits_the_gpu_is_left_for_the_cpu_and_this_is_said_aloud(
    detector: FasterRcnnDetector,
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = detector.detect(images)
    pretend_gpu(detector, monkeypatch)
    monkeypatch.setattr(torch_family, "SMALLEST_INPUT_PX", 64)
    sizes: list[int] = []

    def cramped(values: Any) -> Any:
        sizes.append(values.shape[2])
        raise no_memory()

    monkeypatch.setattr(detector._run.exact.backbone, "forward", cramped)
    found = detector.detect(images)

    assert sizes == [128, 128, 96, 96], "two at once, one, smaller, smaller still"
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes, err_msg="at the full size again")
    assert detector.counts["fasterrcnn_resnet50_fpn_v2_moved_to_cpu"] == 1
    assert "runs on the CPU from now on, which takes seconds a frame" in caplog.text


def test_a_network_that_takes_one_size_only_leaves_the_gpu_when_one_item_does_not_fit(
    embedder: ResNetEmbedder, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedder.embed(images)
    pretend_gpu(embedder, monkeypatch)
    tried: list[int] = []

    def cramped(values: Any) -> Any:
        tried.append(len(values))
        raise no_memory()

    monkeypatch.setattr(embedder._run.exact.layer1, "forward", cramped)
    np.testing.assert_array_equal(embedder.embed(images), expected)
    assert tried == [3, 1]
    assert embedder.counts == {"resnet50_batch_halved": 1, "resnet50_moved_to_cpu": 1}


@pytest.mark.parametrize("network", ["detector", "embedder"])
def test_when_the_gpu_is_lost_the_same_batch_is_computed_on_the_cpu(
    network: str,
    request: pytest.FixtureRequest,
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = request.getfixturevalue(network)
    call = one.detect if network == "detector" else one.embed
    expected = call(images)
    pretend_gpu(one, monkeypatch)
    first = "backbone" if network == "detector" else "layer1"

    def lost(_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    monkeypatch.setattr(getattr(one._run.exact, first), "forward", lost)
    found = call(images)

    if network == "detector":
        np.testing.assert_array_equal(found[0].boxes, expected[0].boxes)
    else:
        np.testing.assert_array_equal(found, expected)
    assert one.counts[f"{one.name}_moved_to_cpu"] == 1
    assert "an illegal memory access" in caplog.text and "CPU from now on" in caplog.text


def pretend_gpu(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a network that runs on the CPU somewhere to go when that fails, as one on a GPU has."""
    monkeypatch.setattr(network._run, "spare", torch.device("cpu"))


def test_what_does_not_fit_on_the_cpu_either_costs_that_picture_only(
    detector: FasterRcnnDetector, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = detector._run.exact.backbone.forward

    def cramped(values: Any) -> Any:
        if values.shape[3] == 160:
            raise no_memory()
        return forward(values)

    monkeypatch.setattr(detector._run.exact.backbone, "forward", cramped)
    items = [
        (Frame(FrameStamp(1, 1, n, n, image.shape[1], image.shape[0]), b""), image)
        for n, image in enumerate(images)
    ]
    results = FeatureExtractor(detector, MeanEmbedder(), Config()).extract(items)
    assert [type(each) for each in results] == [People, FrameFailure, People]
    assert isinstance(results[1], FrameFailure) and "out of memory" in results[1].reason


def test_an_error_that_is_none_of_these_is_passed_on(
    detector: FasterRcnnDetector, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(detector._run.exact.backbone, "forward", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        detector.detect(images[:1])


@pytest.mark.parametrize(
    "part", ["rpn.head.cls_logits", "roi_heads.box_head.5", "roi_heads.box_predictor.cls_score"]
)
def test_nan_inside_the_network_is_an_error_not_an_empty_scene(
    detector: FasterRcnnDetector, images: list[Image], part: str
) -> None:
    with torch.no_grad():
        next(detector._run.exact.get_submodule(part).parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        detector.detect(images[:1])


def test_what_overflows_in_half_precision_is_computed_again_in_fp32(
    embedder: ResNetEmbedder,
    resnet: tuple[Any, Path],
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = embedder.embed(images)
    half = ResNetEmbedder(resnet[1], "cpu", "bf16")
    forward = half._run.half.forward
    monkeypatch.setattr(half._run.half, "forward", lambda values: forward(values) * float("inf"))
    np.testing.assert_array_equal(half.embed(images), expected)
    assert half.counts["resnet50_computed_again"] == 1
    assert "resnet50: the network answered with" in caplog.text and "again in fp32" in caplog.text


def test_suppression_that_is_not_final_is_done_again_with_more_rounds(
    detector: FasterRcnnDetector, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = detector.detect(images)
    people = PeopleRcnn.__call__

    def hasty(self: Any, batch: Any, size: Any, rounds: int = 1) -> Any:
        return people(self, batch, size, rounds)

    monkeypatch.setattr(PeopleRcnn, "__call__", hasty)
    found = detector.detect(images)
    assert detector.counts["suppressed_again"] == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
