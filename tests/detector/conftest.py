"""Seeded networks of the torch family, made once for all the tests that use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.detector.picture import Image


@pytest.fixture(scope="session")
def torch_one_thread() -> Iterator[None]:
    """Small networks; threads that wait for one another cost more than they give."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def torch_images(torch_one_thread: None) -> list[Image]:
    """Pictures in which the seeded detector sees people."""
    from tests.detector.torch_networks import pictures

    return pictures()


@pytest.fixture(scope="session")
def faster_rcnn(torch_one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """torchvision's network, and its state dict."""
    from tests.detector.torch_networks import saved_detector

    return saved_detector(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def resnet(torch_one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """torchvision's network, and its state dict."""
    from tests.detector.torch_networks import saved_embedder

    return saved_embedder(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def detector(faster_rcnn: tuple[Any, Path]) -> Any:
    """The seeded detector as the product runs it."""
    from services.detector.torch_family import FasterRcnnDetector
    from tests.detector.torch_networks import SMALL

    return FasterRcnnDetector(faster_rcnn[1], "cpu", **SMALL)


@pytest.fixture
def embedder(resnet: tuple[Any, Path]) -> Any:
    """The seeded embedder as the product runs it."""
    from services.detector.torch_family import ResNetEmbedder

    return ResNetEmbedder(resnet[1], "cpu")
