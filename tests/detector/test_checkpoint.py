"""Weights of ResNet50 as people keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.detector.picture import Image
from shared.errors import ModelError

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return [np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)]


def test_a_damaged_state_dict_is_one_clear_error(tmp_path: Path) -> None:
    from services.detector.torch_family import ResNetEmbedder

    (tmp_path / "resnet50.pth").write_bytes(b"not a state dict")
    with pytest.raises(ModelError, match=r"resnet50\.pth is not a state dict"):
        ResNetEmbedder(tmp_path / "resnet50.pth", "cpu")


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
