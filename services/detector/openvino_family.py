"""Small networks that keep up with cameras on a CPU, run by OpenVINO.

Every image is inferred alone, by an asynchronous request of its own: a result is then the same bytes whatever
shares its batch.  Usually on one thread, as many images at once as there are threads, so that no thread
waits for another (two threads on one image cost 5 to 25 % more CPU time, depending on the network); where
latency counts, one image on all threads.

What OpenVINO makes of a network for this processor is kept in the cache folder for the next process.
"""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.detector.family import LOWEST_SCORE, Detections, detections, normalised
from services.detector.light import power, relit
from services.detector.picture import Image, Picture, pixels
from shared.download import cache_folder
from shared.errors import ModelError
from shared.messages import Float32

try:
    import openvino
    from openvino import preprocess
except ImportError as error:  # an edge node or a torch-only machine; said in words by `families`
    raise ModelError(
        "the openvino family needs OpenVINO: pip install 'tracking-system[openvino]', or set family: torch"
    ) from error

log = logging.getLogger(__name__)

LETTERBOX_GREY = 114
YOLOX_STRIDES = (8, 16, 32)
OVERLAP_OF_DUPLICATES = 0.5
COCO_PERSON_LABEL = 1


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _core() -> Any:
    """The one Core of this process, kept for its whole life.

    OpenVINO's CPU plugin gives the main thread an alternate signal stack and puts the one before it back
    when it goes; of two plugins the second puts back what the first has freed, and the next signal, a
    Ctrl-C for one, ends the process with SIGSEGV.
    """
    return openvino.Core()


def _kept() -> dict[str, str]:
    """Where compiled networks are kept; nowhere if that folder cannot be had."""
    folder = cache_folder() / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        log.info("%s cannot be written: networks are compiled anew each time", folder)
        return {}
    return {"CACHE_DIR": str(folder)}


class Network:
    """A network of one uint8 NHWC input, compiled for this CPU.

    input_size: width and height its images must have.
    """

    def __init__(self, path: Path, threads: int, *, together: bool = False) -> None:
        """Read and compile the file for so many threads (0: one a core).

        together: all threads work on one image; otherwise each on one of its own.  Raises ModelError where
        the file is missing, damaged or has an input that is not one image.
        """
        threads = threads or cores()
        streams = 1 if together else threads
        core = _core()
        try:
            model = core.read_model(path)
            prepared, self.input_size = _with_image_input(model)
            compiled = core.compile_model(
                prepared,
                "CPU",
                {
                    "NUM_STREAMS": str(streams),
                    "INFERENCE_NUM_THREADS": str(threads),
                    # Where threads run is left to the system: other processes share these cores.
                    "ENABLE_CPU_PINNING": "NO",
                    **_kept(),
                },
            )
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"{path} cannot be read as a network ({reason}): the file is damaged or of an unknown "
                "layout; delete it and run `tracking-system models pull`, or convert it again"
            ) from None
        self.path = path
        self.output_names = [set(output.get_names()) for output in compiled.outputs]
        self.output_shapes = [tuple(d.get_max_length() for d in o.partial_shape) for o in compiled.outputs]
        self._requests = [compiled.create_infer_request() for _ in range(streams)]

    def infer(self, inputs: Iterable[NDArray[np.uint8]]) -> list[list[NDArray[Any]]]:
        """All outputs for each input, (1, H, W, 3) uint8, in order."""
        results: list[list[NDArray[Any]]] = []
        started: list[tuple[Any, NDArray[np.uint8]]] = []
        requests = self._requests
        try:
            for number, each in enumerate(inputs):
                if number >= len(requests):
                    results.append(_outputs(started[number - len(requests)][0]))
                request = requests[number % len(requests)]
                request.start_async({0: each}, share_inputs=True)
                started.append((request, each))
            for request, _ in started[len(results) :]:
                results.append(_outputs(request))
        finally:
            # After an error the others still run on inputs that are about to be freed.
            for request, _ in started[len(results) :]:
                _settle(request)
        return results


def _outputs(request: Any) -> list[NDArray[Any]]:
    request.wait()
    return [np.array(tensor.data) for tensor in request.output_tensors]


