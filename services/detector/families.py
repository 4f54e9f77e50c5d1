"""The networks that a configuration asks for, from the best that can be had."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from services.detector import histogram
from services.detector.decode import Decoder, MemoryDecoder
from services.detector.family import Describer, Embedder, PersonDetector
from services.detector.weights import Weights, manifest
from shared.config import Config
from shared.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from services.detector.openvino_family import Network

log = logging.getLogger(__name__)

OPENVINO_DETECTORS = ("person-detection-0202", "person-detection-0200")
OPENVINO_EMBEDDERS = ("person-reidentification-retail-0287", "person-reidentification-retail-0288")
PACKAGED_DETECTOR = "ssdlite"
DESCRIBERS = {
    "face": (
        "face-detection-retail-0005",
        "landmarks-regression-retail-0009",
        "face-reidentification-retail-0095",
    ),
    "clothing": ("person-attributes-recognition-crossroad-0230",),
}
"""The networks of each kind of description, in the order its describer takes them."""

TORCH_DETECTOR = "fasterrcnn_resnet50_fpn_v2"
TORCH_EMBEDDER = "resnet50"


MOST_DECODERS = 8
"""Cores that decode for a GPU."""


@runtime_checkable
class MakesDecoder(Protocol):
    """A detector whose pictures are better elsewhere than in this process's memory."""

    def decoder(self, workers: int) -> Decoder:
        """The decoder; frames are decoded by so many cores at once."""


class Networks(NamedTuple):
    """What `FeatureExtractor` needs."""

    detector: PersonDetector
    embedder: Embedder


def build(config: Config, weights: Weights | None = None) -> Networks:
    """The detector and the embedder, loaded; what was chosen, and every step down, is in the log.

    `config.detector` and `config.embedder` name a network each; what is not named is the family's best
    that can be had.  Raises ModelError where there is none, ConfigError where settings contradict each
    other.
    """
    weights = weights or Weights(config.models)
    family = choose_family(config)
    try:
        networks = _load(config, weights, family)
    except ModelError as error:
        if family != "torch" or config.family != "auto" or config.device not in ("auto", "cpu"):
            raise
        log.warning(
            "torch networks cannot be used (%s): the smaller ones of OpenVINO are used instead", error
        )
        networks = _load(config, weights, "openvino")
    log.info("people are found by %s and described by %s", networks.detector.name, networks.embedder.name)
    return networks


def decoder(networks: Networks) -> Decoder:
    """What makes the pictures that these networks take, where they take them."""
    if isinstance(networks.detector, MakesDecoder):
        return networks.detector.decoder(min(MOST_DECODERS, os.cpu_count() or 1))
    return MemoryDecoder()


def describers(config: Config, weights: Weights | None = None) -> dict[str, Describer]:
    """The describers of faces and clothing that the configuration asks for, loaded, by kind.

    Raises ModelError where one that is set to "on" is not to be had.
    """
    weights = weights or Weights(config.models)
    found: dict[str, Describer] = {}
    for kind, setting in {"face": config.faces, "clothing": config.clothing}.items():
        if setting == "off":
            continue
        names = DESCRIBERS[kind]
        absent = [name for name in names if not weights.locate(name)]
        if setting == "auto" and (absent or not _installed("openvino")):
            log.info("%s is not described: %s", kind, f"{' and '.join(absent) or 'OpenVINO'} is not here")
            continue
        found[kind] = _DESCRIBERS[kind]([weights.obtain(name) for name in names], config)
        log.info("%s is described by %s", kind, names[-1])
    return found


def choose_family(config: Config) -> str:
    """The family of what is not named: torch where there is a GPU for it, else openvino."""
    if config.family != "auto":
        if config.family == "openvino" and config.device not in ("auto", "cpu"):
            raise ConfigError(
                f"the openvino family runs on the CPU, not on {config.device}: set family: torch"
            )
        return config.family
    if config.device not in ("auto", "cpu"):
        return "torch"
    if config.device == "auto" and _installed("torch") and _installed("torchvision"):
        from services.detector.torch_family import has_gpu  # noqa: PLC0415 - seconds, and an optional part

        if has_gpu():
            return "torch"
    if _installed("openvino") or not _installed("torchvision"):
        return "openvino"
    log.warning("OpenVINO is not installed and there is no GPU: torch on the CPU takes seconds a frame")
    return "torch"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _load(config: Config, weights: Weights, family: str) -> Networks:
    detector_family = _family_of(config.detector, "detector", config) or family
    embedder_family = _family_of(config.embedder, "embedder", config) or family
    if detector_family == "torch":
        detector = _torch_detector(config, weights)
    else:
        detector = _openvino_detector(config, weights)
    if config.embedder == histogram.NAME:
        return Networks(detector, histogram.HistogramEmbedder())
    if embedder_family == "torch":
        return Networks(detector, _torch_embedder(config, weights))
    return Networks(detector, _openvino_embedder(config, weights))


