"""FasterRCNN ResNet50 FPN V2 and ResNet50, with torchvision's weights or weights of the same layout.

The detector is Ren et al., 2015, with the improvements of Li et al., 2021; ResNet50 is He et al., 2016.
torch takes seconds to import and is not on every machine: nothing imports this module but `families`,
when these networks are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.detector.family import LOWEST_SCORE, Detections, detections, normalised
from services.detector.picture import Picture
from services.detector.torch_device import has_gpu
from shared.errors import ModelError
from shared.messages import Float32

try:
    import torch
    from torchvision.models import resnet50
    from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2
except ImportError as error:
    raise ModelError(
        "the torch family needs torch and torchvision: pip install 'tracking-system[torch]', "
        "or set family: openvino"
    ) from error

from services.detector.checkpoint import load_into
from services.detector.decode import Decoder, MemoryDecoder
from services.detector.torch_graphs import Graphs
from services.detector.torch_picture import TorchDecoder, on_device, sampled
from services.detector.torch_rcnn import FLAGS, ROUNDS, PeopleRcnn, Size, size_for
from services.detector.torch_runner import Runner

__all__ = ["FasterRcnnDetector", "ResNetEmbedder", "TorchDecoder", "has_gpu"]

COCO_PERSON_LABEL = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CROP_SIZE = (128, 256)
"""Width and height of a person for ResNet50: the shape of people, not the square of ImageNet."""

CROPS_AT_ONCE = 64
CROPS_STEP = 8
"""Where graphs are kept, batches of crops are filled up to a multiple of this."""

SHRINK = 0.75
SMALLEST_INPUT_PX = 256
"""A picture that does not fit into memory is made smaller by that much again and again, down to this."""


class FasterRcnnDetector:
    """People by FasterRCNN ResNet50 FPN V2.

    Pictures of one size go through the network together.  Different sizes go apart: torchvision would pad
    them to one, and a picture's result would depend on its neighbours.
    """

    name = "fasterrcnn_resnet50_fpn_v2"

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        precision: str = "fp32",
        *,
        lowest_score: float = LOWEST_SCORE,
        label: int = COCO_PERSON_LABEL,
        **options: Any,
    ) -> None:
        """path: a state dict.  label: the class to find.

        options: passed to torchvision's network (min_size, max_size, box_nms_thresh, ...).  Raises
        ModelError for a file that does not fit, ConfigError for a device that is not there.
        """

        def load() -> torch.nn.Module:
            network = fasterrcnn_resnet50_fpn_v2(
                weights=None, weights_backbone=None, box_score_thresh=lowest_score, **options
            )
            load_into(network, path)
            return network

        self._label = label
        self._run = Runner(self.name, load, device, precision)
        transform = self._run.exact.transform
        self._wanted = int(transform.min_size[-1]), int(transform.max_size)
        self._shrunk: dict[tuple[int, ...], float] = {}
        # By network, size and rounds; made anew where the networks are.
        self._steps: dict[tuple[int, Size], Graphs] = {}
        self._made_for = self._run.generation

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return self._run.device

    @property
    def counts(self) -> Counter[str]:
        """As `PersonDetector.counts`; the names are those of `Runner`, behind the network's."""
        return self._run.counts

    def detect(self, images: Sequence[Picture]) -> list[Detections]:
        """As `PersonDetector.detect`."""
        results: dict[int, Detections] = {}
        for shape in dict.fromkeys(tuple(image.shape) for image in images):
            places = [i for i, image in enumerate(images) if tuple(image.shape) == shape]
            alike = [images[i] for i in places]
            found = self._run(shape, alike, self._batch, lambda shape=shape: self._shrink(shape))  # type: ignore[misc]
            results.update(zip(places, found, strict=True))
        return [results[place] for place in range(len(images))]

    def decoder(self, workers: int) -> Decoder:
        """What makes pictures for this network; frames are decoded by so many cores at once."""
        return (
            TorchDecoder(self.device, workers)
            if self.device.type != "cpu"
            else MemoryDecoder(workers=workers)
        )

    def size_of(self, shape: tuple[int, ...]) -> Size:
        """How pictures of this shape, (H, W, 3), go through the network now."""
        share = self._shrunk.get(shape, 1.0)
        return size_for(shape[0], shape[1], int(self._wanted[0] * share), int(self._wanted[1] * share))

    def _shrink(self, shape: tuple[int, ...]) -> bool:
        share = self._shrunk.get(shape, 1.0) * SHRINK
        if self._wanted[0] * share < SMALLEST_INPUT_PX:
            # What did not fit even so is not the fault of the size.
            self._shrunk.pop(shape, None)
            return False
        self._shrunk[shape] = share
        return True

    def _batch(self, network: torch.nn.Module, images: Sequence[Picture]) -> list[Detections]:
        pictures = [on_device(image, self.device) for image in images]
        for each in pictures:
            self._run.lane.wait(each.ready)
        size = self.size_of(images[0].shape)
        batch = torch.stack([each.whole for each in pictures])
        answer = self._step(network, size)(batch).cpu().numpy()
        finite, final = answer[-FLAGS:]
        if not final:
            self._run.counts["suppressed_again"] += 1
            proposals = network.rpn.pre_nms_top_n()
            answer = PeopleRcnn(network, self._label)(batch, size, max(proposals, ROUNDS)).cpu().numpy()
        if not finite:
            raise ValueError("the network answered with NaN")
        height, width = images[0].shape[:2]
        rows = answer[:-FLAGS].reshape(len(images), -1, 5)
        return [detections(each[:, :4], each[:, 4], width, height) for each in map(_real, rows)]

    def _step(self, network: torch.nn.Module, size: Size) -> Graphs:
        """The whole network for pictures of a size, as one function of a batch."""
        if self._made_for != self._run.generation:
            self._steps.clear()
            self._made_for = self._run.generation
        key = id(network), size
        if key not in self._steps:
            people = PeopleRcnn(network, self._label)
            graphs = Graphs(self.name, lambda batch: people(batch, size), self._run.counts)
            graphs.enabled = self.device.type == "cuda"
            self._steps[key] = graphs
        return self._steps[key]


