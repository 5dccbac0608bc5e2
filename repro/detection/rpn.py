"""The region proposal network, trained as the authors train it."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import rpn as torchvision_rpn

from repro.detection.anchors import ASPECT_RATIOS, PyramidAnchors
from repro.detection.boxes import clip
from repro.detection.sampling import BalancedSampler, Matcher
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions, choose_conventions


class RPNHead(torchvision_rpn.RPNHead):
    """One 3x3 convolution, then objectness and box deltas; float32 out, so that boxes keep their precision."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(features)
        return [level.float() for level in logits], [level.float() for level in deltas]


class RegionProposalNetwork(torchvision_rpn.RegionProposalNetwork):
    """torchvision's region proposal network, with the anchors of `conventions` and the authors' training targets.

    What differs in training: anchors that cross the border of the image are left out, an object keeps its nearest
    anchors only from an IoU of 0.3, and the sampling is drawn from `generator`. Both losses (cross entropy, smooth L1
    with beta 1/9) are averaged over the sampled anchors of all images. `targets` of `forward` are dicts of
    "boxes", float32 (n, 4), and "size", the (height, width) of the image before padding.
    """

    def __init__(
        self, spec: Detector, generator: torch.Generator, conventions: DetectionConventions | None = None
    ) -> None:
        conventions = conventions or choose_conventions(spec)
        before_nms, after_nms = (
            {"training": training, "testing": conventions.limit_proposals(test)}
            for training, test in (spec.proposals_per_level, spec.proposals)
        )
        super().__init__(
            PyramidAnchors(spec.anchor_scale, conventions),
            RPNHead(spec.fpn_channels, len(ASPECT_RATIOS)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=spec.rpn_samples,
            positive_fraction=0.5,
            pre_nms_top_n=before_nms,
            post_nms_top_n=after_nms,
            nms_thresh=0.7,
        )
        self.proposal_matcher = Matcher(0.7, 0.3, least=0.3)
        self.fg_bg_sampler = BalancedSampler(spec.rpn_samples, 0.5, generator)
        self.inclusive = conventions.inclusive_boxes

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, sizes: list[tuple[int, int]], counts: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Filter the proposals of every image: boxes (k, 4) and scores. Called by the base class, which clips anew."""
        if self.inclusive:
            images = zip(proposals, sizes, strict=True)
            proposals = torch.stack([clip(image, size, inclusive=True) for image, size in images])
        return super().filter_proposals(proposals, objectness, sizes, counts)

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Assign labels (anchors,), 1, 0 or -1 for ignored, and the matched objects' boxes (anchors, 4), per image."""
        inside = [lie_within(image, target["size"]) for image, target in zip(anchors, targets, strict=True)]
        labels, boxes = super().assign_targets_to_anchors(
            [image[mask] for image, mask in zip(anchors, inside, strict=True)], targets
        )
        # An ignored anchor is its own target: any box of positive size would do.
        return (
            [mask.float().sub(1).masked_scatter(mask, label) for mask, label in zip(inside, labels, strict=True)],
            [image.masked_scatter(mask[:, None], box) for image, mask, box in zip(anchors, inside, boxes, strict=True)],
        )

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The objectness and the box loss; zeros that keep the graph where the images hold no whole anchor."""
        if all((image < 0).all() for image in labels):
            return objectness.sum() * 0, pred_bbox_deltas.sum() * 0
        return super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)


def lie_within(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Mark the `boxes` (n, 4), xyxy, that lie entirely in an image of `size` (height, width): bool (n,)."""
    height, width = size
    return (boxes[:, :2] >= 0).all(dim=1) & (boxes[:, 2] <= width) & (boxes[:, 3] <= height)
