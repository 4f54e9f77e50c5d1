from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.family import LOWEST_SCORE, Detections, PersonDetector
from services.detector.picture import Image
from services.detector.weights import manifest
from shared.errors import ModelError

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed here")

from openvino import opset13 as ops  # noqa: E402 - only where it is installed

from services.detector.openvino_family import (  # noqa: E402 - as above
    Network,
    open_detector,
    open_embedder,
)


def saved(model: Any, folder: Path) -> Path:
    openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)
    return folder / "network.xml"


def ssd(folder: Path, rows: list[list[float]]) -> Path:
    """A network that sees the same whatever it is shown."""
    image = ops.parameter([1, 3, 32, 32], np.float32, name="image")
    nothing = ops.reduce_sum(ops.multiply(image, np.float32(0)), np.array([0, 1, 2, 3]), keep_dims=True)
    answer = ops.add(np.array(rows, np.float32).reshape(1, 1, -1, 7), nothing)
    return saved(openvino.Model([answer], [image], "ssd"), folder)


def mean_colour(folder: Path) -> Path:
    """A network that embeds a crop as its mean blue, green and red."""
    image = ops.parameter([1, 3, 16, 8], np.float32, name="data")
    return saved(openvino.Model([ops.reduce_mean(image, np.array([2, 3]))], [image], "mean"), folder)


def picture(width: int = 100, height: int = 50) -> Image:
    return np.full((height, width, 3), 50, np.uint8)


def test_rows_of_people_become_boxes_in_pixels_the_surest_first(tmp_path: Path) -> None:
    path = ssd(
        tmp_path,
        [
            [0, 0, 0.5, 0.1, 0.2, 0.3, 0.8],
            [0, 0, 0.9, 0.5, 0.0, 1.2, 0.9],  # over the right edge
            [0, 1, 0.9, 0.1, 0.1, 0.2, 0.2],  # no person
            [0, 0, LOWEST_SCORE / 2, 0.1, 0.1, 0.2, 0.2],
            [0, 0, 0.9, 0.1, 0.1, 0.1, 0.9],  # without width
            [-1, 0, 0, 0, 0, 0, 0],
            [0, 0, 0.99, 0.1, 0.1, 0.5, 0.5],  # behind the end
        ],
    )
    (found,) = open_detector(Network(path, 1), "ssd").detect([picture()])
    np.testing.assert_allclose(found.boxes, [[50, 0, 100, 45], [10, 10, 30, 40]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.5])
    assert found.boxes.dtype == found.scores.dtype == np.float32


def lightness_as_score(folder: Path) -> Path:
    """A network that sees one person whose score is the mean of the picture, 0-1."""
    image = ops.parameter([1, 3, 32, 32], np.float32, name="image")
    mean = ops.reduce_mean(ops.divide(image, np.float32(255)), np.array([1, 2, 3]), keep_dims=True)
    rows = [ops.constant(np.full((1, 1, 1, 1), each, np.float32)) for each in (0, 0, 0.1, 0.1, 0.9, 0.9)]
    return saved(openvino.Model([ops.concat([*rows[:2], mean, *rows[2:]], 3)], [image], "light"), folder)


def test_a_detector_sees_pictures_in_usual_light(tmp_path: Path) -> None:
    detector = open_detector(Network(lightness_as_score(tmp_path), 1), "light")
    found = detector.detect([np.full((50, 100, 3), value, np.uint8) for value in (115, 180, 60)])
    np.testing.assert_allclose([each.scores[0] for each in found], [115 / 255, 0.555, 0.4], atol=0.01)


@pytest.mark.parametrize("place", [2, 3])
def test_an_answer_of_nan_is_an_error_not_an_empty_scene(tmp_path: Path, place: int) -> None:
    row = [0, 0, 0.5, 0.1, 0.2, 0.3, 0.8]
    row[place] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        open_detector(Network(ssd(tmp_path, [row]), 1), "ssd").detect([picture()])


@pytest.mark.parametrize("threads", [1, 2])
def test_vectors_come_in_the_order_of_their_crops_normalised(tmp_path: Path, threads: int) -> None:
    embedder = open_embedder(Network(mean_colour(tmp_path), threads), "mean")
    colours = np.random.default_rng(0).integers(1, 256, (11, 3)).astype(np.uint8)
    crops = [np.broadcast_to(colour, (20 + n, 9, 3)) for n, colour in enumerate(colours)]

    vectors = embedder.embed([np.ascontiguousarray(each) for each in crops])

    expected = colours / np.linalg.norm(colours.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimensions) == (0, 3)


