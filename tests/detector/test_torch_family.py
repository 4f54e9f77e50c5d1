"""The torch family against torchvision's own networks, with seeded random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.picture import Image
from shared.errors import ConfigError, ModelError

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")

SMALL: dict[str, Any] = {"min_size": 96, "max_size": 160, "rpn_post_nms_top_n_test": 40}


@pytest.fixture(scope="module")
def images() -> list[Image]:
    random = np.random.default_rng(1)
    sizes = [(96, 128), (80, 120), (96, 128)]
    noise = [random.integers(0, 256, (6, 8, 3), np.uint8) for _ in sizes]
    return [
        np.asarray(cv2.resize(each, size[::-1]), np.uint8) for each, size in zip(noise, sizes, strict=True)
    ]


@pytest.fixture(scope="module")
def faster_rcnn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """torchvision's network with random weights under which it sees people, and its state dict."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

    torch.manual_seed(3)
    network = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, box_score_thresh=0.1, **SMALL)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.bias[1] = 9.3
        network.roi_heads.box_predictor.bbox_pred.weight.mul_(0.1)
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


@pytest.fixture(scope="module")
def detector(faster_rcnn: tuple[Any, Path]) -> Any:
    from services.detector.torch_family import FasterRcnnDetector

    return FasterRcnnDetector(faster_rcnn[1], "cpu", **SMALL)


def test_detections_are_those_of_torchvisions_own_network(
    detector: Any, faster_rcnn: tuple[Any, Path], images: list[Image]
) -> None:
    rgb = torch.from_numpy(cv2.cvtColor(images[0], cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        expected = faster_rcnn[0]([rgb])[0]
    people = expected["labels"] == 1
    boxes = expected["boxes"][people].numpy()
    whole = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(axis=1)
    assert whole.sum() > 3

    found = detector.detect(images[:1])[0]

    np.testing.assert_allclose(found.boxes, boxes[whole], atol=1e-3)
    np.testing.assert_allclose(found.scores, expected["scores"][people].numpy()[whole], atol=1e-5)


def test_pictures_of_several_sizes_come_back_in_order(detector: Any, images: list[Image]) -> None:
    together = detector.detect(images)
    alone = [detector.detect([image])[0] for image in images]

    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
    assert len(together[1].boxes) and together[1].boxes[:, 2].max() <= images[1].shape[1]
    assert detector.detect([]) == []


def test_embeddings_are_torchvisions_pooled_features(tmp_path: Path, images: list[Image]) -> None:
    from torchvision.models import resnet50
    from torchvision.models.feature_extraction import create_feature_extractor

    from services.detector.torch_family import ResNetEmbedder

    torch.manual_seed(5)
    network = resnet50(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "resnet50.pth")
    crop = np.asarray(cv2.resize(images[0], (128, 256)), np.uint8)
    rgb = torch.from_numpy(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (rgb - mean[:, None, None]) / deviation[:, None, None]
    with torch.inference_mode():
        features = create_feature_extractor(network, ["flatten"])(normal[None])["flatten"][0].numpy()

    embedder = ResNetEmbedder(tmp_path / "resnet50.pth", "cpu")
    vectors = embedder.embed([images[0], crop])

    assert vectors.shape == (2, 2048) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[1], features / np.linalg.norm(features), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, 2048)


def test_a_damaged_state_dict_is_one_clear_error(tmp_path: Path) -> None:
    from services.detector.torch_family import ResNetEmbedder

    (tmp_path / "resnet50.pth").write_bytes(b"not a state dict")
    with pytest.raises(ModelError, match=r"resnet50\.pth is not a state dict"):
        ResNetEmbedder(tmp_path / "resnet50.pth", "cpu")


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    from services.detector.torch_family import chosen_device

    with pytest.raises(ConfigError, match="device cuda:77 cannot be used"):
        chosen_device("cuda:77")
    with pytest.raises(ConfigError, match="device teapot cannot be used"):
        chosen_device("teapot")


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.02)])
def test_half_precision_finds_the_same_people_within_its_tolerance(
    detector: Any, faster_rcnn: tuple[Any, Path], images: list[Image], precision: str, tolerance: float
) -> None:
    from services.detector.torch_family import FasterRcnnDetector

    exact = detector.detect(images)
    rounded = FasterRcnnDetector(faster_rcnn[1], "cpu", precision, **SMALL).detect(images)
    matched, count = 0, 0
    for one, other in zip(exact, rounded, strict=True):
        for box, score in zip(one.boxes, one.scores, strict=True):
            if score > 0.3:
                sides = np.minimum(box[2:], other.boxes[:, 2:]) - np.maximum(box[:2], other.boxes[:, :2])
                shared = np.maximum(sides, 0).prod(axis=1)
                areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (box, other.boxes)]
                close = shared / (areas[0] + areas[1] - shared) > 0.7
                matched += bool((close & (np.abs(other.scores - score) < tolerance)).any())
                count += 1
    assert count > 5
    # Random weights see many boxes over each other, and rounding decides which of them stay.
    assert matched >= 0.85 * count


@pytest.fixture
def embedder(tmp_path: Path) -> Any:
    from torchvision.models import resnet50

    from services.detector.torch_family import ResNetEmbedder

    torch.manual_seed(5)
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50.pth")
    return ResNetEmbedder(tmp_path / "resnet50.pth", "cpu")