def _settle(request: Any) -> None:
    try:
        request.wait()
    except RuntimeError:
        return  # the error that counts is the one already on its way up


def _with_image_input(model: Any) -> tuple[Any, tuple[int, int]]:
    """The model with a uint8 BGR NHWC image as its input, and that image's width and height."""
    if len(model.inputs) != 1 or len(model.inputs[0].partial_shape) != 4:
        raise ValueError("its input is not one image")
    shape = model.inputs[0].partial_shape
    channels_last = shape[3].is_static and shape[3].get_length() == 3
    if channels_last and shape.is_dynamic:
        # TensorFlow's SSDLite takes any size; 300x300 is what it was trained on.
        model.reshape([1, 300, 300, 3])
    elif shape.is_dynamic:
        raise ValueError("its input has no fixed size")
    sizes = list(model.inputs[0].shape)
    height, width = (sizes[1], sizes[2]) if channels_last else (sizes[2], sizes[3])
    steps = preprocess.PrePostProcessor(model)
    tensor = steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    if channels_last:
        tensor.set_color_format(preprocess.ColorFormat.BGR)
        steps.input().preprocess().convert_color(preprocess.ColorFormat.RGB)
        steps.input().model().set_layout(openvino.Layout("NHWC"))
    else:
        steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build(), (int(width), int(height))


