"""Detectron2's region proposal network, trained as the authors train theirs."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.matcher import Matcher as LibraryMatcher
from detectron2.modeling.proposal_generator import RPN as LibraryRPN
from detectron2.modeling.proposal_generator import StandardRPNHead
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.structures import Boxes, Instances
from torch import Tensor

from repro.detection.boxes import clip
from repro.detection.rpn import lie_within
from repro.detection.sampling import BalancedSampler


class Detectron2Matcher(LibraryMatcher):
    """Detectron2's matcher, which also gives every object the boxes with its highest IoU if that is at least `least`.

    Detectron2 has no such minimum, and leaves a box that it makes positive in this way to the object that overlaps it
    most; here it goes to the object that claims it, the last one if there are several.
    """

    def __init__(self, *, thresholds: list[float], labels: list[int], least: float) -> None:
        super().__init__(thresholds, labels)
        self.least = least

    def __call__(self, iou: Tensor) -> tuple[Tensor, Tensor]:
        """IoU (objects, boxes) -> the object of each box, int64 (boxes,), and its label of `labels`, int8 (boxes,)."""
        matches, labels = super().__call__(iou)
        if iou.numel() == 0:
            return matches, labels
        highest = iou.amax(dim=1, keepdim=True)
        objects, boxes = torch.where((iou == highest) & (highest >= self.least))
        claims = torch.full_like(matches, -1).scatter_reduce_(0, boxes, objects, "amax")
        return torch.where(claims >= 0, claims, matches), labels.masked_fill(claims >= 0, 1)


class Detectron2PyramidAnchors(DefaultAnchorGenerator):
    """Detectron2's anchors: sides `rounded` to whole pixels, levels at `inferred_strides` (see conventions.py)."""

    def __init__(self, *, rounded: bool, inferred_strides: bool, **options: Any) -> None:
        self.rounded, self.inferred_strides = rounded, inferred_strides
        super().__init__(**options)

    def generate_cell_anchors(self, sizes: list[float], aspect_ratios: list[float]) -> Tensor:
        """The anchors around the origin, (ratios, 4). Called by the base class."""
        anchors = super().generate_cell_anchors(sizes, aspect_ratios)
        return anchors.round() if self.rounded else anchors

    def _grid_anchors(self, grid_sizes: list[tuple[int, int]]) -> list[Tensor]:
        height, width = (self.strides[0] * cells for cells in grid_sizes[0])  # of the padded images
        anchors = []
        for (rows, columns), stride, cell in zip(grid_sizes, self.strides, self.cell_anchors, strict=True):
            down, right = (height // rows, width // columns) if self.inferred_strides else (stride, stride)
            y = (torch.arange(rows, device=cell.device) + self.offset) * down
            x = (torch.arange(columns, device=cell.device) + self.offset) * right
            y, x = torch.meshgrid(y, x, indexing="ij")
            anchors.append((torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) + cell).view(-1, 4))
        return anchors


class Detectron2RPNHead(StandardRPNHead):
    """Detectron2's RPN head with outputs in float32, so that boxes keep their precision."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(features)
        return [level.float() for level in logits], [level.float() for level in deltas]


class RPN(LibraryRPN):
    """Detectron2's region proposal network, with the authors' choice and weight of training targets.

    Anchors that cross the border of the image are left out before anchors are matched, and both losses are averaged
    over the sampled anchors, not over as many as should be sampled. Proposals that are not finite are dropped without
    an error: the losses show them.
    """

    def __init__(self, *, inclusive_boxes: bool, **options: Any) -> None:
        super().__init__(**options)
        self.inclusive_boxes = inclusive_boxes
        self.generator: torch.Generator | None = None  #: for the sampling; torch's own by default

    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Per image: labels (anchors,), 1, 0 or -1 for not sampled, and the matched objects' boxes (anchors, 4)."""
        every = Boxes.cat(anchors)
        labels, boxes = [], []
        for image in gt_instances:
            (inside,) = lie_within(every.tensor, [image.image_size])
            (label,), (box,) = super().label_and_sample_anchors([every[inside]], [image])
            labels.append(torch.full_like(inside, -1, dtype=label.dtype).masked_scatter(inside, label))
            # An anchor that is not sampled is its own target: any box of positive size would do.
            boxes.append(every.tensor.masked_scatter(inside[:, None], box))
        return labels, boxes

    def _subsample_labels(self, label: Tensor) -> Tensor:
        sampler = BalancedSampler(self.batch_size_per_image, self.positive_fraction, self.generator)
        drawn = sampler(label[None])
        return label.fill_(-1).index_fill_(0, drawn.positives, 1).index_fill_(0, drawn.negatives, 0)

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """`loss_rpn_cls` and `loss_rpn_loc`. Called by the base class."""
        losses = super().losses(anchors, pred_objectness_logits, gt_labels, pred_anchor_deltas, gt_boxes)
        sampled = sum(int((image >= 0).sum()) for image in gt_labels)
        scale = self.batch_size_per_image * len(gt_labels) / max(sampled, 1)
        return {name: loss * scale for name, loss in losses.items()}

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """The proposals of each image, best first. Called by the base class."""
        levels = self._decode_proposals(anchors, pred_anchor_deltas)
        if self.inclusive_boxes:
            levels = [
                torch.stack([clip(image, size, inclusive=True) for image, size in zip(level, image_sizes, strict=True)])
                for level in levels
            ]
        return find_top_rpn_proposals(
            levels,
            pred_objectness_logits,
            image_sizes,
            self.nms_thresh,
            self.pre_nms_topk[self.training],
            self.post_nms_topk[self.training],
            self.min_box_size,
            training=False,  # it would raise on what is not finite
        )
