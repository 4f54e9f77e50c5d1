"""torchvision's networks with random weights that behave like trained ones, for where none are to be had.

Plain random weights make a network a noise amplifier: activations grow or die from layer to layer, and
rounding decides what it sees.  Here the statistics of every batch normalisation are those of real pictures,
the residual branches add little to what they are added to, as in trained networks, and the heads are scaled
so that some places of a picture are surely people, most surely not, and few in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torchvision.models import resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2
from torchvision.models.resnet import Bottleneck

from services.detector.picture import Image

SEED = 3
RESIDUAL_SHARE = 0.1
"""Of a residual branch, in what it is added to."""

PERSON = 1
SURE_SHARE = 0.1
"""Of the proposals, those that score above one half."""

SPREAD = 3.0
"""Standard deviation of the person's logit over the proposals."""


def seeded_detector(pictures: Sequence[Image], **options: Any) -> torch.nn.Module:
    """FasterRCNN ResNet50 FPN V2 that sees people in these pictures and others like them.

    options: of torchvision's network (min_size, max_size, ...).
    """
    torch.manual_seed(SEED)
    network = fasterrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, **{"box_score_thresh": 0.1, **options}
    )
    _calibrate(network, lambda: network.eval()([tensor(each) for each in pictures]))
    heads: list[tuple[torch.nn.Module, torch.Tensor]] = []
    hooks = [
        part.register_forward_hook(lambda part, _, answer: heads.append((part, answer[0])))
        for part in (network.rpn.head, network.roi_heads.box_predictor)
    ]
    with torch.inference_mode():
        network.eval()([tensor(each) for each in pictures])
        for hook in hooks:
            hook.remove()
        objectness = torch.cat([each.flatten() for each in heads[0][1]])
        network.rpn.head.cls_logits.weight.div_(objectness.std() / 3)
        network.rpn.head.bbox_pred.weight.zero_()  # proposals are anchors
        predictor = network.roi_heads.box_predictor
        others = torch.ones(len(predictor.cls_score.bias), dtype=torch.bool)
        others[PERSON] = False
        predictor.cls_score.weight[others] *= 0.0
        person = heads[1][1][:, PERSON]
        predictor.cls_score.weight[PERSON] *= SPREAD / person.std()
        predictor.bbox_pred.weight.mul_(0.05)
    _balance(network, pictures)
    return network.eval()


def _balance(network: Any, pictures: Sequence[Image]) -> None:
    """Set the person's bias so that so many proposals are sure."""
    seen: list[torch.Tensor] = []
    predictor = network.roi_heads.box_predictor
    hook = predictor.register_forward_hook(lambda _, __, answer: seen.append(answer[0]))
    with torch.inference_mode():
        network([tensor(each) for each in pictures])
        hook.remove()
        person = seen[0][:, PERSON]
        limit = torch.quantile(person, 1 - SURE_SHARE)
        # Against the 90 others, whose logits are their biases.
        rest = torch.logsumexp(predictor.cls_score.bias[torch.arange(len(seen[0][0])) != PERSON], 0)
        predictor.cls_score.bias[PERSON] += rest - limit


def seeded_embedder(crops: Sequence[Image]) -> torch.nn.Module:
    """ResNet50 whose features of these crops, and others like them, differ; crops are of one size."""
    torch.manual_seed(SEED)
    network = resnet50(weights=None)
    batch = torch.stack([tensor(each) for each in crops])
    _calibrate(network, lambda: network.eval()(batch))
    return network.eval()


def tensor(image: Image) -> torch.Tensor:
    """The picture as torchvision takes it: (3, H, W) float RGB, 0-1."""
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255


def noise_pictures(count: int, height: int, width: int) -> list[Image]:
    """Soft shapes of all sizes: as varied as real pictures are, and the same each time."""
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(count):
        total = np.zeros((height, width, 3))
        for cells in (3, 6, 12, 24, 48):
            noise = random.normal(size=(cells, cells * width // height + 1, 3))
            total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        found.append(np.clip(total * 28 + 128, 0, 255).astype(np.uint8))
    return found


def _calibrate(network: torch.nn.Module, run: Any) -> None:
    """Give every batch normalisation the statistics of what it is shown."""
    for part in network.modules():
        if isinstance(part, Bottleneck):
            torch.nn.init.constant_(part.bn3.weight, RESIDUAL_SHARE)
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]

    def observe(norm: Any, given: tuple[torch.Tensor, ...]) -> None:
        values = given[0]
        norm.running_mean.copy_(values.mean(dim=(0, 2, 3)))
        norm.running_var.copy_(values.var(dim=(0, 2, 3)))

    hooks = [norm.register_forward_pre_hook(observe) for norm in norms]
    with torch.inference_mode():
        run()
    for hook in hooks:
        hook.remove()