def test_a_batch_that_does_not_fit_is_halved_and_no_larger_one_is_tried_again(
    embedder: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crops = [images[n % 3][n:] for n in range(7)]
    expected = embedder.embed(crops)
    tried: list[int] = []
    forward = embedder._run.network.forward

    def cramped(pixels: Any) -> Any:
        tried.append(len(pixels))
        if len(pixels) > 2:
            raise torch.cuda.OutOfMemoryError("no memory")
        return forward(pixels)

    monkeypatch.setattr(embedder._run.network, "forward", cramped)
    np.testing.assert_allclose(embedder.embed(crops), expected, atol=1e-5)
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert "resnet50 does not fit into memory with 7 at once: 3 from now on" in caplog.text
    embedder.embed(crops)
    assert set(tried[9:]) == {1}


def test_a_picture_that_does_not_fit_alone_costs_itself_only(
    detector: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.detector.extractor import FeatureExtractor
    from services.detector.failure import FrameFailure
    from shared.config import Config
    from shared.messages import Frame, FrameStamp, People
    from tests.detector.fakes import MeanEmbedder

    forward = detector._run.network.forward

    def cramped(pictures: Any) -> Any:
        if any(each.shape[1] == 80 for each in pictures):
            raise torch.cuda.OutOfMemoryError("no memory")
        return forward(pictures)

    monkeypatch.setattr(detector._run.network, "forward", cramped)
    monkeypatch.setattr(detector._run, "most", 8)
    items = [
        (Frame(FrameStamp(1, 1, n, n, image.shape[1], image.shape[0]), b""), image)
        for n, image in enumerate(images)
    ]
    results = FeatureExtractor(detector, MeanEmbedder(), Config()).extract(items)
    assert [type(each) for each in results] == [People, FrameFailure, People]
    assert isinstance(results[1], FrameFailure) and "no memory" in results[1].reason


@pytest.mark.parametrize("part", ["rpn.head", "roi_heads.box_predictor"])
def test_nan_inside_the_network_is_an_error_not_an_empty_scene(
    faster_rcnn: tuple[Any, Path], images: list[Image], part: str
) -> None:
    from services.detector.torch_family import FasterRcnnDetector

    broken = FasterRcnnDetector(faster_rcnn[1], "cpu", **SMALL)
    with torch.no_grad():
        next(broken._run.network.get_submodule(part).parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        broken.detect(images[:1])


def test_what_overflows_in_half_precision_is_computed_again_in_fp32(
    embedder: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = embedder.embed(images)
    forward = embedder._run.network.forward

    def overflowing(pixels: Any) -> Any:
        answer = forward(pixels)
        return answer * float("inf") if torch.is_autocast_enabled("cpu") else answer

    monkeypatch.setattr(embedder._run, "precision", torch.bfloat16)
    monkeypatch.setattr(embedder._run.network, "forward", overflowing)
    np.testing.assert_array_equal(embedder.embed(images), expected)
    assert "resnet50 in torch.bfloat16" in caplog.text and "computed again in fp32" in caplog.text


def wrapped(state: dict[str, Any]) -> dict[str, Any]:
    """Checkpoints of one network as different training code keeps them."""
    backbone = {name: value for name, value in state.items() if not name.startswith("fc.")}
    head = {"classifier.weight": torch.zeros(751, 2048), "bottleneck.running_mean": torch.zeros(2048)}
    return {
        "plain with its classifier": state,
        "torchreid": {"state_dict": {f"module.{k}": v for k, v in {**backbone, **head}.items()}, "epoch": 60},
        "strong baseline": {**{f"base.{k}": v for k, v in backbone.items()}, **head},
        "fast-reid": {
            "model": {
                **{f"backbone.{k}": v for k, v in backbone.items()},
                "heads.weight": torch.zeros(751, 2048),
            }
        },
        "distributed": {f"module.backbone.{k}": v for k, v in backbone.items()}
        | {"module.heads.weight": torch.zeros(9, 2048)},
        "without counters": {k: v for k, v in backbone.items() if "num_batches" not in k},
    }


def test_checkpoints_of_common_re_identification_code_are_read(tmp_path: Path, images: list[Image]) -> None:
    from torchvision.models import resnet50

    from services.detector.torch_family import ResNetEmbedder

    torch.manual_seed(5)
    vectors = {}
    for layout, checkpoint in wrapped(resnet50(weights=None).state_dict()).items():
        torch.save(checkpoint, tmp_path / "reid.pth")
        vectors[layout] = ResNetEmbedder(tmp_path / "reid.pth", "cpu").embed(images[:1])
    for layout, vector in vectors.items():
        np.testing.assert_array_equal(vector, vectors["plain with its classifier"], err_msg=layout)


def test_a_checkpoint_of_another_network_says_what_is_missing(tmp_path: Path) -> None:
    from torchvision.models import resnet18, resnet50

    from services.detector.torch_family import ResNetEmbedder

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "small.pth")
    with pytest.raises(ModelError, match="of its parts are missing, layer1"):
        ResNetEmbedder(tmp_path / "small.pth", "cpu")
    state = resnet50(weights=None).state_dict()
    torch.save({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "thin.pth")
    with pytest.raises(ModelError, match=r"conv1\.weight is \(64, 3, 3, 3\) where \(64, 3, 7, 7\) belongs"):
        ResNetEmbedder(tmp_path / "thin.pth", "cpu")


def test_that_there_is_no_gpu_is_said_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from services.detector import torch_family

    monkeypatch.setattr(torch_family, "has_gpu", lambda: False)
    assert torch_family.chosen_device("auto").type == "cpu"
    assert "torch finds no GPU" in caplog.text
    assert torch_family.chosen_precision("auto", torch.device("cpu")) == torch.float32
    assert torch_family.chosen_precision("auto", torch.device("cuda")) == torch.float16
