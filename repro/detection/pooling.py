"""Features of regions of interest, from the pyramid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from repro.detection.anchors import STRIDES
from repro.detection.boxes import number_images
from repro.experiments import STAGES
from repro.experiments.conventions import AUTHORS, DetectionConventions


class PyramidRoIAlign(nn.Module):
    """RoIAlign from the level of P2 .. P5 that fits the RoI's size (FPN, Eq. 1).

    torchvision's `MultiScaleRoIAlign` infers scales and level map from the first batch that it sees, keeps them, and
    cannot align. Here they are fixed.

    In the convention of the authors' framework (mmdetection before 2.0) a RoI's edges are scaled to the feature map
    without a shift by half a cell ("not aligned") and a cell averages 2x2 samples. One difference remains: torchvision
    then widens a RoI to one cell of the map, 4 pixels on P2, and that framework leaves it as thin as it is.

    Args:
        resolution: cells of the output along a side.
        anchor_scale: that of the detector. At the authors' 8 a RoI of 224 pixels goes to P4 and P2 takes those below
            112; the boundaries move with the anchors, so that a scaled-down detector uses its pyramid in the same way.
        conventions: whether to align, and how many samples to average.
    """

    def __init__(self, resolution: int, anchor_scale: int, conventions: DetectionConventions = AUTHORS) -> None:
        super().__init__()
        self.resolution = resolution
        self.conventions = conventions
        self.scales = [1 / stride for stride in STRIDES[: len(STAGES)]]
        self.map_levels = LevelMapper(2, 5, canonical_scale=28 * anchor_scale, canonical_level=4)

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor]) -> Tensor:
        """Features (B, C, H, W) by level and boxes (k, 4) per image -> (R, C, resolution, resolution) of all RoIs."""
        joined = torch.cat(boxes)
        images = number_images([len(image) for image in boxes], joined.device)
        rois = torch.cat([images[:, None].to(joined), joined], dim=1)
        levels = self.map_levels([joined])
        # The level of a box that ends before it begins is no number, either. Such boxes keep features of 0.
        known = joined.isfinite().all(dim=1) & (levels >= 0) & (levels < len(self.scales))
        levels = levels.where(known, len(self.scales))
        order = levels.argsort(stable=True)
        counts = levels.bincount(minlength=len(self.scales) + 1).tolist()
        first = features[STAGES[0]]
        parts = [
            # levels may differ in precision under autocast
            roi_align(
                features[stage], part, self.resolution, scale, self.conventions.sampling, self.conventions.aligned
            ).to(first.dtype)
            for stage, scale, part in zip(STAGES, self.scales, rois[order].split(counts), strict=False)
        ]
        pooled = first.new_zeros(len(rois), first.shape[1], self.resolution, self.resolution)
        return pooled.index_copy(0, order[: len(rois) - counts[-1]], torch.cat(parts))
