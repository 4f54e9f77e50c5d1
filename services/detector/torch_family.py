"""FasterRCNN ResNet50 FPN V2 and ResNet50, as torchvision has them.

The detector is Ren et al., 2015, with the improvements of Li et al., 2021; ResNet50 is He et al., 2016.
torch takes seconds to import and is not on every machine: nothing imports this module but `families`,
when these networks are asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from services.detector.family import LOWEST_SCORE, Detections, Image, detections, normalised
from shared.errors import ConfigError, ModelError
from shared.messages import Float32

try:
    import torch
    from torchvision.models import resnet50
    from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

    from services.detector.checkpoint import load_into
except ImportError as error:
    raise ModelError(
        "the torch family needs torch and torchvision: pip install 'tracking-system[torch]', "
        "or set family: openvino"
    ) from error

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

COCO_PERSON_LABEL = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CROP_SIZE = (128, 256)
"""Width and height of a person for ResNet50: the shape of people, not the square of ImageNet."""

CROPS_AT_ONCE = 64


def has_gpu() -> bool:
    """Whether torch can use a GPU here."""
    return bool(torch.cuda.is_available())


def chosen_device(device: str) -> torch.device:
    """The device a setting means; raises ConfigError for one that is not there."""
    if device == "auto":
        if not has_gpu():
            log.warning("torch finds no GPU: its networks run on the CPU and take seconds a frame")
        return torch.device("cuda" if has_gpu() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"device {device} cannot be used here ({told}): set device to auto or cpu"
        ) from None
    return chosen


def chosen_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type that convolutions are computed in: of a setting fp32, bf16, fp16 or auto.

    "auto" is fp16 on a GPU, which rounds eight times finer than bf16, and fp32 on a CPU.
    """
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


class _Runner:
    """Runs a network in the chosen precision, in batches that fit into memory.

    A batch that does not fit is halved, and no larger one is tried again.  One in which the network
    answers with NaN or infinity in half precision is computed again in fp32.
    """

    def __init__(self, name: str, network: torch.nn.Module, path: Path, device: str, precision: str) -> None:
        self.name = name
        self.device = chosen_device(device)
        self.precision = chosen_precision(precision, self.device)
        self.most = 1 << 16
        load_into(network, path)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)
        log.info("%s runs on %s in %s", name, self.device, str(self.precision).removeprefix("torch."))

    def __call__(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> list[Result]:
        """What `compute` makes of the items, in order.

        compute: gives one result an item; raises ValueError for NaN.
        """
        results: list[Result] = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + self.most]
            try:
                results += self._in_precision(part, compute)
            except torch.cuda.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.most = len(part) // 2
                log.warning(
                    "%s does not fit into memory with %d at once: %d from now on",
                    self.name,
                    len(part),
                    self.most,
                )
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
        return results

    def _in_precision(
        self, part: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> list[Result]:
        half = self.precision != torch.float32
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, self.precision, enabled=half):
                return compute(part)
        except ValueError as error:
            if not half:
                raise
            log.warning("%s in %s: %s; computed again in fp32", self.name, self.precision, error)
        with torch.inference_mode():
            return compute(part)


def _pixels(image: Image, device: torch.device) -> torch.Tensor:
    """(3, H, W) float RGB in 0-1 on the device; bytes travel, floats are made there."""
    on_device = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    return on_device.permute(2, 0, 1).flip(0).float().div_(255)


class FasterRcnnDetector:
    """People by FasterRCNN ResNet50 FPN V2.

    Images of one size go through the network together.  Different sizes go apart: torchvision would pad
    them to one, and an image's result would depend on its neighbours.
    """

    name = "fasterrcnn_resnet50_fpn_v2"

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        precision: str = "fp32",
        lowest_score: float = LOWEST_SCORE,
        **options: Any,
    ) -> None:
        """path: a state dict.  options: passed to torchvision's network (min_size, max_size, ...).

        Raises ModelError for a file that does not fit, ConfigError for a device that is not there.
        """
        self._lowest_score = lowest_score
        network = fasterrcnn_resnet50_fpn_v2(
            weights=None, weights_backbone=None, box_score_thresh=lowest_score, **options
        )
        self._run = _Runner(self.name, network, path, device, precision)
        self.device = self._run.device
        self._finite: list[torch.Tensor] = []
        for part in (network.rpn.head, network.roi_heads.box_predictor):
            part.register_forward_hook(self._watched)

    def _watched(self, _: torch.nn.Module, __: object, output: tuple[Any, Any]) -> tuple[Any, Any]:
        """A head's output in fp32, for boxes are decoded in its type and fp16 has whole pixels only.

        Also notes whether it is finite: torchvision drops what is NaN, and the picture would seem empty.
        """

        def widened(value: Any) -> Any:
            if isinstance(value, list):
                return [widened(each) for each in value]
            if value.numel():
                self._finite.append(torch.isfinite(value.amax()))
            return value.float()

        return widened(output[0]), widened(output[1])

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """As `PersonDetector.detect`."""
        results: dict[int, Detections] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            places = [i for i, image in enumerate(images) if image.shape == shape]
            found = self._run([images[i] for i in places], self._batch)
            results.update(zip(places, found, strict=True))
        return [results[place] for place in range(len(images))]

    def _batch(self, images: Sequence[Image]) -> list[Detections]:
        self._finite.clear()
        outputs = self._run.network([_pixels(image, self.device) for image in images])
        if not torch.stack(self._finite).all():
            raise ValueError("the network answered with NaN")
        height, width = images[0].shape[:2]
        return [self._read(output, width, height) for output in outputs]

    def _read(self, output: dict[str, torch.Tensor], width: int, height: int) -> Detections:
        scores = output["scores"]
        # Written so that NaN stays and is noticed.
        people = (output["labels"] == COCO_PERSON_LABEL) & ~(scores < self._lowest_score)
        return detections(output["boxes"][people].cpu().numpy(), scores[people].cpu().numpy(), width, height)


class ResNetEmbedder:
    """Appearance by ResNet50 without its last layer: the pooled 2048 features."""

    name = "resnet50"
    dimensions = 2048

    def __init__(self, path: Path, device: str = "auto", precision: str = "fp32") -> None:
        """path: a ResNet50, as `load_into` takes it.  Raises ModelError and ConfigError as above."""
        self._run = _Runner(self.name, _headless_resnet50(), path, device, precision)
        self.device = self._run.device
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(IMAGENET_MEAN, device=self.device).reshape(shape)
        self._deviation = torch.tensor(IMAGENET_DEVIATION, device=self.device).reshape(shape)

    def embed(self, crops: Sequence[Image]) -> Float32:
        """As `Embedder.embed`."""
        if not crops:
            return np.zeros((0, self.dimensions), np.float32)
        parts = [crops[i : i + CROPS_AT_ONCE] for i in range(0, len(crops), CROPS_AT_ONCE)]
        return np.stack([row for part in parts for row in self._run(part, self._batch)])

    def _batch(self, crops: Sequence[Image]) -> list[Float32]:
        scaled = [np.asarray(cv2.resize(crop, CROP_SIZE), np.uint8) for crop in crops]
        pixels = torch.stack([_pixels(each, self.device) for each in scaled])
        pixels = ((pixels - self._mean) / self._deviation).contiguous(memory_format=torch.channels_last)
        return list(normalised(self._run.network(pixels).float().cpu().numpy()))


def _headless_resnet50() -> torch.nn.Module:
    """ResNet50 that ends with the pooled features."""
    network = resnet50(weights=None)
    network.fc = torch.nn.Identity()
    return network