def _family_of(name: str, kind: str, config: Config) -> str | None:
    """The family of a named network of the manifest; raises ConfigError where it does not fit."""
    model = manifest().get(name)
    if model is None:
        return None
    if model.kind != kind:
        raise ConfigError(f"{kind}: {name} is not a {kind} but of the kind {model.kind}")
    if config.family not in ("auto", model.family):
        raise ConfigError(f"{kind}: {name} belongs to the family {model.family}, not to {config.family}")
    return model.family


def _torch_detector(config: Config, weights: Weights) -> PersonDetector:
    from services.detector import torch_family  # noqa: PLC0415 - an optional part

    path = weights.obtain(config.detector or TORCH_DETECTOR)
    options: dict[str, Any] = {"box_nms_thresh": config.duplicate_iou}
    if config.input_size:
        # The longer side as torchvision has it beside 800.
        options |= {"min_size": config.input_size, "max_size": config.input_size * 1333 // 800}
    if config.person_label >= 0:
        options["label"] = config.person_label
    return torch_family.FasterRcnnDetector(path, config.device, config.precision, **options)


def _torch_embedder(config: Config, weights: Weights) -> Embedder:
    from services.detector import torch_family  # noqa: PLC0415 - an optional part

    path = weights.obtain(config.embedder or TORCH_EMBEDDER)
    return torch_family.ResNetEmbedder(path, config.device, config.precision)


def _openvino_detector(config: Config, weights: Weights) -> PersonDetector:
    from services.detector import openvino_family  # noqa: PLC0415 - an optional part

    name = config.detector or _found_first(weights, OPENVINO_DETECTORS)
    try:
        path = weights.obtain(name)
    except ModelError as error:
        if config.detector:
            raise
        best, packaged = (manifest()[each].ap50 or 0.0 for each in (name, PACKAGED_DETECTOR))
        log.warning(
            "%s. Falling back to %s, which a Python package carries: average precision on the plaza "
            "video %.2f instead of %.2f, so people will be missed",
            error,
            PACKAGED_DETECTOR,
            packaged,
            best,
        )
        name = PACKAGED_DETECTOR
        path = weights.obtain(name)
    model = manifest().get(name)
    label = config.person_label
    if label < 0:
        label = model.person_label if model else 0
    return openvino_family.open_detector(_network(path, config), name, label, config.duplicate_iou)


def _openvino_embedder(config: Config, weights: Weights) -> Embedder:
    from services.detector import openvino_family  # noqa: PLC0415 - an optional part

    name = config.embedder or _found_first(weights, OPENVINO_EMBEDDERS)
    try:
        path = weights.obtain(name)
    except ModelError as error:
        if config.embedder:
            raise
        log.warning("%s. Falling back to colour histograms: %s", error, histogram.COST)
        return histogram.HistogramEmbedder()
    return openvino_family.open_embedder(_network(path, config), name)


def _network(path: Path, config: Config) -> Network:
    from services.detector import openvino_family  # noqa: PLC0415 - an optional part

    return openvino_family.Network(path, config.threads, together=config.performance == "latency")


def _face_describer(paths: list[Path], config: Config) -> Describer:
    from services.detector import face  # noqa: PLC0415 - an optional part

    return face.FaceDescriber(*(_network(path, config) for path in paths))


def _clothing_describer(paths: list[Path], config: Config) -> Describer:
    from services.detector import clothing  # noqa: PLC0415 - an optional part

    return clothing.ClothingDescriber(_network(paths[0], config))


_DESCRIBERS: dict[str, Callable[[list[Path], Config], Describer]] = {
    "face": _face_describer,
    "clothing": _clothing_describer,
}


def _found_first(weights: Weights, names: tuple[str, ...]) -> str:
    """The first of the networks that is on this machine, else the first of all."""
    return next((name for name in names if weights.locate(name)), names[0])
