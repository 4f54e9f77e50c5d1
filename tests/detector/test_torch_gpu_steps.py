"""What runs on a GPU, run on tensors that have a device, a shape and a type but no content.

On such tensors torch refuses to mix devices, and to read a number on the processor, which would be a wait
that no CUDA graph can record.  So this tells on any machine whether the steps would run on a GPU, though not
how fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")

from torch._subclasses.fake_tensor import (  # noqa: E402 - as above
    DataDependentOutputException,
    FakeTensorMode,
)
from torchvision.models import resnet50  # noqa: E402 - as above
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2  # noqa: E402 - as above

from services.detector.torch_family import features_of  # noqa: E402 - as above
from services.detector.torch_picture import TorchPicture, averaged, on_device, sampled  # noqa: E402 - as above
from services.detector.torch_rcnn import FLAGS, PeopleRcnn, folded, rounded, size_for  # noqa: E402 - as above

GPU = torch.device("cuda", 0)
HEIGHT, WIDTH = 180, 320
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture
def empty_tensors() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        yield


def on_gpu(network: Any) -> Any:
    """The network with parameters and buffers of the same shapes on a GPU."""
    for module in network.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                there = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=GPU)
                module._parameters[name] = torch.nn.Parameter(there, requires_grad=False)
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = torch.empty_like(value, device=GPU)
    return network


@pytest.fixture(scope="module")
def detector() -> Any:
    network = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, min_size=128, max_size=256)
    return folded(network.eval()).requires_grad_(False)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_the_detector_is_one_row_of_work_on_a_gpu_without_a_wait(
    detector: Any, precision: Any, request: pytest.FixtureRequest
) -> None:
    network = rounded(detector, precision)
    request.getfixturevalue("empty_tensors")
    people = PeopleRcnn(on_gpu(network), 1)
    batch = torch.empty((2, 3, HEIGHT, WIDTH), dtype=torch.uint8, device=GPU)
    answer = people(batch, size_for(HEIGHT, WIDTH, 128, 256))
    assert answer.device == GPU
    assert answer.shape == (2 * 100 * 5 + FLAGS,)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_crops_are_cut_and_embedded_on_a_gpu_without_a_wait(
    precision: Any, request: pytest.FixtureRequest
) -> None:
    network = rounded(folded(resnet50(weights=None).eval()).requires_grad_(False), precision)
    request.getfixturevalue("empty_tensors")
    whole = torch.empty((3, HEIGHT, WIDTH), dtype=torch.uint8, device=GPU)
    picture = TorchPicture(whole, (0, 0, WIDTH, HEIGHT), lambda: np.empty((HEIGHT, WIDTH, 3), np.uint8))
    crops = [picture.part(10, 10, 60, 170).relit(), picture.part(5, 20, 90, 180)]
    values = sampled(crops, (128, 256), GPU)
    assert features_of(on_gpu(network))(values).device == GPU
    assert averaged(crops, (64, 128), GPU).device == GPU


@pytest.mark.usefixtures("empty_tensors")
def test_a_picture_in_memory_is_sorted_on_the_gpu() -> None:
    picture = on_device(np.zeros((HEIGHT, WIDTH, 3), np.uint8), GPU)
    assert picture.whole.device == GPU
    assert picture.whole.shape == (3, HEIGHT, WIDTH)


@pytest.mark.usefixtures("empty_tensors")
def test_tensors_without_content_tell_a_wait_and_a_mixture_of_devices() -> None:
    there = torch.empty(3, device=GPU)
    with pytest.raises(DataDependentOutputException):
        there.sum().item()
    with pytest.raises(RuntimeError, match=r"same device|different devices"):
        there + torch.empty(3)
