"""The torch family on a GPU: what its graphs, lanes and decoders make is what is made without them."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.extractor import FeatureExtractor
from services.detector.picture import Image
from services.detector.worker import Job, Worker
from shared.config import Config
from shared.messages import Frame, FrameStamp, People

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")
if not torch.cuda.is_available():
    pytest.skip("there is no GPU here", allow_module_level=True)

from benchmarks.seeded_networks import noise_pictures  # noqa: E402 - only where torch is installed
from services.detector.torch_device import ALONE, Lane, give_memory_back, pinned  # noqa: E402 - as above
from services.detector.torch_family import FasterRcnnDetector, ResNetEmbedder  # noqa: E402 - as above
from services.detector.torch_graphs import SEEN_BEFORE, Graphs  # noqa: E402 - as above
from services.detector.torch_picture import TorchDecoder, TorchPicture  # noqa: E402 - as above
from tests.detector.torch_networks import SMALL, matched  # noqa: E402 - as above

GPU = torch.device("cuda", 0)
REPEATS = SEEN_BEFORE + 3
BATCHES = 40


def jpeg_frame(image: Image, number: int) -> Frame:
    height, width = image.shape[:2]
    stamp = FrameStamp(1, 1, number, number * 100_000_000, width, height)
    return Frame(stamp, cv2.imencode(".jpg", image)[1].tobytes())


@pytest.mark.parametrize(("precision", "iou", "score"), [("fp32", 0.95, 0.01), ("fp16", 0.9, 0.05)])
def test_detections_on_a_gpu_are_those_on_the_cpu_before_and_after_the_graph(
    faster_rcnn: tuple[Any, Path], torch_images: list[Image], precision: str, iou: float, score: float
) -> None:
    alike = [torch_images[0], torch_images[2]]
    expected = FasterRcnnDetector(faster_rcnn[1], "cpu", **SMALL).detect(alike)
    detector = FasterRcnnDetector(faster_rcnn[1], "cuda", precision, **SMALL)
    for _ in range(REPEATS):
        same, count = matched(expected, detector.detect(alike), iou, score)
        assert count and same == count
    assert detector.counts["graph_batches"] == REPEATS - SEEN_BEFORE
    assert set(detector.counts) == {"graph_batches"}, "nothing had to be made good"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_embeddings_on_a_gpu_are_those_on_the_cpu_before_and_after_the_graph(
    resnet: tuple[Any, Path], torch_images: list[Image], precision: str
) -> None:
    crops = [torch_images[n % 3][n : n + 70, n : n + 40] for n in range(11)]
    expected = ResNetEmbedder(resnet[1], "cpu").embed(crops)
    embedder = ResNetEmbedder(resnet[1], "cuda", precision)
    for _ in range(REPEATS):
        cosine = (embedder.embed(crops) * expected).sum(axis=1)
        assert cosine.min() > 0.995
    assert embedder.counts["graph_batches"] == REPEATS - SEEN_BEFORE
    assert set(embedder.counts) == {"graph_batches"}, "nothing had to be made good"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("size", [(720, 1280), (241, 319)])
def test_pictures_on_a_gpu_are_those_of_the_processor(there: bool, size: tuple[int, int]) -> None:
    decoder = TorchDecoder(GPU, workers=2)
    if there and not decoder.decodes_there:
        pytest.skip("torchvision decodes nothing on this GPU")
    decoder.decodes_there = there
    for first in range(0, 12, 4):
        images = noise_pictures(first + 4, *size)[first:]
        frames = [jpeg_frame(image, n) for n, image in enumerate(images)]
        pictures = [each for each in decoder.decode(frames) if isinstance(each, TorchPicture)]
        assert len(pictures) == len(frames)
        for picture, sent in zip(pictures, frames, strict=True):
            picture.ready.synchronize()
            expected = cv2.imdecode(np.frombuffer(sent.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert expected is not None
            found = picture.whole.permute(1, 2, 0).cpu().numpy()[..., ::-1]
            assert np.abs(found.astype(int) - expected).mean() < 2
        decoder.release(pictures)
    assert decoder.decodes_there == there


def test_a_buffer_for_a_gpu_is_pinned() -> None:
    assert torch.from_numpy(pinned((4, 6, 3))).is_pinned()


def test_frames_that_go_through_three_threads_are_answered_as_each_is_alone(
    faster_rcnn: tuple[Any, Path], resnet: tuple[Any, Path]
) -> None:
    config = Config()
    detector = FasterRcnnDetector(faster_rcnn[1], "cuda", "fp32", **SMALL)
    embedder = ResNetEmbedder(resnet[1], "cuda", "fp32")
    images = noise_pictures(8, 128, 170)
    alone = [detector.detect([image])[0] for image in images]
    decoder = detector.decoder(4)
    worker = Worker(FeatureExtractor(detector, embedder, config), decoder, lambda: None)
    # Batches of many sizes, so that algorithms are tried and graphs recorded while others compute.
    jobs = [
        [Job(jpeg_frame(images[(n + k) % 8], n * 8 + k), live=False) for k in range(1 + n % 4)]
        for n in range(BATCHES)
    ]
    worker.start()
    for batch in jobs:
        worker.put(batch)
    finished = [worker.done.get(timeout=120) for _ in range(BATCHES)]
    worker.stop(20)
    assert worker.failure is None
    for n, batch in enumerate(finished):
        for k, job in enumerate(batch):
            assert isinstance(job.result, People)
            wanted = alone[(n + k) % 8]
            same, count = matched(
                [wanted], [type(wanted)(job.result.boxes, job.result.scores)], 0.8, 0.1, above=0.5
            )
            # JPEG moves what is close to a limit.
            assert count and same >= 0.8 * count
    given_up = {
        name: count for name, count in (detector.counts + embedder.counts).items() if "graph_" not in name
    }
    assert not given_up, "nothing had to be made good"


def test_two_threads_record_and_try_algorithms_side_by_side() -> None:
    torch.backends.cudnn.benchmark = True
    counts: Counter[str] = Counter()
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            torch.manual_seed(seed)
            network = torch.nn.Sequential(*(torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(6))).to(GPU)
            lane = Lane(GPU)
            lane.follow()
            with torch.inference_mode(), lane:
                graphs = Graphs(f"thread {seed}", network, counts)
                for size in range(20, 26):
                    for _ in range(REPEATS):
                        batch = torch.rand((1, 8, size + seed, size), device=GPU)
                        torch.testing.assert_close(graphs(batch), network(batch), rtol=1e-2, atol=1e-2)
        except BaseException as error:  # noqa: BLE001 - carried to the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors and not ALONE.locked()
    assert counts["graphs_given_up"] == 0


def test_a_recording_that_breaks_off_leaves_the_gpu_usable() -> None:
    # The last test here: torch may record nothing more in this process.
    lane = Lane(GPU)
    counts: Counter[str] = Counter()

    def waits(batch: Any) -> Any:
        return batch * float(batch.sum().item())

    with torch.inference_mode(), lane:
        graphs = Graphs("waiting", waits, counts)
        for n in range(1, REPEATS):
            found = graphs(torch.full((2, 2), float(n), device=GPU)).cpu()
            assert (found == 4.0 * n * n).all()
        assert counts["graphs_given_up"] == 1
        give_memory_back(GPU)
        convolution = torch.nn.Conv2d(3, 8, 3).to(GPU)
        assert torch.isfinite(convolution(torch.ones((1, 3, 37, 41), device=GPU))).all().item()