def test_a_vector_without_direction_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no direction"):
        open_embedder(Network(mean_colour(tmp_path), 1), "mean").embed([np.zeros((9, 9, 3), np.uint8)])


def test_a_network_goes_on_after_an_input_it_refused(tmp_path: Path) -> None:
    network = Network(mean_colour(tmp_path), threads=2)
    right, wrong = np.ones((1, 16, 8, 3), np.uint8), np.ones((1, 9, 9, 3), np.uint8)
    with pytest.raises(Exception, match=r"(?s).+"):
        network.infer([right, right, wrong, right])
    assert len(network.infer([right] * 5)) == 5


def test_a_compiled_network_is_kept_and_a_damaged_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "cache"))
    path = mean_colour(tmp_path)
    crop = np.full((9, 9, 3), (10, 20, 200), np.uint8)
    expected = open_embedder(Network(path, 1), "mean").embed([crop])
    kept = list((tmp_path / "cache/openvino").glob("*.blob"))
    assert kept
    np.testing.assert_array_equal(open_embedder(Network(path, 1), "mean").embed([crop]), expected)
    for blob in kept:
        blob.chmod(0o600)
        blob.write_bytes(blob.read_bytes()[:100])
    np.testing.assert_array_equal(open_embedder(Network(path, 1), "mean").embed([crop]), expected)


def test_without_a_cache_folder_networks_are_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "file"))
    Network(mean_colour(tmp_path), 1)
    assert "cannot be written: networks are compiled anew" in caplog.text


def test_files_that_are_no_network_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty.xml").write_text("")
    (tmp_path / "noise.onnx").write_bytes(b"\x00noise")
    for name in ("missing.xml", "empty.xml", "noise.onnx"):
        with pytest.raises(ModelError, match=rf"{name} cannot be read as a network .* models pull"):
            open_detector(Network(tmp_path / name, 1), "x")


def test_a_network_of_another_kind_is_told_from_a_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a person detector of a known layout"):
        open_detector(Network(mean_colour(tmp_path), 1), "mean")


# From here on: the real networks.


def plaza(shared_data: Path, every: int, most: int = 1000) -> list[tuple[int, Image]]:
    """Frames of the plaza video and their numbers from 1, as the annotation counts."""
    video = cv2.VideoCapture(str(shared_data / "data/video/vtest.avi"))
    frames: list[tuple[int, Image]] = []
    number = 0
    while len(frames) < most and video.grab():
        number += 1
        if number % every == 0:
            frames.append((number, np.asarray(video.retrieve()[1], np.uint8)))
    video.release()
    return frames


def average_precision(found: list[Detections], truth: list[np.ndarray]) -> float:
    """Area under the precision-recall curve at IoU 0.5, as PASCAL VOC 2010 has it."""
    rows = []
    for detections, people in zip(found, truth, strict=True):
        free = np.ones(len(people), bool)
        for box, score in zip(detections.boxes, detections.scores, strict=True):
            sides = np.minimum(box[2:], people[:, 2:]) - np.maximum(box[:2], people[:, :2])
            shared = np.maximum(sides, 0).prod(axis=1)
            union = (box[2:] - box[:2]).prod() + (people[:, 2:] - people[:, :2]).prod(axis=1) - shared
            overlap = np.where(free, shared / union, 0)
            best = int(overlap.argmax()) if len(people) else 0
            hit = len(people) > 0 and overlap[best] >= 0.5
            if hit:
                free[best] = False
            rows.append((score, hit))
    rows.sort(reverse=True)
    hits = np.cumsum([hit for _, hit in rows])
    recall = hits / sum(map(len, truth))
    precision = np.maximum.accumulate((hits / np.arange(1, len(rows) + 1))[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def opened(shared_data: Path, name: str, threads: int = 2) -> PersonDetector:
    model = manifest()[name]
    path = shared_data / "models" / model.variants[0].files[0].file
    return open_detector(Network(path, threads), name, model.person_label)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("person-detection-0202", 0.88),
        ("person-detection-0200", 0.85),
        ("person-detection-retail-0013", 0.83),
        ("yolox_nano", 0.83),
    ],
)
def test_each_detector_sees_the_people_of_the_plaza(shared_data: Path, name: str, least: float) -> None:
    frames = plaza(shared_data, every=40)
    rows = np.loadtxt(shared_data / "data/mot/PETS09-S2L1/gt/gt.txt", delimiter=",")
    truth = [
        np.concatenate([each[:, 2:4], each[:, 2:4] + each[:, 4:6]], axis=1)
        for number, _ in frames
        for each in [rows[rows[:, 0] == number]]
    ]
    found = opened(shared_data, name).detect([image for _, image in frames])
    assert average_precision(found, truth) > least


