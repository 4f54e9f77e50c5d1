"""The steps of torchvision's FasterRCNN ResNet50 FPN V2 for people, for batches of pictures of one size.

The same arithmetic with the same weights as `torchvision.models.detection`, arranged for a device that
should not wait: every step has a fixed shape, so that nothing is counted on the processor in between and
the whole can be recorded as one graph.  Batch normalisation is folded into the convolutions, boxes are made
only of proposals that are ranked highest, and of the 91 classes only the wanted one is carried to the end.

The detector is Ren et al., 2015, with the improvements of Li et al., 2021; the pyramid is Lin et al., 2017;
regions are pooled as in He et al., "Mask R-CNN", 2017.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import roi_align

from services.detector.torch_boxes import clipped, decoded, large, not_suppressed
from services.detector.torch_picture import powers, raised

ROUNDS = 24
"""Of suppression, before the answer says that more are needed."""

FLAGS = 2
"""Numbers behind the boxes in an answer: whether the network was finite, whether suppression is final."""

SMALLEST_PX = 1e-2
"""Of a detection, in the network's own picture, as torchvision has it."""

CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 4
"""A region of that size is pooled from that level of the pyramid."""

LEVEL_EPSILON = 1e-6
FINEST_LEVEL = 2
"""Each level halves the picture that often."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a picture is on its way through the network.

    picture: height, width as it came.  scaled: as the network sees it.  padded: up to whole strides.
    """

    picture: tuple[int, int]
    scaled: tuple[int, int]
    padded: tuple[int, int]


