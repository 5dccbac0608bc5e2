"""Detectron2's RoI heads with the authors' layout, targets and cascade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from repro.detection.boxes import clip, rescale
from repro.detection.mask_targets import crop
from repro.detection.roi import SMALLEST
from repro.detection.sampling import BalancedSampler

Predictions = tuple[Tensor, Tensor]  #: class logits (R, K + 1), background last, and box deltas (R, 4 or 4 * K)
Factors = Sequence[tuple[float, float]]  #: per image, how many times as (high, wide) the original image is


class ObjectMasks:
    """The masks of an image's objects, for Detectron2's `gt_masks`; indexing it copies no pixels.

    Args:
        masks: uint8 (n, H, W).
        inclusive: how they are cropped (`crop`).
        objects: int64 (k,), which of the masks, in this order; all by default.
    """

    def __init__(self, masks: Tensor, inclusive: bool, objects: Tensor | None = None) -> None:
        self.masks = masks
        self.inclusive = inclusive
        self.objects = torch.arange(len(masks), device=masks.device) if objects is None else objects

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: Tensor | slice) -> ObjectMasks:
        return ObjectMasks(self.masks, self.inclusive, self.objects[index])

    def to(self, device: torch.device) -> ObjectMasks:
        return ObjectMasks(self.masks.to(device), self.inclusive, self.objects.to(device))

    def crop_and_resize(self, boxes: Tensor, resolution: int) -> Tensor:
        """The masks within `boxes` (k, 4), float32 (k, resolution, resolution), 0 or 1."""
        return crop([self.masks], [self.objects], [boxes], resolution, self.inclusive)


class BoxHead(FastRCNNConvFCHead):
    """Detectron2's box head, with the authors' initial weights (Xavier, uniform)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for layer in self.fcs:
            nn.init.xavier_uniform_(layer.weight)


class OutputLayers(FastRCNNOutputLayers):
    """Detectron2's outputs for weights in the authors' layout: background first, with a box if each class has its own.

    The outputs have Detectron2's layout, in float32. A detection is also dropped if clipping leaves it thinner than
    `SMALLEST`.
    """

    bbox_pred: nn.Linear

    def __init__(self, *, inclusive_boxes: bool, **options: Any) -> None:
        super().__init__(**options)
        self.inclusive_boxes = inclusive_boxes
        self.per_class = not options["cls_agnostic_bbox_reg"]
        if self.per_class:
            self.bbox_pred = nn.Linear(self.bbox_pred.in_features, 4 * (self.num_classes + 1))
            nn.init.normal_(self.bbox_pred.weight, std=0.001)
            nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> Predictions:
        logits, deltas = super().forward(x)
        return logits.float().roll(-1, dims=1), (deltas[:, 4:] if self.per_class else deltas).float()

    def decode_boxes(self, predictions: Predictions, proposals: list[Instances]) -> list[Tensor]:
        """Move the proposals by their deltas and clip them: boxes (k, 4 or 4 * K) per image."""
        images = zip(self.predict_boxes(predictions, proposals), proposals, strict=True)
        return [
            clip(boxes.reshape(-1, 4), image.image_size, self.inclusive_boxes).view_as(boxes) for boxes, image in images
        ]

    def inference(
        self, predictions: Predictions, proposals: list[Instances], factors: Factors | None = None
    ) -> tuple[list[Instances], list[Tensor]]:
        """Select the detections of each image; also return the indices of their proposals.

        Args:
            predictions: for all `proposals`.
            proposals: per image.
            factors: needed for inclusive boxes, which have other overlaps in the original image.
        """
        boxes = self.decode_boxes(predictions, proposals)
        scores = []
        for image, own in zip(self.predict_probs(predictions, proposals), boxes, strict=True):
            corners = own.unflatten(1, (-1, 4))
            small = (corners[..., 2:] - corners[..., :2] < SMALLEST).any(dim=-1)
            scores.append(torch.cat([image[:, :-1].masked_fill(small, 0), image[:, -1:]], dim=1))
        limits = self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image
        sizes = [image.image_size for image in proposals]
        if not self.inclusive_boxes:
            return fast_rcnn_inference(boxes, scores, sizes, *limits)
        if factors is None:
            raise ValueError("the overlaps of inclusive boxes need the factors between original and resized images")
        compared = [
            rescale(own.reshape(-1, 4), factor, inclusive=True).view_as(own)
            for own, factor in zip(boxes, factors, strict=True)
        ]
        unlimited = [(float("inf"), float("inf"))] * len(sizes)  # they are clipped already
        detections, rois = fast_rcnn_inference(compared, scores, unlimited, *limits)
        for image, own, roi, size in zip(detections, boxes, rois, sizes, strict=True):
            label = image.pred_classes if self.per_class else torch.zeros_like(image.pred_classes)
            image._image_size = size
            image.pred_boxes = Boxes(own.unflatten(1, (-1, 4))[roi, label])
        return detections, rois


class MaskHead(MaskRCNNConvUpsampleHead):
    """Detectron2's mask head with the authors' layout and initialisation: the background comes first and has a mask.

    The outputs are mask logits (R, K, 28, 28) without the background's, in float32.
    """

    def __init__(self, *, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes=num_classes + 1, **options)
        nn.init.kaiming_normal_(self.predictor.weight, mode="fan_out", nonlinearity="relu")

    def layers(self, x: Tensor) -> Tensor:
        return super().layers(x)[:, 1:].float()