class _Detector:
    """What the detectors below have in common: a network, a name, the picture scaled to fit and relit."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self._network = network

    def detect(self, images: Sequence[Picture]) -> list[Detections]:
        """As `PersonDetector.detect`."""
        outputs = self._network.infer(self._prepared(pixels(image)) for image in images)
        return [
            self._read(output, image.shape[1], image.shape[0])
            for output, image in zip(outputs, images, strict=True)
        ]

    def _prepared(self, image: Image) -> NDArray[np.uint8]:
        scaled = np.asarray(cv2.resize(image, self._network.input_size), np.uint8)
        return np.ascontiguousarray(relit(scaled, power(scaled)), np.uint8)[np.newaxis]

    def _read(self, outputs: list[NDArray[Any]], width: int, height: int) -> Detections:
        raise NotImplementedError


class SsdDetector(_Detector):
    """Detectors of the Open Model Zoo: rows of image, label, score, x0, y0, x1, y1 in 0-1.

    Duplicates are already removed inside the network.
    """

    def __init__(self, network: Network, name: str, person_label: int) -> None:
        super().__init__(network, name)
        self._person_label = person_label

    def _read(self, outputs: list[NDArray[Any]], width: int, height: int) -> Detections:
        rows = outputs[0].reshape(-1, 7)
        # A row of image -1 ends the list; what lies behind it is left from an earlier image.
        ends = np.flatnonzero(rows[:, 0] < 0)
        rows = rows[: ends[0]] if len(ends) else rows
        # Written so that NaN stays and is noticed.
        rows = rows[(rows[:, 1] == self._person_label) & ~(rows[:, 2] < LOWEST_SCORE)]
        return detections(rows[:, 3:] * (width, height, width, height), rows[:, 2], width, height)


class TensorflowDetector(_Detector):
    """Exports of TensorFlow's object detection: boxes y0, x0, y1, x1 in 0-1, classes of COCO.

    Duplicates are already removed inside the network.
    """

    def __init__(self, network: Network, name: str, label: int) -> None:
        super().__init__(network, name)
        self._label = label
        index = {each: i for i, names in enumerate(network.output_names) for each in names}
        self._boxes, self._scores, self._classes = (
            next(index[n] for n in (f"detection_{kind}:0", f"detection_{kind}") if n in index)
            for kind in ("boxes", "scores", "classes")
        )

    def _read(self, outputs: list[NDArray[Any]], width: int, height: int) -> Detections:
        boxes, scores, classes = (outputs[i][0] for i in (self._boxes, self._scores, self._classes))
        people = (classes == self._label) & ~(scores < LOWEST_SCORE)
        scaled = boxes[people][:, [1, 0, 3, 2]] * (width, height, width, height)
        return detections(scaled, scores[people], width, height)


class YoloxDetector(_Detector):
    """YOLOX (Ge et al., 2021) as its project exports it: a raw grid, decoded here."""

    def __init__(self, network: Network, name: str, label: int, overlap: float) -> None:
        super().__init__(network, name)
        self._label = label
        self._overlap = overlap
        width, height = network.input_size
        cells, strides = [], []
        for stride in YOLOX_STRIDES:
            y, x = np.mgrid[: height // stride, : width // stride]
            cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
            strides.append(np.full((x.size, 1), stride))
        self._cells = np.concatenate(cells).astype(np.float32)
        self._strides = np.concatenate(strides).astype(np.float32)

    def _scale(self, width: int, height: int) -> float:
        return min(self._network.input_size[0] / width, self._network.input_size[1] / height)

    def _prepared(self, image: Image) -> NDArray[np.uint8]:
        width, height = self._network.input_size
        scale = self._scale(image.shape[1], image.shape[0])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        canvas = np.full((1, height, width, 3), LETTERBOX_GREY, np.uint8)
        scaled = np.asarray(cv2.resize(image, size), np.uint8)
        canvas[0, : size[1], : size[0]] = relit(scaled, power(scaled))
        return canvas

    def _read(self, outputs: list[NDArray[Any]], width: int, height: int) -> Detections:
        grid = outputs[0][0]
        scores = grid[:, 4] * grid[:, 5 + self._label]
        kept = ~(scores < LOWEST_SCORE)
        grid, scores = grid[kept], scores[kept]
        centres = (grid[:, :2] + self._cells[kept]) * self._strides[kept]
        halves = np.exp(grid[:, 2:4]) * self._strides[kept] / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=1) / self._scale(width, height)
        found = detections(boxes, scores, width, height)
        return _without_duplicates(found, self._overlap)


def _without_duplicates(found: Detections, overlap: float) -> Detections:
    """Greedy non-maximum suppression."""
    corners_sizes = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners_sizes.tolist(), found.scores.tolist(), 0.0, overlap)
    order = np.sort(np.asarray(kept, dtype=np.intp).ravel())
    return Detections(found.boxes[order], found.scores[order])


class ReidEmbedder:
    """Person re-identification networks: one vector a crop, compared by cosine."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.dimensions = network.output_shapes[0][-1]
        self._network = network

    def embed(self, crops: Sequence[Picture]) -> Float32:
        """As `Embedder.embed`."""
        if not crops:
            return np.zeros((0, self.dimensions), np.float32)
        outputs = self._network.infer(_scaled(pixels(crop), self._network.input_size) for crop in crops)
        return normalised(np.stack([output[0].reshape(-1) for output in outputs]))


def _scaled(image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(cv2.resize(image, size), np.uint8)[np.newaxis]


def open_detector(
    network: Network, name: str, label: int = 0, overlap: float = OVERLAP_OF_DUPLICATES
) -> _Detector:
    """The detector that this network is, told by its own outputs.

    label: what the network calls a person.  overlap: boxes of which more of the union is shared are one
    person, where the network leaves that open.  Raises ModelError.
    """
    shapes = network.output_shapes
    if any("detection_boxes" in each for names in network.output_names for each in names):
        return TensorflowDetector(network, name, label or COCO_PERSON_LABEL)
    if len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][3] == 7:
        return SsdDetector(network, name, label)
    width, height = network.input_size
    cells = sum((width // stride) * (height // stride) for stride in YOLOX_STRIDES)
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == cells and shapes[0][2] > 5:
        return YoloxDetector(network, name, label, overlap)
    raise ModelError(
        f"{network.path} is not a person detector of a known layout (SSD, YOLOX, TensorFlow detection): "
        f"its outputs are {shapes}"
    )


def open_embedder(network: Network, name: str) -> ReidEmbedder:
    """The embedder that this network is; raises ModelError."""
    if len(network.output_shapes) != 1:
        raise ModelError(
            f"{network.path} is not an appearance network: it has {len(network.output_shapes)} outputs"
        )
    return ReidEmbedder(network, name)
