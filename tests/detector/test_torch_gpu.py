"""The torch family on a GPU: what its graphs, lanes and decoders make is what is made without them."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.extractor import APPEARANCE, FeatureExtractor
from services.detector.family import Detections
from services.detector.light import parts
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
PICTURES = 8
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
    detector = FasterRcnnDetector(faster_rcnn[1], "cuda", "fp32", **SMALL)
    embedder = ResNetEmbedder(resnet[1], "cuda", "fp32")
    decoder = detector.decoder(4)
    images = noise_pictures(PICTURES, 128, 170)
    # What JPEG changes in these pictures moves many detections: both sides see the same decoded pixels.
    decoded = decoder.decode([jpeg_frame(image, n) for n, image in enumerate(images)])
    pictures = [each for each in decoded if isinstance(each, TorchPicture)]
    assert len(pictures) == PICTURES
    alone = [detector.detect([picture])[0] for picture in pictures]
    worker = Worker(FeatureExtractor(detector, embedder, Config()), decoder, lambda: None)
    # Batches of many sizes, so that algorithms are tried and graphs recorded while others compute.
    jobs = [
        [Job(jpeg_frame(images[(n + k) % PICTURES], n * 8 + k), live=False) for k in range(1 + n % 4)]
        for n in range(BATCHES)
    ]
    worker.start()
    for batch in jobs:
        worker.put(batch)
    finished = [worker.done.get(timeout=120) for _ in range(BATCHES)]
    worker.stop(20)
    assert worker.failure is None
    embedded = 0
    for n, batch in enumerate(finished):
        for k, job in enumerate(batch):
            people, place = job.result, (n + k) % PICTURES
            assert isinstance(people, People) and people.stamp == jobs[n][k].frame.stamp
            found = Detections(people.boxes, people.scores)
            same, count = matched([alone[place]], [found], 0.95, 0.01)
            assert count and same == count, f"batch {n}, frame {k}: {same} of {count}"
            if (features := people.features.get(APPEARANCE)) is not None:
                crops = parts(pictures[place], people.boxes[features.of])
                assert (embedder.embed(crops) * features.vectors).sum(axis=1).min() > 0.999
                embedded += len(features.of)
    assert embedded > 0
    counts = detector.counts + embedder.counts
    assert set(counts) == {"graph_batches"}, "nothing had to be made good"


def test_networks_and_the_recording_of_their_graphs_draw_no_random_numbers_of_the_gpu(
    faster_rcnn: tuple[Any, Path], resnet: tuple[Any, Path], torch_images: list[Image]
) -> None:
    # torch refuses them to every other thread while one records a graph.
    detector = FasterRcnnDetector(faster_rcnn[1], "cuda", **SMALL)
    embedder = ResNetEmbedder(resnet[1], "cuda")
    before = torch.cuda.get_rng_state(GPU)
    for _ in range(REPEATS):
        detector.detect(torch_images[:1])
        embedder.embed(torch_images[:1])
    assert detector.counts["graph_batches"] and embedder.counts["graph_batches"]
    assert torch.equal(torch.cuda.get_rng_state(GPU), before)


def test_two_threads_record_and_try_algorithms_side_by_side() -> None:
    torch.backends.cudnn.benchmark = True
    counts: Counter[str] = Counter()
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            # Numbers from the processor: while one thread records a graph, torch refuses the others random
            # numbers of the GPU.  The networks draw none.
            random = torch.Generator().manual_seed(seed)
            network = torch.nn.Sequential(*(torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(6))).to(GPU)
            lane = Lane(GPU)
            lane.follow()
            with torch.inference_mode(), lane:
                graphs = Graphs(f"thread {seed}", network, counts)
                for size in range(20, 26):
                    for _ in range(REPEATS):
                        batch = torch.rand((1, 8, size + seed, size), generator=random).to(GPU)
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
