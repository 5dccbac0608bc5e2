"""The box and the mask head, which turn proposals into detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import batched_nms, remove_small_boxes

from repro.detection.boxes import ABSENT, clip, compute_overlaps, number_images, pad, rescale
from repro.detection.grouping import LossGroups
from repro.detection.mask_targets import crop
from repro.detection.pooling import PyramidRoIAlign
from repro.detection.sampling import BalancedSampler, Matcher
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions, choose_conventions

BOX_RESOLUTION = 7  #: cells of the RoI feature of the box head, along a side
MASK_RESOLUTION = 14  #: and of the mask head, whose output has twice as many
NMS_THRESHOLD = 0.5
SMALLEST = 0.01  #: pixels: a detection that clipping leaves thinner than this is dropped


@dataclass(frozen=True)
class Stage:
    """How the heads of one stage of a cascade differ from those of another. The defaults are those of Mask R-CNN."""

    iou: float = 0.5  #: a RoI with at least this IoU with an object is foreground
    deviations: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)  #: units of the box deltas
    boxes: Literal["per class", "class-agnostic"] = "per class"
    weight: float = 1.0  #: of the stage's losses


@dataclass
class RoIs:
    """The proposals of all images that the heads are trained on, one image after the other."""

    counts: list[int]  #: of each image
    images: Tensor  #: int64 (k,), which image each belongs to
    boxes: Tensor  #: float32 (k, 4), xyxy in pixels
    labels: Tensor  #: int64 (k,), 0 background, 1..K
    objects: Tensor  #: int64 (k,), index of the object of its image that a foreground RoI belongs to, or negative
    given: Tensor  #: bool (k,): the box of an object itself, not a proposal
    foreground: Tensor  #: int64 (f,), the indices of those with an object, ascending
    foreground_counts: list[int]  #: of each image
    wanted: Tensor  #: float32 (f, 4), the boxes of their objects


@dataclass
class Instances:
    """What was found in one image, in the pixels of the network's input."""

    boxes: Tensor  #: float32 (n, 4), xyxy, clipped to the image
    scores: Tensor  #: float32 (n,), descending
    labels: Tensor  #: int64 (n,), 0..K-1
    masks: Tensor  #: float32 (n, 28, 28), probabilities within the box


