"""Anchors on the feature pyramid."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

STRIDES = (4, 8, 16, 32, 64)  #: pixels between two cells of P2 .. P6
ASPECT_RATIOS = (0.5, 1.0, 2.0)  #: height / width


class PyramidAnchors(AnchorGenerator):
    """One anchor of side `scale * stride` per aspect ratio at every cell of P2 .. P6.

    The convention is that of the authors' framework (mmdetection before 2.0): an anchor is centred on the middle of its
    cell, its sides rounded to whole pixels. There a box includes its last pixel; here coordinates are continuous,
    x2 = (last pixel) + 1, which makes the very same anchors.

    The strides are given, not inferred: torchvision divides the padded image by the grid, which makes 61 of P6's 64
    when the image is 800 pixels high, and centres the anchors on the corners of the cells.
    """

    def __init__(self, scale: int) -> None:
        super().__init__(
            sizes=tuple((scale * stride,) for stride in STRIDES), aspect_ratios=(ASPECT_RATIOS,) * len(STRIDES)
        )
        self.cell_anchors = [cell + stride / 2 for cell, stride in zip(self.cell_anchors, STRIDES, strict=True)]

    def forward(self, images: ImageList, features: list[Tensor]) -> list[Tensor]:
        """The anchors of every image: as many times the same float32 (cells * ratios, 4), xyxy in pixels.

        They are ordered by level, row, column and ratio, and stay float32 whatever the precision of the features.
        """
        self.cell_anchors = [cell.to(features[0].device) for cell in self.cell_anchors]
        grids = [feature.shape[-2:] for feature in features]
        anchors = torch.cat(self.grid_anchors(grids, [(stride, stride) for stride in STRIDES]))
        return [anchors] * len(images.image_sizes)
