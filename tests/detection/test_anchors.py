"""Anchors against an independent formula, in the inclusive pixel coordinates of the authors' framework."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from repro.detection.anchors import STRIDES, PyramidAnchors
from repro.experiments.conventions import DETECTRON2, MMDETECTION_2, TORCHVISION

pytestmark = pytest.mark.rounding


def inclusive_anchors(scale: int, stride: int, rows: int, columns: int) -> np.ndarray:
    """Around the middle (stride - 1) / 2 of the first cell, corners rounded, then moved by whole strides."""
    centre = (stride - 1) / 2
    anchors = []
    for row in range(rows):
        for column in range(columns):
            for ratio in (0.5, 1.0, 2.0):
                width = scale * stride / math.sqrt(ratio)
                height = scale * stride * math.sqrt(ratio)
                corners = [
                    centre - (width - 1) / 2,
                    centre - (height - 1) / 2,
                    centre + (width - 1) / 2,
                    centre + (height - 1) / 2,
                ]
                x1, y1, x2, y2 = (round(corner) for corner in corners)
                anchors.append((x1 + column * stride, y1 + row * stride, x2 + column * stride, y2 + row * stride))
    return np.array(anchors)


def pyramid(height: int, width: int) -> tuple[ImageList, list[torch.Tensor]]:
    grids = [(height // stride, width // stride) for stride in STRIDES[:4]]
    grids.append(tuple(-(-side // 2) for side in grids[-1]))
    features = [torch.zeros(2, 1, *grid, dtype=torch.bfloat16) for grid in grids]
    return ImageList(torch.zeros(2, 3, height, width), [(height, width)] * 2), features


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 800, 1344), (4, 96, 96), (2, 64, 160)])
def test_anchors_of_all_levels(scale, height, width):
    images, features = pyramid(height, width)
    first, second = PyramidAnchors(scale)(images, features)
    expected = np.concatenate(
        [inclusive_anchors(scale, stride, *grid.shape[-2:]) for stride, grid in zip(STRIDES, features, strict=True)]
    )
    expected[:, 2:] += 1  # the last pixel is included there
    assert first.dtype == torch.float32
    np.testing.assert_array_equal(first.numpy(), expected)
    assert torch.equal(first, second)


def test_p6_of_an_image_of_800_pixels_has_stride_64():
    images, features = pyramid(800, 1344)
    anchors = PyramidAnchors(8)(images, features)[0]
    last_level = anchors[-13 * 21 * 3 :].view(13, 21, 3, 4)
    assert (last_level[1:] - last_level[:-1])[..., 1].unique().tolist() == [64]
    stock = AnchorGenerator(sizes=[(8 * stride,) for stride in STRIDES], aspect_ratios=((0.5, 1.0, 2.0),) * 5)
    stock_level = stock(images, [feature.float() for feature in features])[0][-13 * 21 * 3 :].view(13, 21, 3, 4)
    assert (stock_level[1:] - stock_level[:-1])[..., 1].unique().tolist() == [61]  # why it is not used as it is


@pytest.mark.parametrize(("height", "width"), [(800, 1344), (224, 320), (96, 160)])
def test_torchvisions_own_anchors(height, width):
    """Corner of the cell, rounded, inferred strides: its generator as it comes."""
    images, features = pyramid(height, width)
    features = [feature.float() for feature in features]
    stock = AnchorGenerator(sizes=[(8 * stride,) for stride in STRIDES], aspect_ratios=((0.5, 1.0, 2.0),) * 5)
    assert torch.equal(PyramidAnchors(8, TORCHVISION)(images, features)[0], stock(images, features)[0])


@pytest.mark.parametrize("conventions", [DETECTRON2, MMDETECTION_2])
def test_anchors_around_the_corners_of_the_cells(conventions):
    """An area of (8 strides)^2 whatever the ratio, not rounded, around whole multiples of the stride."""
    images, features = pyramid(96, 160)
    anchors = PyramidAnchors(8, conventions)(images, features)[0].double().numpy()
    expected = []
    for stride, grid in zip(STRIDES, features, strict=True):
        for row in range(grid.shape[2]):
            for column in range(grid.shape[3]):
                for ratio in (0.5, 1.0, 2.0):
                    width = math.sqrt((8 * stride) ** 2 / ratio)
                    x, y, height = column * stride, row * stride, ratio * width
                    expected.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    np.testing.assert_allclose(anchors, expected, atol=1e-4)
