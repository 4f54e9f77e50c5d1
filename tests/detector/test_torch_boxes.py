from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytest.importorskip("torchvision", reason="torchvision is not installed here")

from torchvision.models.detection._utils import BoxCoder  # noqa: E402 - only where torch is installed
from torchvision.ops import nms  # noqa: E402 - as above

from services.detector.torch_boxes import clipped, decoded, large, not_suppressed  # noqa: E402 - as above


def crowd(seed: int, rows: int, count: int) -> Any:
    """(rows, count, 4) boxes that overlap a lot."""
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand((rows, count, 2), generator=random) * 60
    return torch.cat([corners, corners + 10 + torch.rand((rows, count, 2), generator=random) * 40], dim=-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_boxes_that_stay_are_those_of_torchvision(seed: int, count: int, overlap: float) -> None:
    boxes = crowd(seed, 3, count)
    valid = torch.rand((3, count), generator=torch.Generator().manual_seed(seed)) > 0.2
    stays, final = not_suppressed(boxes, valid, overlap, rounds=count)
    assert final
    for row in range(3):
        places = valid[row].nonzero().ravel()
        scores = torch.linspace(1, 0, count)[places]
        expected = places[nms(boxes[row, places], scores, overlap)]
        assert stays[row].nonzero().ravel().tolist() == sorted(expected.tolist())


def test_a_chain_longer_than_the_rounds_is_said_to_be_unfinished() -> None:
    steps = torch.arange(12.0)
    boxes = torch.stack([steps * 4, steps * 0, steps * 4 + 10, steps * 0 + 10], dim=1)[None]
    valid = torch.ones((1, 12), dtype=torch.bool)
    _, final = not_suppressed(boxes, valid, 0.4, rounds=3)
    assert not final
    stays, final = not_suppressed(boxes, valid, 0.4, rounds=12)
    assert final
    assert stays[0].tolist() == [True, False] * 6


def test_boxes_are_decoded_and_cut_as_torchvision_does_it() -> None:
    anchors = crowd(1, 1, 20)[0]
    deltas = torch.randn((20, 4), generator=torch.Generator().manual_seed(2)) * 4
    expected = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(deltas, anchors)
    torch.testing.assert_close(decoded(deltas, anchors, (10.0, 5.0)), expected)
    inside = clipped(expected, 50, 40)
    assert inside.min() >= 0 and inside[:, 0::2].max() <= 50 and inside[:, 1::2].max() <= 40


def test_a_box_is_large_when_both_sides_are() -> None:
    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 9, 1], [0, 0, float("nan"), 9.0]])
    assert large(boxes, 2.0).tolist() == [True, False, False]