class RoIHeads(nn.Module):
    """Two fully connected layers for class and box, four convolutions for the mask.

    Outputs have background first: K + 1 classes, each with its own mask and, unless `stage` says otherwise, its own
    box, as the authors'. Submodules have torchvision's names.
    """

    def __init__(
        self,
        spec: Detector,
        generator: torch.Generator,
        conventions: DetectionConventions | None = None,
        stage: Stage = Stage(),
    ) -> None:
        super().__init__()
        conventions = conventions or choose_conventions(spec)
        outputs = spec.num_classes + 1
        self.stage = stage
        self.box_roi_pool = PyramidRoIAlign(BOX_RESOLUTION, spec.anchor_scale, conventions)
        self.box_head = TwoMLPHead(spec.fpn_channels * BOX_RESOLUTION**2, spec.box_channels)
        self.box_predictor = FastRCNNPredictor(spec.box_channels, outputs)
        if stage.boxes == "class-agnostic":
            self.box_predictor.bbox_pred = nn.Linear(spec.box_channels, 4)
        self.mask_roi_pool = PyramidRoIAlign(MASK_RESOLUTION, spec.anchor_scale, conventions)
        self.mask_head = MaskRCNNHeads(spec.fpn_channels, (spec.mask_channels,) * 4, dilation=1)
        self.mask_predictor = MaskRCNNPredictor(spec.mask_channels, spec.mask_channels, outputs)
        self.box_coder = BoxCoder(weights=tuple(1 / deviation for deviation in stage.deviations))
        self.matcher = Matcher(stage.iou, stage.iou, least=stage.iou)
        self.sampler = BalancedSampler(spec.roi_samples, 0.25, generator)
        self.score_threshold = spec.score_threshold
        self.detections = spec.detections
        self.inclusive = conventions.inclusive_boxes
        for layer in (self.box_head.fc6, self.box_head.fc7):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.box_predictor.cls_score.weight, std=0.01)
        nn.init.normal_(self.box_predictor.bbox_pred.weight, std=0.001)
        masks = (self.mask_predictor.conv5_mask, self.mask_predictor.mask_fcn_logits)
        for layer in (*self.box_head.children(), *self.box_predictor.children(), *masks):
            nn.init.zeros_(layer.bias)

    @property
    def stage_heads(self) -> tuple[RoIHeads, ...]:
        """The heads through which RoIs pass one after the other: these alone."""
        return (self,)

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
        groups: LossGroups | None = None,
    ) -> dict[str, Tensor]:
        """The losses of both heads over the RoIs of all images.

        Args:
            features: by level, (B, C, H, W).
            proposals: per image, (k, 4).
            sizes: per image, (height, width) before padding.
            boxes, labels, masks: the objects of every image, (n, 4), (n,) in 0..K-1, (n, height, width).
            groups: of images whose losses are means of their own. Default: all are one.
        """
        rois = self.sample(proposals, boxes, labels)
        return self.compute_losses(rois, features, masks, groups or LossGroups(len(sizes)))[0]

    def compute_losses(
        self, rois: RoIs, features: dict[str, Tensor], masks: list[Tensor], groups: LossGroups
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute `losses` over these RoIs; also return the box deltas (R, K + 1, 4) that were predicted for them."""
        logits, deltas = self.predict_boxes(features, rois.boxes.split(rois.counts))
        foreground, counts = rois.foreground, rois.foreground_counts
        found, labels, objects = (each[foreground] for each in (rois.boxes, rois.labels, rois.objects))
        classifier = (
            F.nll_loss(part, own, reduction="sum")
            for part, own in zip(
                groups.split(logits.log_softmax(dim=1), rois.counts),
                groups.split(rois.labels, rois.counts),
                strict=True,
            )
        )
        box = compute_box_losses(deltas[foreground, labels], self.box_coder.encode_single(rois.wanted, found))
        parts = found.split(counts)
        mask_logits = self.predict_masks(features, parts)
        targets = crop(masks, objects.split(counts), parts, mask_logits.shape[-1], self.inclusive)
        mask = compute_mask_losses(mask_logits, labels, targets)
        pixels = [count * targets.shape[1:].numel() for count in counts]
        return {
            "loss_classifier": groups.average(classifier, rois.counts),
            "loss_box": groups.average_sums(box, counts, rois.counts),
            "loss_mask": groups.average_sums(mask, counts, pixels),
        }, deltas

    def sample(self, proposals: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> RoIs:
        """Sample the RoIs to train on from the proposals and the objects' own boxes, which come first."""
        candidates, there = pad([torch.cat(both) for both in zip(boxes, proposals, strict=True)])
        targets, present = pad(boxes)
        number = torch.arange(candidates.shape[1], device=candidates.device)
        given = number < present.sum(dim=1)[:, None]
        overlaps = compute_overlaps(targets, present, candidates)
        matches = torch.where(given, number, self.matcher(overlaps.masked_fill_(given[:, None], ABSENT)))
        named = F.pad(pad(labels)[0] + 1, (0, 1))  # the last entry is what index -1 reads
        classes = named.gather(1, matches.remainder(named.shape[1]))
        sampled = self.sampler(classes.where(there, -1))
        chosen = torch.cat([sampled.positives, sampled.negatives]).sort().values
        images = number_images(sampled.counts, chosen.device)
        objects = matches.flatten()[chosen]
        foreground = torch.searchsorted(chosen, sampled.positives)
        return RoIs(
            counts=sampled.counts,
            images=images,
            boxes=candidates.flatten(0, 1)[chosen],
            labels=classes.flatten()[chosen],
            objects=objects,
            given=given.flatten()[chosen],
            foreground=foreground,
            foreground_counts=sampled.positive_counts,
            wanted=targets[images[foreground], objects[foreground]],
        )

    def predict_boxes(self, features: dict[str, Tensor], rois: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict class logits (R, K + 1) and box deltas (R, K + 1, 4) of all RoIs, in float32.

        Class-agnostic deltas are the same for all classes.
        """
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, rois)))
        return logits.float(), deltas.float().unflatten(1, (-1, 4)).expand(-1, logits.shape[1], -1)

    def predict_masks(self, features: dict[str, Tensor], rois: Sequence[Tensor]) -> Tensor:
        """Predict mask logits (R, K + 1, 28, 28) of all RoIs, in float32."""
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(features, rois))).float()

    def predict_mask_probabilities(
        self, features: dict[str, Tensor], boxes: tuple[Tensor, ...], labels: tuple[Tensor, ...]
    ) -> Tensor:
        """Predict masks (R, 28, 28) for all boxes (n, 4), each of the class of its label (n,) in 0..K-1."""
        classes = torch.cat(labels) + 1
        return self.predict_masks(features, boxes)[torch.arange(len(classes), device=classes.device), classes].sigmoid()

    def detect(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        factors: list[tuple[float, float]],
    ) -> list[Instances]:
        """Detect the objects of each image, best first.

        Args:
            features: by level, (B, C, H, W).
            proposals: per image, (k, 4).
            sizes: per image, (height, width) before padding.
            factors: per image, how many times as (high, wide) the original image is.
        """
        selected = self.select_all(*self.predict_boxes(features, proposals), proposals, sizes, factors)
        boxes, _, labels = zip(*selected, strict=True)
        return assemble_instances(selected, self.predict_mask_probabilities(features, boxes, labels))

    def select_all(
        self,
        logits: Tensor,
        deltas: Tensor,
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        factors: list[tuple[float, float]],
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Call `select` for every image, with the outputs of `predict_boxes` for all of them."""
        counts = [len(image) for image in proposals]
        scores = logits.softmax(dim=1).split(counts)
        images = zip(scores, deltas.split(counts), proposals, sizes, factors, strict=True)
        return [self.select(*image) for image in images]

    def select(
        self, scores: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int], factors: tuple[float, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Select the detections of one image that pass the threshold and NMS within their class: boxes, scores, labels.

        Args:
            scores: (k, K + 1), probabilities.
            deltas: (k, K + 1, 4).
            proposals: (k, 4).
            size: (height, width) that the boxes are clipped to.
            factors: how many times as (high, wide) the original image is, where inclusive boxes have other overlaps.
        """
        roi, label = torch.where(scores[:, 1:] > self.score_threshold)
        scores = scores[roi, label + 1]
        boxes = self.decode(deltas[roi, label + 1], proposals[roi], size)
        keep = remove_small_boxes(boxes, SMALLEST)
        boxes, scores, label = boxes[keep], scores[keep], label[keep]
        compared = rescale(boxes, factors, inclusive=True) if self.inclusive else boxes
        keep = batched_nms(compared, scores, label, NMS_THRESHOLD)[: self.detections]
        return boxes[keep], scores[keep], label[keep]

    def decode(self, deltas: Tensor, rois: Tensor, size: tuple[int, int]) -> Tensor:
        """Move `rois` (k, 4) by `deltas` (k, 4) and clip them to `size` (height, width)."""
        return clip(self.box_coder.decode_single(deltas, rois), size, self.inclusive)


def assemble_instances(selected: list[tuple[Tensor, Tensor, Tensor]], masks: Tensor) -> list[Instances]:
    """Join the boxes, scores and labels `selected` in every image with their part of the masks of all images."""
    parts = masks.split([len(boxes) for boxes, _, _ in selected])
    return [Instances(*image, part) for image, part in zip(selected, parts, strict=True)]


def compute_box_losses(deltas: Tensor, targets: Tensor) -> Tensor:
    """Compute the smooth L1 (beta 1) of the `deltas` (f, 4) of foreground RoIs, each of its own class: (f, 4).

    Args:
        targets: (f, 4), deltas to the matched objects.
    """
    return F.smooth_l1_loss(deltas, targets, beta=1.0, reduction="none")


def compute_mask_losses(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Compute the binary cross entropy of the mask of each foreground RoI's own class: (f, M, M).

    Args:
        logits: (f, K + 1, M, M).
        labels: (f,), 1..K.
        targets: (f, M, M), 0 or 1.
    """
    own = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(own, targets, reduction="none")