def _real(rows: Float32) -> Float32:
    """The rows that are people; those of a score below zero only fill the array."""
    return rows[~(rows[:, 4] < 0)]


class ResNetEmbedder:
    """Appearance by ResNet50 without its last layer: the pooled 2048 features."""

    name = "resnet50"
    dimensions = 2048

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        precision: str = "fp32",
    ) -> None:
        """path: a ResNet50, as `load_into` takes it.  Raises ModelError and ConfigError as above."""

        def load() -> torch.nn.Module:
            network = _headless_resnet50()
            load_into(network, path)
            return network

        self._run = Runner(self.name, load, device, precision)
        self._graphs: dict[int, Graphs] = {}
        self._made_for = self._run.generation

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return self._run.device

    @property
    def counts(self) -> Counter[str]:
        """As `PersonDetector.counts`; the names are those of `Runner`, behind the network's."""
        return self._run.counts

    def embed(self, crops: Sequence[Picture]) -> Float32:
        """As `Embedder.embed`."""
        if not crops:
            return np.zeros((0, self.dimensions), np.float32)
        parts = [crops[i : i + CROPS_AT_ONCE] for i in range(0, len(crops), CROPS_AT_ONCE)]
        return np.stack([row for part in parts for row in self._run(CROP_SIZE, part, self._batch)])

    def _batch(self, network: torch.nn.Module, crops: Sequence[Picture]) -> list[Float32]:
        pictures = [on_device(crop, self.device) for crop in crops]
        for each in pictures:
            self._run.lane.wait(each.ready)
        values = sampled(pictures, CROP_SIZE, self.device)
        step = self._step(network)
        if step.enabled:
            # Few shapes of batch, so that a graph of each can be kept.
            spare = -len(crops) % CROPS_STEP
            values = torch.nn.functional.pad(values, (0, 0, 0, 0, 0, 0, 0, spare))
        return list(normalised(step(values)[: len(crops)].cpu().numpy()))

    def _step(self, network: torch.nn.Module) -> Graphs:
        if self._made_for != self._run.generation:
            self._graphs.clear()
            self._made_for = self._run.generation
        if id(network) not in self._graphs:
            graphs = Graphs(self.name, features_of(network), self._run.counts)
            graphs.enabled = self.device.type == "cuda"
            self._graphs[id(network)] = graphs
        return self._graphs[id(network)]


def features_of(network: torch.nn.Module) -> Any:
    """The function from crops, (N, 3, 256, 128) float 0-255 RGB, to what the network makes of them, fp32."""
    parameter = next(network.parameters())
    mean, deviation = (
        torch.tensor(each, device=parameter.device).reshape(1, 3, 1, 1) * 255
        for each in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )

    def features(values: torch.Tensor) -> torch.Tensor:
        normal = ((values - mean) / deviation).to(parameter.dtype, memory_format=torch.channels_last)
        return network(normal).float()

    return features


def _headless_resnet50() -> torch.nn.Module:
    """ResNet50 that ends with the pooled features."""
    network = resnet50(weights=None)
    network.fc = torch.nn.Identity()
    return network