class ROIHeads(StandardROIHeads):
    """Detectron2's heads, trained on RoIs that are chosen as the authors choose theirs.

    The objects come before the proposals, each is matched with itself, and every object keeps its best proposals (see
    `Detectron2Matcher`).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.generator: torch.Generator | None = None  #: for the sampling; torch's own by default

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """Per image the RoIs to train on, with `gt_classes`, 0..K, and `given`, whether it is an object's own box.

        Where the image has objects, the RoIs have `gt_boxes` and `gt_masks` of theirs. Called by the base class, too.
        """
        sampler = BalancedSampler(self.batch_size_per_image, self.positive_fraction, self.generator)
        sampled = []
        for image, objects in zip(proposals, targets, strict=True):
            candidates = self._match_candidates(image, objects)
            drawn = sampler((candidates.gt_classes < self.num_classes).long()[None])
            rois = candidates[torch.cat([drawn.positives, drawn.negatives]).sort().values]
            if len(objects):
                rois.gt_boxes, rois.gt_masks = (field[rois.objects] for field in (objects.gt_boxes, objects.gt_masks))
            sampled.append(rois)
        return sampled

    def _match_candidates(self, proposals: Instances, objects: Instances) -> Instances:
        matches, labels = self.proposal_matcher(pairwise_iou(objects.gt_boxes, proposals.proposal_boxes))
        own = torch.arange(len(objects), device=matches.device)
        matches, foreground = torch.cat([own, matches]), torch.cat([torch.ones_like(own), labels]) == 1
        background = objects.gt_classes.new_tensor([self.num_classes])
        return Instances(
            proposals.image_size,
            proposal_boxes=Boxes.cat([objects.gt_boxes, proposals.proposal_boxes]),
            gt_classes=torch.cat([objects.gt_classes, background])[matches.where(foreground, len(objects))],
            objects=matches,
            given=torch.arange(len(matches), device=matches.device) < len(objects),
        )

    def predict_logits_and_deltas(self, features: dict[str, Tensor], proposals: list[Instances]) -> Predictions:
        """Predict class logits and box deltas for the `proposal_boxes` of all images."""
        levels = [features[name] for name in self.box_in_features]
        return self.box_predictor(self.box_head(self.box_pooler(levels, [image.proposal_boxes for image in proposals])))

    def detect(self, features: dict[str, Tensor], proposals: list[Instances], factors: Factors) -> list[Instances]:
        """Detect the objects of each image, with `pred_masks` (n, 1, 28, 28).

        Args:
            factors: see `OutputLayers.inference`.
        """
        predictions = self.predict_logits_and_deltas(features, proposals)
        detections, _ = self.box_predictor.inference(predictions, proposals, factors)
        return self._forward_mask(features, detections)


class CascadeROIHeads(nn.Module):
    """The authors' cascade: three complete heads, each on the boxes of the one before it.

    Detectron2's has one mask head and no stage weights, scales gradients between the heads and averages class
    probabilities, not logits.

    Args:
        stages: the heads of each stage.
        weights: what each stage's losses are multiplied by.
    """

    def __init__(self, stages: Sequence[ROIHeads], weights: Sequence[float]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.weights = tuple(weights)

    @property
    def stage_heads(self) -> tuple[ROIHeads, ...]:
        """The heads of the stages, in the order in which RoIs pass through them."""
        return tuple(heads for heads in self.stages if isinstance(heads, ROIHeads))

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Return what Detectron2's RoI heads do: no detections and losses in training, the reverse in evaluation."""
        if not self.training:
            return self.detect(features, proposals), {}
        if targets is None:
            raise ValueError("training needs targets")
        losses: dict[str, Tensor] = {}
        for k, (heads, weight) in enumerate(zip(self.stage_heads, self.weights, strict=True)):
            rois = heads.label_and_sample_proposals(proposals, targets)
            predictions = heads.predict_logits_and_deltas(features, rois)
            with get_event_storage().name_scope(f"stage{k}"):
                terms = heads.box_predictor.losses(predictions, rois) | heads._forward_mask(features, rois)
            losses |= {f"{name}_stage{k}": weight * term for name, term in terms.items()}
            # Objects that were RoIs here are not refined: the next stage adds them itself.
            proposals = [
                image[~before.given] for image, before in zip(_refine(heads, predictions, rois), rois, strict=True)
            ]
        return [], losses

    def detect(
        self, features: dict[str, Tensor], proposals: list[Instances], factors: Factors | None = None
    ) -> list[Instances]:
        """Detect the objects of each image: boxes of the last stage, scores of mean logits, mean mask probabilities."""
        rois, logits = proposals, []
        for heads in self.stage_heads:
            predictions = heads.predict_logits_and_deltas(features, rois)
            logits.append(predictions[0])
            if heads is not self.stages[-1]:
                rois = _refine(heads, predictions, rois)
        detections, _ = heads.box_predictor.inference((torch.stack(logits).mean(dim=0), predictions[1]), rois, factors)
        masks = [
            [image.pred_masks for image in heads._forward_mask(features, detections)] for heads in self.stage_heads
        ]
        for image, own in zip(detections, zip(*masks, strict=True), strict=True):
            image.pred_masks = torch.stack(own).mean(dim=0)
        return detections


def _refine(heads: ROIHeads, predictions: Predictions, rois: list[Instances]) -> list[Instances]:
    """Move `rois` by their class-agnostic deltas, as proposals through which no gradient passes."""
    images = zip(heads.box_predictor.decode_boxes(predictions, rois), rois, strict=True)
    return [Instances(image.image_size, proposal_boxes=Boxes(boxes.detach())) for boxes, image in images]