@pytest.mark.data
@pytest.mark.parametrize("name", ["person-detection-0200", "yolox_nano"])
def test_the_same_picture_gives_the_same_bytes_in_any_batch_and_on_any_number_of_threads(
    shared_data: Path, name: str
) -> None:
    images = [image for _, image in plaza(shared_data, every=60, most=5)]
    alone = [opened(shared_data, name, threads=1).detect([image])[0] for image in images[:2]]
    together = opened(shared_data, name, threads=2).detect(images)
    for one, other in zip(alone, together, strict=False):
        assert one.boxes.tobytes() == other.boxes.tobytes()
        assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.data
@pytest.mark.parametrize("name", ["person-detection-0200", "yolox_nano"])
def test_all_threads_on_one_picture_see_what_one_thread_sees(shared_data: Path, name: str) -> None:
    image = plaza(shared_data, every=60, most=1)[0][1]
    path = shared_data / "models" / manifest()[name].variants[0].files[0].file
    (alone,) = open_detector(Network(path, 1), name).detect([image])
    (together,) = open_detector(Network(path, 2, together=True), name).detect([image])
    np.testing.assert_allclose(together.boxes, alone.boxes, atol=0.1)
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-3)


@pytest.mark.data
def test_a_real_picture_is_scaled_as_the_network_was_trained(shared_data: Path) -> None:
    """The input made inside the network equals the one described for it: float32, BGR, 0-255, NCHW."""
    path = shared_data / "models/person-detection-0200/FP16-INT8/person-detection-0200.xml"
    _, image = plaza(shared_data, every=100, most=1)[0]
    plain = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": "1"})
    pixels = cv2.resize(image, (256, 256)).transpose(2, 0, 1)[None].astype(np.float32)
    rows = plain(pixels)[0].reshape(-1, 7)
    rows = rows[(rows[:, 0] == 0) & (rows[:, 2] >= LOWEST_SCORE)]
    (found,) = open_detector(Network(path, 1), "0200").detect([image])
    np.testing.assert_allclose(found.scores, rows[:, 2], atol=0.02)


@pytest.fixture(scope="module")
def crops(shared_data: Path) -> tuple[np.ndarray, list[Image]]:
    """People of the plaza and their crops, two seconds and more apart, nobody in front of them."""
    from services.detector.quality import visibility

    rows = np.loadtxt(shared_data / "data/mot/PETS09-S2L1/gt/gt.txt", delimiter=",")
    people: list[int] = []
    images: list[Image] = []
    for number, image in plaza(shared_data, every=50):
        here = rows[rows[:, 0] == number]
        boxes = np.concatenate([here[:, 2:4], here[:, 2:4] + here[:, 4:6]], axis=1).astype(np.float32)
        boxes = np.clip(boxes, 0, (image.shape[1], image.shape[0]) * 2)
        for row in np.flatnonzero(visibility(boxes, image.shape[1], image.shape[0]) > 0.75):
            x0, y0, x1, y1 = boxes[row].astype(int)
            people.append(int(here[row, 1]))
            images.append(image[y0:y1, x0:x1])
    return np.array(people), images


def separation(embed: Callable[[list[Image]], np.ndarray], crops: tuple[np.ndarray, list[Image]]) -> float:
    """How often a pair of one person is more alike than a pair of two (area under the ROC curve)."""
    people, images = crops
    vectors = embed(images)
    alike = (vectors @ vectors.T)[np.triu_indices(len(people), 1)]
    same = (people[:, None] == people)[np.triu_indices(len(people), 1)]
    return float((alike[same][:, None] > alike[~same]).mean())


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["person-reidentification-retail-0287", "person-reidentification-retail-0288"]
)
def test_appearance_tells_people_apart(
    shared_data: Path, crops: tuple[np.ndarray, list[Image]], name: str
) -> None:
    path = shared_data / "models" / manifest()[name].variants[0].files[0].file
    embedder = open_embedder(Network(path, 2), name)
    assert embedder.dimensions == 256
    assert separation(embedder.embed, crops) > 0.93


@pytest.mark.data
def test_colours_tell_people_apart_less_well(
    shared_data: Path, crops: tuple[np.ndarray, list[Image]]
) -> None:
    from services.detector.histogram import HistogramEmbedder

    assert separation(HistogramEmbedder().embed, crops) > 0.82
