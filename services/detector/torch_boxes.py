"""Boxes on a device, in batches of fixed shape: nothing here waits for the device to count."""

from __future__ import annotations

import math

import torch

LARGEST_GROWTH = math.log(1000 / 16)
"""Of a side, as a logarithm: what a network may ask for at most, as torchvision has it."""


def decoded(deltas: torch.Tensor, anchors: torch.Tensor, weights: tuple[float, float]) -> torch.Tensor:
    """(..., 4) boxes x0, y0, x1, y1 that the deltas (..., 4) make of the anchors (..., 4).

    weights: what the deltas of centres and of sides were multiplied by in training (Girshick et al., 2014).
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + 0.5 * sides
    centres = deltas[..., :2] / weights[0] * sides + centres
    halves = 0.5 * (torch.exp((deltas[..., 2:] / weights[1]).clamp(max=LARGEST_GROWTH)) * sides)
    return torch.cat([centres - halves, centres + halves], dim=-1)


def clipped(boxes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """The boxes (..., 4), cut at the picture's edges."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def large(boxes: torch.Tensor, side: float) -> torch.Tensor:
    """(...,) whether both sides of a box are at least that long."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= side).all(dim=-1)


def not_suppressed(
    boxes: torch.Tensor, valid: torch.Tensor, overlap: float, rounds: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy non-maximum suppression in every row of a batch at once.

    boxes: (G, N, 4), in each row the surest first.  valid: (G, N), others take no part.  overlap: a box
    that shares more than this of its union with a surer one that stays goes.

    Returns (G, N) which boxes stay, and () whether the answer is the final one.  The greedy answer is the
    only one in which a box stays exactly if no surer box that stays covers it.  Each round makes one more
    link of a chain of boxes that cover each other right; `rounds` of them are made, and the answer is final
    if the last one changed nothing.  Ask again with more rounds where it is not.
    """
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    sides = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    sides = (sides - torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])).clamp_(min=0)
    shared = sides[..., 0] * sides[..., 1]
    covers = shared / (areas[:, :, None] + areas[:, None, :] - shared) > overlap
    # Half the memory to read where that counts; sums of up to 1000 ones only have to stay above zero.
    kind = torch.float16 if boxes.device.type == "cuda" else torch.float32
    covering = covers.triu_(1).to(kind)
    stays = valid
    final = torch.ones((), dtype=torch.bool, device=boxes.device)
    for _ in range(rounds):
        covered = torch.bmm(stays.to(kind).unsqueeze(1), covering).squeeze(1) > 0
        before, stays = stays, valid & ~covered
        final = (before == stays).all()
    return stays, final
