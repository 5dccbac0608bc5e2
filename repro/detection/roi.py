"""The box and the mask head: what becomes of the proposals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, batched_nms, box_iou, clip_boxes_to_image, remove_small_boxes
from torchvision.ops.poolers import LevelMapper

from repro.detection.anchors import STRIDES
from repro.detection.masks import crop
from repro.detection.sampling import BalancedSampler, Matcher
from repro.experiments import STAGES, Detector

BOX_RESOLUTION = 7  #: cells of the RoI feature of the box head, along a side
MASK_RESOLUTION = 14  #: and of the mask head, whose output has twice as many
NMS_THRESHOLD = 0.5
SMALLEST = 0.01  #: pixels: a detection that clipping leaves thinner than this is dropped


class PyramidRoIAlign(MultiScaleRoIAlign):
    """RoIAlign from the level of P2 .. P5 that fits the RoI's size (FPN, Eq. 1).

    Scales and level map are fixed here; torchvision infers them from the first batch it sees and keeps them.

    A RoI's edges are taken to the feature map without a shift by half a cell ("not aligned") and a cell averages 2x2
    samples: the convention of the authors' framework (mmdetection before 2.0), in which their networks were trained.

    Args:
        resolution: cells of the output along a side.
        anchor_scale: that of the detector. At the authors' 8 a RoI of 224 pixels goes to P4 and P2 takes those below
            112; the boundaries move with the anchors, so that a scaled-down detector uses its pyramid in the same way.
    """

    def __init__(self, resolution: int, anchor_scale: int) -> None:
        canonical = 28 * anchor_scale
        super().__init__(list(STAGES), resolution, sampling_ratio=2, canonical_scale=canonical, canonical_level=4)
        self.scales = [1 / stride for stride in STRIDES[: len(STAGES)]]
        self.map_levels = LevelMapper(2, 5, canonical_scale=canonical, canonical_level=4)


@dataclass
class RoIs:
    """The proposals of one image that its heads are trained on."""

    boxes: Tensor  #: float32 (k, 4), xyxy in pixels
    labels: Tensor  #: int64 (k,), 0 background, 1..K
    objects: Tensor  #: int64 (k,), index of the object that a foreground RoI belongs to, negative for background


@dataclass
class Instances:
    """What was found in one image, in the pixels of the network's input."""

    boxes: Tensor  #: float32 (n, 4), xyxy, clipped to the image
    scores: Tensor  #: float32 (n,), descending
    labels: Tensor  #: int64 (n,), 0..K-1
    masks: Tensor  #: float32 (n, 28, 28), probabilities within the box


