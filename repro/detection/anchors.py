"""Anchors on the feature pyramid."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from repro.experiments.conventions import AUTHORS, DetectionConventions

STRIDES = (4, 8, 16, 32, 64)  #: pixels between two cells of P2 .. P6
ASPECT_RATIOS = (0.5, 1.0, 2.0)  #: height / width


class PyramidAnchors(AnchorGenerator):
    """Puts one anchor of side `scale * stride` per aspect ratio at every cell of P2 .. P6.

    The authors' framework (mmdetection before 2.0) centres an anchor on the middle of its cell and rounds its sides to
    whole pixels. There a box includes its last pixel; here coordinates are continuous, x2 = (last pixel) + 1, which
    makes the very same anchors. Other `conventions` centre it on the corner of the cell or do not round.

    The strides are given, not inferred: torchvision divides the padded image by the grid, which turns P6's 64 into 61
    when the image is 800 pixels high. Only networks that were trained so (`conventions.inferred_strides`) infer them.
    """

    cell_anchors: list[Tensor]  #: of every level, around the origin, float32 (ratios, 4)

    def __init__(self, scale: int, conventions: DetectionConventions = AUTHORS) -> None:
        self.conventions = conventions
        super().__init__(
            sizes=tuple((scale * stride,) for stride in STRIDES), aspect_ratios=(ASPECT_RATIOS,) * len(STRIDES)
        )
        self.cell_anchors = [
            cell + stride * conventions.anchor_offset for cell, stride in zip(self.cell_anchors, STRIDES, strict=True)
        ]

    def generate_anchors(self, scales: tuple[int, ...], aspect_ratios: tuple[float, ...]) -> Tensor:
        """The anchors around the origin, float32 (ratios, 4). Called by the base class."""
        if self.conventions.rounded_anchors:
            return super().generate_anchors(scales, aspect_ratios)
        sides = torch.tensor(aspect_ratios, device="cpu").sqrt()
        corner = torch.stack([1 / sides, sides], dim=1) * torch.tensor(scales, device="cpu") / 2
        return torch.cat([-corner, corner], dim=1)

    def forward(self, images: ImageList, features: list[Tensor]) -> list[Tensor]:
        """The anchors of every image, float32 (cells * ratios, 4), xyxy in pixels, the same for all.

        They are ordered by level, row, column and ratio, and stay float32 whatever the precision of the features.
        """
        self.cell_anchors = [cell.to(features[0].device) for cell in self.cell_anchors]
        grids = [feature.shape[-2:] for feature in features]
        strides = [(stride, stride) for stride in STRIDES]
        if self.conventions.inferred_strides:
            height, width = images.tensors.shape[-2:]
            strides = [(height // rows, width // columns) for rows, columns in grids]
        anchors = torch.cat(self.grid_anchors(grids, strides))
        return [anchors] * len(images.image_sizes)