def size_for(height: int, width: int, shorter: int, longer: int, divisor: int = 32) -> Size:
    """The size at which the shorter side has `shorter` pixels, and the longer not more than `longer`."""
    ratio = min(shorter / min(height, width), longer / max(height, width))
    scaled = max(1, int(height * ratio)), max(1, int(width * ratio))
    padded = -(-scaled[0] // divisor) * divisor, -(-scaled[1] // divisor) * divisor
    return Size((height, width), scaled, padded)


def folded(network: torch.nn.Module) -> torch.nn.Module:
    """The network, its batch normalisations made part of the convolutions before them; in place."""
    for parent in network.modules():
        for (name, child), (after, following) in itertools.pairwise(list(parent.named_children())):
            if isinstance(child, torch.nn.Conv2d) and isinstance(following, torch.nn.BatchNorm2d):
                parent._modules[name] = fuse_conv_bn_eval(child, following)
                parent._modules[after] = torch.nn.Identity()
    return network


def rounded(network: torch.nn.Module, precision: torch.dtype) -> torch.nn.Module:
    """A copy of the network in another precision."""
    return copy.deepcopy(network).to(precision)


class PeopleRcnn:
    """One network of torchvision's, computed for one class of it.

    Tensors are on the network's device.  B pictures of one size, P proposals of each.
    """

    def __init__(self, network: Any, label: int) -> None:
        """network: torchvision's FasterRCNN, its normalisations folded, in eval mode."""
        self.network = network
        self._label = label
        self._roi = network.roi_heads
        self._rpn = network.rpn
        parameter = next(network.parameters())
        self._precision = parameter.dtype
        mean, deviation = (
            torch.tensor(each, device=parameter.device).reshape(1, 3, 1, 1)
            for each in (network.transform.image_mean, network.transform.image_std)
        )
        self._mean, self._deviation = mean, deviation
        self._predictor = self._roi.box_predictor
        self._anchors: dict[tuple[tuple[int, int], ...], list[torch.Tensor]] = {}

    def __call__(self, batch: torch.Tensor, size: Size, rounds: int = ROUNDS) -> torch.Tensor:
        """Pictures (B, 3, H, W) uint8 RGB to one tensor: B * N * 5 numbers as `people`, then FLAGS."""
        features = self.pyramid(self.prepared(batch, size))
        boxes, valid, finite, settled = self.proposals(features, size, rounds)
        logits, deltas = self.judged(self.pooled(features, boxes, size))
        people, final = self.people(logits, deltas, boxes, valid, size=size, rounds=rounds)
        finite &= torch.isfinite(logits.sum()) & torch.isfinite(deltas.sum())
        flags = torch.stack([finite, settled & final]).float()
        return torch.cat([people.flatten(), flags])

    def prepared(self, batch: torch.Tensor, size: Size) -> torch.Tensor:
        """Pictures (B, 3, H, W) uint8 RGB as the network wants them: relit, normalised, scaled, padded."""
        values = functional.interpolate(batch.float(), size=size.scaled, mode="bilinear", align_corners=False)
        values = (raised(values, powers(batch)).div_(255) - self._mean) / self._deviation
        below, right = size.padded[0] - values.shape[2], size.padded[1] - values.shape[3]
        values = functional.pad(values, (0, right, 0, below))
        return values.to(self._precision, memory_format=torch.channels_last)

    def pyramid(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The levels of features, the finest first, strides 4, 8, 16, 32 and 64."""
        return list(self.network.backbone(values).values())

    def proposals(
        self, features: list[torch.Tensor], size: Size, rounds: int = ROUNDS
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, P, 4) boxes in the scaled picture, (B, P) which of them are some, () finite, () settled."""
        objectness, deltas = self._rpn.head(features)
        finite = torch.ones((), dtype=torch.bool, device=features[0].device)
        settled = finite
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        anchors = self._anchors_of(features, size)
        for logits, answers, places in zip(objectness, deltas, anchors, strict=True):
            ranked = logits.permute(0, 2, 3, 1).flatten(1).float()
            offsets = answers.permute(0, 2, 3, 1).reshape(len(ranked), -1, 4).float()
            finite = finite & torch.isfinite(ranked.sum()) & torch.isfinite(offsets.sum())
            scores, best = ranked.topk(min(self._rpn.pre_nms_top_n(), ranked.shape[1]), dim=1)
            chosen = offsets.gather(1, best.unsqueeze(-1).expand(-1, -1, 4))
            boxes = clipped(decoded(chosen, places[best], (1.0, 1.0)), *size.scaled[::-1])
            probability = scores.sigmoid()
            valid = large(boxes, self._rpn.min_size) & (probability >= self._rpn.score_thresh)
            stays, final = not_suppressed(boxes, valid, self._rpn.nms_thresh, rounds)
            settled = settled & final
            found.append((boxes, torch.where(stays, probability, -1.0)))
        every, probability = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
        most = min(self._rpn.post_nms_top_n(), probability.shape[1])
        probability, best = probability.topk(most, dim=1)
        valid = probability >= 0
        boxes = every.gather(1, best.unsqueeze(-1).expand(-1, -1, 4))
        # Pooling reads where a box says, and one of NaN says anywhere.
        return torch.where(valid.unsqueeze(-1), boxes, 0.0), valid, finite, settled

    def pooled(self, features: list[torch.Tensor], boxes: torch.Tensor, size: Size) -> torch.Tensor:
        """(B * P, channels, 7, 7) the features inside each box.

        The levels are laid below one another into one picture, so that one call pools from all of them;
        each has its last row and column once more, which is what a sample at its edge sees.
        """
        levels = features[: len(self._roi.box_roi_pool.featmap_names)]
        count, channels = levels[0].shape[:2]
        height = sum(each.shape[2] + 1 for each in levels)
        canvas = torch.zeros(
            (count, channels, height, levels[0].shape[3] + 1), dtype=torch.float32, device=boxes.device
        )
        top = 0
        for each in levels:
            rows, columns = each.shape[2:]
            canvas[:, :, top : top + rows, :columns] = each
            canvas[:, :, top : top + rows, columns] = each[:, :, :, -1]
            canvas[:, :, top + rows, : columns + 1] = canvas[:, :, top + rows - 1, : columns + 1]
            top += rows + 1
        sides = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1).sqrt()
        level = torch.floor(CANONICAL_LEVEL + torch.log2(sides / CANONICAL_SIDE) + LEVEL_EPSILON)
        level = level.clamp(FINEST_LEVEL, FINEST_LEVEL + len(levels) - 1)
        placed = boxes * torch.exp2(-level).unsqueeze(-1)
        shift, top = torch.zeros_like(level), 0
        for number, each in enumerate(levels, FINEST_LEVEL):
            shift = torch.where(level == number, float(top), shift)
            top += each.shape[2] + 1
        x0, y0, x1, y1 = placed.unbind(dim=-1)
        of = torch.arange(count, dtype=boxes.dtype, device=boxes.device).view(-1, 1).expand_as(x0)
        regions = torch.stack([of, x0, y0 + shift, x1, y1 + shift], dim=-1).flatten(0, 1)
        pool = self._roi.box_roi_pool
        values = roi_align(canvas, regions, pool.output_size, 1.0, pool.sampling_ratio)
        return values.to(self._precision, memory_format=torch.channels_last)

    def judged(self, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B * P, classes) logits and (B * P, 4) deltas of the wanted class, in fp32."""
        described = self._roi.box_head(regions).float()
        predictor, rows = self._predictor, slice(4 * self._label, 4 * self._label + 4)
        logits = functional.linear(
            described, predictor.cls_score.weight.float(), predictor.cls_score.bias.float()
        )
        deltas = functional.linear(
            described, predictor.bbox_pred.weight[rows].float(), predictor.bbox_pred.bias[rows].float()
        )
        return logits, deltas

    def people(
        self,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        boxes: torch.Tensor,
        valid: torch.Tensor,
        *,
        size: Size,
        rounds: int = ROUNDS,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, 5) boxes in the picture as it came and scores, the surest first, -1 for none; () final."""
        count, proposed = boxes.shape[:2]
        scores = logits.softmax(dim=-1)[:, self._label].view(count, proposed)
        found = decoded(deltas.view(count, proposed, 4), boxes, self._roi.box_coder.weights[1:3])
        found = clipped(found, *size.scaled[::-1])
        valid = valid & (scores > self._roi.score_thresh) & large(found, SMALLEST_PX)
        scores, order = torch.where(valid, scores, -1.0).sort(dim=1, descending=True, stable=True)
        found = found.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
        stays, final = not_suppressed(found, scores >= 0, self._roi.nms_thresh, rounds)
        most = min(self._roi.detections_per_img, proposed)
        scores, best = torch.where(stays, scores, -1.0).topk(most, dim=1)
        found = found.gather(1, best.unsqueeze(-1).expand(-1, -1, 4))
        x, y = size.picture[1] / size.scaled[1], size.picture[0] / size.scaled[0]
        x0, y0, x1, y1 = found.unbind(dim=-1)
        return torch.stack([x0 * x, y0 * y, x1 * x, y1 * y, scores], dim=-1), final

    def _anchors_of(self, features: list[torch.Tensor], size: Size) -> list[torch.Tensor]:
        """Of each level (A, 4), kept for the next batch of this size."""
        grids = tuple((int(each.shape[2]), int(each.shape[3])) for each in features)
        if grids not in self._anchors:
            generator = self._rpn.anchor_generator
            generator.set_cell_anchors(torch.float32, torch.device("cpu"))
            strides = [
                [torch.tensor(padded // cells) for padded, cells in zip(size.padded, grid, strict=True)]
                for grid in grids
            ]
            anchors = generator.grid_anchors([list(each) for each in grids], strides)
            self._anchors[grids] = [each.to(features[0].device) for each in anchors]
        return self._anchors[grids]