class RoIHeads(nn.Module):
    """Two fully connected layers for class and box, four convolutions for the mask.

    Outputs have background first: K + 1 classes, each with its own box and mask, as the authors'. Submodules have
    torchvision's names. Box deltas are in units of (.1, .1, .2, .2).
    """

    def __init__(self, spec: Detector, generator: torch.Generator) -> None:
        super().__init__()
        outputs = spec.num_classes + 1
        self.box_roi_pool = PyramidRoIAlign(BOX_RESOLUTION, spec.anchor_scale)
        self.box_head = TwoMLPHead(spec.fpn_channels * BOX_RESOLUTION**2, spec.box_channels)
        self.box_predictor = FastRCNNPredictor(spec.box_channels, outputs)
        self.mask_roi_pool = PyramidRoIAlign(MASK_RESOLUTION, spec.anchor_scale)
        self.mask_head = MaskRCNNHeads(spec.fpn_channels, (spec.mask_channels,) * 4, dilation=1)
        self.mask_predictor = MaskRCNNPredictor(spec.mask_channels, spec.mask_channels, outputs)
        self.box_coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        self.matcher = Matcher(0.5, 0.5, least=0.5)
        self.sampler = BalancedSampler(spec.roi_samples, 0.25, generator)
        self.score_threshold = spec.score_threshold
        self.detections = spec.detections
        for layer in (self.box_head.fc6, self.box_head.fc7):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.box_predictor.cls_score.weight, std=0.01)
        nn.init.normal_(self.box_predictor.bbox_pred.weight, std=0.001)
        masks = (self.mask_predictor.conv5_mask, self.mask_predictor.mask_fcn_logits)
        for layer in (*self.box_head.children(), *self.box_predictor.children(), *masks):
            nn.init.zeros_(layer.bias)

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """The losses of both heads over the RoIs of all images.

        Args:
            features: by level, (B, C, H, W).
            proposals: per image, (k, 4).
            sizes: per image, (height, width) before padding.
            boxes, labels, masks: the objects of every image, (n, 4), (n,) in 0..K-1, (n, height, width).
        """
        rois = self.sample(proposals, boxes, labels)
        class_logits, deltas = self.boxes(features, [image.boxes for image in rois], sizes)
        matched = [
            targets[image.objects.clamp(min=0)] if len(targets) else image.boxes
            for targets, image in zip(boxes, rois, strict=True)
        ]
        loss_classifier, loss_box = box_losses(
            class_logits,
            deltas,
            torch.cat([image.labels for image in rois]),
            torch.cat(self.box_coder.encode(matched, [image.boxes for image in rois])),
        )

        foreground = [image.labels > 0 for image in rois]
        mask_rois = [image.boxes[mask] for image, mask in zip(rois, foreground, strict=True)]
        mask_logits = self.masks(features, mask_rois, sizes)
        loss_mask = mask_loss(
            mask_logits,
            torch.cat([image.labels[mask] for image, mask in zip(rois, foreground, strict=True)]),
            torch.cat(
                [
                    crop(instances, image.objects[mask], image.boxes[mask], mask_logits.shape[-1])
                    for instances, image, mask in zip(masks, rois, foreground, strict=True)
                ]
            ),
        )
        return {"loss_classifier": loss_classifier, "loss_box": loss_box, "loss_mask": loss_mask}

    def sample(self, proposals: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[RoIs]:
        """The RoIs to train on, per image: the objects themselves compete with the proposals for a place."""
        candidates = []
        for proposal, targets, classes in zip(proposals, boxes, labels, strict=True):
            objects = torch.cat(
                [torch.arange(len(targets), device=targets.device), self.matcher(box_iou(targets, proposal))]
            )
            named = torch.cat([classes + 1, classes.new_zeros(1)])  # the last entry is what index -1 reads
            candidates.append(RoIs(torch.cat([targets, proposal]), named[objects], objects))
        positives, negatives = self.sampler([image.labels for image in candidates])
        chosen = [positive | negative for positive, negative in zip(positives, negatives, strict=True)]
        return [
            RoIs(image.boxes[mask], image.labels[mask], image.objects[mask])
            for image, mask in zip(candidates, chosen, strict=True)
        ]

    def boxes(
        self, features: dict[str, Tensor], rois: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, K + 1) and box deltas (R, K + 1, 4) of all RoIs, in float32."""
        pooled = self.box_roi_pool(features, rois, sizes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits.float(), deltas.float().unflatten(1, (-1, 4))

    def masks(self, features: dict[str, Tensor], rois: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Mask logits (R, K + 1, 28, 28) of all RoIs, in float32."""
        pooled = self.mask_roi_pool(features, rois, sizes)
        return self.mask_predictor(self.mask_head(pooled)).float()

    def detect(
        self, features: dict[str, Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[Instances]:
        """What stands in each image, best first."""
        logits, deltas = self.boxes(features, proposals, sizes)
        counts = [len(image) for image in proposals]
        found = [
            self.select(*image)
            for image in zip(logits.softmax(dim=1).split(counts), deltas.split(counts), proposals, sizes, strict=True)
        ]
        mask_logits = self.masks(features, [boxes for boxes, _, _ in found], sizes)
        classes = torch.cat([labels for _, _, labels in found]) + 1
        probabilities = mask_logits[torch.arange(len(classes), device=classes.device), classes].sigmoid()
        masks = probabilities.split([len(boxes) for boxes, _, _ in found])
        return [Instances(*image, mask) for image, mask in zip(found, masks, strict=True)]

    def select(
        self, scores: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The detections of one image: boxes, scores and labels that pass the threshold and NMS within their class.

        Args:
            scores: (k, K + 1), probabilities.
            deltas: (k, K + 1, 4).
            proposals: (k, 4).
            size: (height, width) that the boxes are clipped to.
        """
        roi, label = torch.where(scores[:, 1:] > self.score_threshold)
        scores = scores[roi, label + 1]
        boxes = self.box_coder.decode_single(deltas[roi, label + 1], proposals[roi])
        boxes = clip_boxes_to_image(boxes, size)
        keep = remove_small_boxes(boxes, SMALLEST)
        boxes, scores, label = boxes[keep], scores[keep], label[keep]
        keep = batched_nms(boxes, scores, label, NMS_THRESHOLD)[: self.detections]
        return boxes[keep], scores[keep], label[keep]


def box_losses(logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy, and smooth L1 (beta 1) of the foreground's deltas; both averaged over all RoIs.

    Args:
        logits: (R, K + 1).
        deltas: (R, K + 1, 4).
        labels: (R,), 0 is background.
        targets: (R, 4), deltas to the matched object; not read for background.
    """
    count = max(len(labels), 1)
    foreground = torch.where(labels > 0)[0]
    predicted = deltas[foreground, labels[foreground]]
    return (
        F.cross_entropy(logits, labels, reduction="sum") / count,
        F.smooth_l1_loss(predicted, targets[foreground], beta=1.0, reduction="sum") / count,
    )


def mask_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of the mask of each RoI's own class, averaged over the pixels of all RoIs.

    Args:
        logits: (R, K + 1, M, M).
        labels: (R,), 1..K.
        targets: (R, M, M), 0 or 1.
    """
    own = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(own, targets, reduction="sum") / max(targets.numel(), 1)
