"""Mask R-CNN with FPN and its cascade on torchvision's parts, to the authors' conventions (Section 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from repro.data.coco import DetectionSample
from repro.detection.cascade import CascadeRoIHeads
from repro.detection.detector import DetectorModule
from repro.detection.grouping import LossGroups
from repro.detection.roi import Instances, RoIHeads
from repro.detection.rpn import RegionProposalNetwork
from repro.experiments import STAGES, Detector
from repro.experiments.conventions import DetectionConventions
from repro.models.resnet import ResNet

DIVISOR = 32  #: a batch's height and width are multiples of it


class MaskRCNN(DetectorModule):
    """Mask R-CNN, or its cascade, with a feature pyramid of P2 .. P6, P6 being every second cell of P5.

    Args:
        spec: widths, sizes and thresholds.
        conventions: those that the weights were trained with. Default: those by which the network is trained here.
    """

    backbone: ResNet
    mean: Tensor  #: of the normalisation, (3, 1, 1)
    std: Tensor  #: and its standard deviation

    def __init__(self, spec: Detector, conventions: DetectionConventions | None = None) -> None:
        super().__init__(spec, conventions)
        conventions = self.conventions
        self.backbone = ResNet(spec.backbone)
        self.fpn = FeaturePyramidNetwork(
            [self.backbone.channels[stage] for stage in STAGES], spec.fpn_channels, LastLevelMaxPool()
        )
        for layer in self.fpn.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        self.rpn = RegionProposalNetwork(spec, self.generator, conventions)
        self.roi_heads: RoIHeads | CascadeRoIHeads
        if spec.cascade:
            self.roi_heads = CascadeRoIHeads(spec, self.generator, conventions)
        else:
            self.roi_heads = RoIHeads(spec, self.generator, conventions)
        self.register_buffer("mean", torch.tensor(conventions.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(conventions.std).view(3, 1, 1), persistent=False)

    def losses(self, samples: list[DetectionSample]) -> dict[str, Tensor]:
        images = self.batch(samples)
        boxes, labels, masks = (
            [getattr(sample, name).to(self.mean.device) for sample in samples] for name in ("boxes", "labels", "masks")
        )
        features = self.features(images)
        groups = LossGroups(len(samples), self.spec.images_per_loss)
        proposals, rpn = self.rpn(images, features, boxes, groups)
        return {
            "loss_rpn_objectness": rpn["loss_objectness"],
            "loss_rpn_box": rpn["loss_rpn_box_reg"],
            **self.roi_heads.losses(features, proposals, images.image_sizes, boxes, labels, masks, groups),
        }

    @torch.no_grad()
    def find_instances(self, samples: list[DetectionSample]) -> list[Instances]:
        images = self.batch(samples)
        features = self.features(images)
        proposals, _ = self.rpn(images, features)
        factors = [self.compute_factors(sample) for sample in samples]
        return self.roi_heads.detect(features, proposals, images.image_sizes, factors)

    def features(self, images: ImageList) -> dict[str, Tensor]:
        """The pyramid (B, C, H / stride, W / stride): P2 .. P5 under the names of the stages, P6 as "pool"."""
        return self.fpn(self.backbone.features(images.tensors))

    def batch(self, samples: list[DetectionSample]) -> ImageList:
        """Normalise the images and pad them with zeros, right and below, to the largest size, a multiple of 32."""
        sizes = [tuple(sample.image.shape[1:]) for sample in samples]
        height, width = (-(-max(side) // DIVISOR) * DIVISOR for side in zip(*sizes, strict=True))
        images = self.mean.new_zeros(len(samples), 3, height, width)
        for image, sample, size in zip(images, samples, sizes, strict=True):
            values = sample.image.to(self.mean.device)
            if self.conventions.color == "BGR":
                values = values.flip(0)
            image[:, : size[0], : size[1]] = (values - self.mean) / self.std
        return ImageList(images, sizes)
