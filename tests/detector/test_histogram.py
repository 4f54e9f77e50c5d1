from __future__ import annotations

import numpy as np
import pytest

from services.detector.histogram import HistogramEmbedder
from services.detector.picture import Image


def dressed(
    upper: tuple[int, int, int], lower: tuple[int, int, int], height: int = 120, seed: int = 0
) -> Image:
    """A person in an upper and a lower garment of these BGR colours, a little noisy."""
    body = np.empty((height, height // 2, 3))
    body[: height // 2], body[height // 2 :] = upper, lower
    noise = np.random.default_rng(seed).normal(0, 6, body.shape)
    return np.clip(body + noise, 0, 255).astype(np.uint8)


RED, BLUE, GREEN, GREY = (40, 40, 180), (170, 60, 40), (60, 150, 60), (110, 110, 110)


def test_vectors_have_length_one_whatever_the_crop() -> None:
    embedder = HistogramEmbedder()
    crops = [dressed(RED, BLUE), np.zeros((1, 1, 3), np.uint8), np.full((300, 7, 3), 255, np.uint8)]
    vectors = embedder.embed(crops)
    assert vectors.shape == (3, embedder.dimensions) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimensions)


@pytest.mark.parametrize("other", [dressed(GREEN, BLUE), dressed(BLUE, RED), dressed(RED, GREY)])
def test_the_same_clothes_in_other_light_and_size_are_nearer_than_other_clothes(other: Image) -> None:
    person = dressed(RED, BLUE)
    darker = (dressed(RED, BLUE, height=90, seed=1) * 0.8).astype(np.uint8)
    vectors = HistogramEmbedder().embed([person, darker, other])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1
