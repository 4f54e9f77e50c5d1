"""Pictures on torch's device; the device is the CPU, what is done there is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.extractor import FeatureExtractor
from services.detector.failure import FrameFailure
from services.detector.light import parts
from services.detector.picture import Image, Picture, pixels
from services.detector.quality import crop_qualities, crop_quality, part
from shared.config import Config
from shared.messages import Frame, FrameStamp, People
from tests.detector.fakes import MeanDescriber, MeanEmbedder, ScriptedDetector, frame

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")

from benchmarks.seeded_networks import noise_pictures  # noqa: E402 - only where torch is installed
from services.detector import torch_picture  # noqa: E402 - as above
from services.detector.torch_picture import TorchDecoder, TorchPicture, on_device, sampled  # noqa: E402 - as above

CPU = torch.device("cpu")
DAMAGE = b"\xff\xc4\x00\x02"


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return noise_pictures(3, 240, 320)


def jpeg_frame(image: Image, number: int = 0) -> Frame:
    height, width = image.shape[:2]
    return Frame(FrameStamp(1, 1, number, number, width, height), cv2.imencode(".jpg", image)[1].tobytes())


def test_crops_are_scaled_as_opencv_scales_them(images: list[Image]) -> None:
    boxes = [(10, 20, 60, 150), (0, 0, 320, 240), (300, 200, 320, 240), (5, 5, 6, 6), (100, 50, 300, 60)]
    pictures = [on_device(image, CPU) for image in [*images, images[0][:100]]]
    crops, expected = [], []
    for picture, image in zip(pictures, [*images, images[0][:100]], strict=True):
        for box in boxes:
            x0, y0, x1, y1 = np.clip(box, 0, (image.shape[1], image.shape[0]) * 2)
            if x1 > x0 and y1 > y0:
                crops.append(picture.part(x0, y0, x1, y1))
                expected.append(cv2.cvtColor(cv2.resize(image[y0:y1, x0:x1], (128, 256)), cv2.COLOR_BGR2RGB))
    found = sampled(crops, (128, 256), CPU).permute(0, 2, 3, 1).numpy()
    assert len(crops) > 12
    # OpenCV computes in whole numbers.
    assert np.abs(found - np.stack(expected)).max() <= 1.0


def test_a_part_of_a_part_is_a_part_of_the_whole(images: list[Image]) -> None:
    inner = on_device(images[0], CPU).part(10, 20, 110, 220).part(5, 6, 50, 60)
    assert inner.shape == (54, 45, 3)
    np.testing.assert_array_equal(inner.pixels(), images[0][26:80, 15:60])


def test_the_quality_of_crops_on_the_device_is_that_of_crops_in_memory(images: list[Image]) -> None:
    boxes = np.array([[10, 20, 60, 150], [100, 50, 180, 230], [0, 0, 30, 40]], np.float32)
    pictures = [images[0], cv2.GaussianBlur(images[1], (0, 0), 3), images[2]]
    visible = np.array([1.0, 0.5, 0.9], np.float32)
    there = [part(on_device(np.asarray(p, np.uint8), CPU), b) for p, b in zip(pictures, boxes, strict=True)]
    here = [part(np.asarray(p, np.uint8), b) for p, b in zip(pictures, boxes, strict=True)]
    mixed = crop_qualities([here[0], *there[1:]], visible)
    expected = [crop_quality(np.asarray(c), float(v)) for c, v in zip(here, visible, strict=True)]
    np.testing.assert_allclose(mixed, expected, atol=0.01)
    assert mixed[0] == pytest.approx(expected[0]) and mixed[0] > 2 * mixed[1]


@pytest.mark.parametrize("gamma", [0.4, 1.0, 2.0])
def test_crops_are_relit_on_the_device_as_in_memory(images: list[Image], gamma: float) -> None:
    spoilt = [np.asarray(((each / 255) ** gamma * 255).round(), np.uint8) for each in images]
    boxes = np.array([[10, 20, 60, 150], [100, 50, 228, 240]], np.float32)
    here = [crop for image in spoilt for crop in parts(image, boxes)]
    there = [crop for image in spoilt for crop in parts(on_device(image, CPU), boxes)]
    remote = [each for each in there if isinstance(each, TorchPicture)]
    assert len(remote) == len(here) == 6
    found = sampled(remote, (128, 256), CPU).permute(0, 2, 3, 1).numpy()
    expected = np.stack(
        [cv2.cvtColor(cv2.resize(pixels(each), (128, 256)), cv2.COLOR_BGR2RGB) for each in here]
    )
    assert np.abs(found - expected).max() <= 1.6
    for one, other in zip(remote, here, strict=True):
        np.testing.assert_array_equal(one.pixels(), other)
    visible = np.ones(6, np.float32)
    np.testing.assert_allclose(crop_qualities(there, visible), crop_qualities(here, visible), atol=0.01)


def test_people_in_pictures_on_the_device_are_extracted_as_in_memory(images: list[Image]) -> None:
    def extracted(on: Callable[[Image], Picture]) -> list[People | FrameFailure]:
        detector = ScriptedDetector(lambda _: [(100, 60, 140, 160, 0.9), (200, 60, 240, 160, 0.8)])
        extractor = FeatureExtractor(detector, MeanEmbedder(), Config(), {"clothing": MeanDescriber()})
        return extractor.extract([(frame(n), on(image)) for n, image in enumerate(images)])

    for one, other in zip(extracted(lambda i: i), extracted(lambda i: on_device(i, CPU)), strict=True):
        assert isinstance(one, People) and isinstance(other, People)
        assert set(one.features) == set(other.features)
        for kind, features in one.features.items():
            np.testing.assert_array_equal(features.of, other.features[kind].of)
            np.testing.assert_allclose(features.vectors, other.features[kind].vectors, atol=1e-6)
            np.testing.assert_allclose(features.quality, other.features[kind].quality, atol=0.01)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> TorchDecoder:
    """A decoder whose GPU is the CPU: torchvision decodes there as nvJPEG does on the other."""
    from torchvision.io import decode_jpeg

    def decode_here(data: list[Any], mode: Any, device: Any) -> list[Any]:
        if any(DAMAGE in bytes(each.numpy()) for each in data):
            raise RuntimeError("nvjpegDecode failed: 8")
        return [decode_jpeg(each, mode=mode) for each in data]

    monkeypatch.setattr(torch_picture, "decode_jpeg", decode_here)
    made = TorchDecoder(CPU, workers=2)
    made.decodes_there = made._probe()
    assert made.decodes_there
    return made


@pytest.mark.parametrize("there", [True, False])
def test_frames_become_pictures_on_the_device(
    decoder: TorchDecoder, images: list[Image], there: bool
) -> None:
    decoder.decodes_there = there
    frames = [jpeg_frame(image, n) for n, image in enumerate(images)]
    broken = Frame(frames[0].stamp, frames[0].jpeg[:-500])
    found = decoder.decode([frames[0], broken, *frames[1:]])

    assert isinstance(found[1], FrameFailure) and "not a whole JPEG" in found[1].reason
    pictures = [each for each in found if isinstance(each, TorchPicture)]
    assert len(pictures) == 3
    for picture, sent in zip(pictures, frames, strict=True):
        expected = cv2.imdecode(np.frombuffer(sent.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert expected is not None
        np.testing.assert_array_equal(picture.pixels(), expected)
        rgb = picture.whole.permute(1, 2, 0).numpy()
        assert np.abs(rgb[..., ::-1].astype(int) - expected).mean() < 1


def test_pinned_buffers_go_back_to_the_pool_when_a_batch_is_done(
    decoder: TorchDecoder, images: list[Image]
) -> None:
    decoder.decodes_there = False
    for n in range(10):
        pictures = [
            each
            for each in decoder.decode([jpeg_frame(i, n) for i in images])
            if not isinstance(each, FrameFailure)
        ]
        decoder.release(pictures)
    assert decoder.pool.misses == 3 and decoder.pool.hit_rate == 0.9


def test_one_damaged_picture_does_not_cost_the_others_their_decoder(
    decoder: TorchDecoder, images: list[Image]
) -> None:
    frames = [jpeg_frame(image, n) for n, image in enumerate(images)]
    middle = len(frames[1].jpeg) // 2
    jpeg = bytes(frames[1].jpeg)
    damaged = Frame(frames[1].stamp, jpeg[:middle] + DAMAGE + jpeg[middle + 4 :])
    found = decoder.decode([frames[0], damaged, frames[2]])
    assert isinstance(found[1], FrameFailure) and "damaged JPEG" in found[1].reason
    assert isinstance(found[0], TorchPicture) and isinstance(found[2], TorchPicture)
    assert decoder.decodes_there


def test_when_the_gpu_is_lost_pictures_are_decoded_in_memory_and_this_is_said(
    decoder: TorchDecoder,
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: unspecified launch failure\nmore")

    monkeypatch.setattr(torch_picture, "decode_jpeg", lost)
    monkeypatch.setattr(torch_picture, "uploaded", lost)
    (found,) = decoder.decode([jpeg_frame(images[0])])
    assert isinstance(found, np.ndarray) and found.shape == images[0].shape
    assert "decoded by the processor from now on: CUDA error" in caplog.text
    assert not decoder.decodes_there
    decoder.release([found])
    assert decoder.pool.acquire(images[0].shape) is found


def test_a_decoder_that_makes_other_pictures_is_not_trusted(
    decoder: TorchDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch_picture, "decode_jpeg", lambda *_, **__: [torch.zeros((3, 48, 64), dtype=torch.uint8)]
    )
    assert not decoder._probe()
