"""Levels and sampling of RoIAlign, by loops and against torchvision's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loops import SIZES, random_boxes
from torchvision.ops import MultiScaleRoIAlign, roi_align

from repro.detection.pooling import PyramidRoIAlign
from repro.experiments import STAGES
from repro.experiments.conventions import DETECTRON2

pytestmark = pytest.mark.rounding


@pytest.mark.parametrize(("anchor_scale", "unit"), [(8, 56), (4, 28), (2, 14)])
def test_level_of_a_roi_is_fixed_at_construction(anchor_scale, unit):
    """P2 takes RoIs below 2 * 56 pixels, P3 those below 4 * 56, and so on; with smaller anchors in proportion."""
    pool = PyramidRoIAlign(7, anchor_scale)
    sides = torch.tensor([1, 2 * unit - 1, 2 * unit, 4 * unit - 1, 4 * unit, 8 * unit - 1, 8 * unit, 40 * unit])
    boxes = torch.zeros(len(sides), 4)
    boxes[:, 2:] = sides[:, None]
    levels = [0, 0, 1, 1, 2, 2, 3, 3]
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert pool.map_levels([boxes]).tolist() == levels
    # A first batch of one image that the padding makes twice as large would mislead torchvision's inference.
    tiny = {stage: torch.zeros(1, 1, 64 // 2**i, 64 // 2**i) for i, stage in enumerate(STAGES)}
    pool(tiny, [boxes])
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert pool.map_levels([boxes]).tolist() == levels


def test_roi_align_convention(features):
    """Not aligned, 2x2 samples: the cell in row i averages the feature at start + (i + 1/4, i + 3/4) cell sizes."""
    box = torch.tensor([[10.0, 20.0, 38.0, 41.0]])
    pooled = PyramidRoIAlign(7, 8)(features, [box, box[:0]])
    assert pooled.shape == (1, 8, 7, 7)
    feature = features["c2"][0].numpy()
    x1, y1, x2, y2 = (box[0] / 4).tolist()
    for i, j in ((0, 0), (2, 5), (6, 6)):
        total = np.zeros(8)
        for a in (0.25, 0.75):
            for b in (0.25, 0.75):
                y, x = y1 + (i + a) * (y2 - y1) / 7, x1 + (j + b) * (x2 - x1) / 7
                top, left = int(y), int(x)
                for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
                    for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
                        total += wy * wx * feature[:, row, column]
        np.testing.assert_allclose(pooled[0, :, i, j], total / 4, atol=1e-5)


def test_each_roi_reads_its_image_and_level(features):
    boxes = [random_boxes(5, 0), random_boxes(4, 1) * 2]
    pooled = PyramidRoIAlign(7, 2)(features, boxes)
    expected = []
    for image, rois in enumerate(boxes):
        for box in rois:
            side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            level = min(max(math.floor(math.log2(side / 14)), 0), 3)
            level_features = features[STAGES[level]][image : image + 1]
            expected.append(roi_align(level_features, [box[None]], 7, 1 / 2 ** (level + 2), 2)[0])
    torch.testing.assert_close(pooled, torch.stack(expected))


def test_torchvisions_pooling_and_gradient_to_the_bit(features):
    boxes = [random_boxes(9, 2), random_boxes(7, 3) * 2]
    results = []
    for pool in (PyramidRoIAlign(7, 2), MultiScaleRoIAlign(list(STAGES), 7, 2, canonical_scale=56)):
        levels = {name: level.clone().requires_grad_() for name, level in features.items()}
        pooled = pool(levels, boxes) if isinstance(pool, PyramidRoIAlign) else pool(levels, boxes, SIZES)
        pooled.square().sum().backward()
        results.append([pooled, *(levels[stage].grad for stage in STAGES)])
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("side", [10.5, 95.0])
def test_aligned_roi_align_reads_pixels_where_they_are(side):
    """A feature that holds the x of its own centre, in pixels, is averaged to the x of each output cell's centre."""
    grids = {stage: 64 // 2**i for i, stage in enumerate(STAGES)}
    features = {
        stage: ((torch.arange(grid) + 0.5) * 256 / grid).expand(1, 1, grid, grid).clone()
        for stage, grid in grids.items()
    }
    box = torch.tensor([[70.25, 80.0, 70.25 + side, 80.0 + side]])
    centres = 70.25 + (torch.arange(7) + 0.5) * side / 7
    aligned = PyramidRoIAlign(7, 2, DETECTRON2)(features, [box])
    torch.testing.assert_close(aligned[0, 0], centres.expand(7, 7))
    stride = 4 if side < 28 else 16
    shifted = PyramidRoIAlign(7, 2)(features, [box])  # reads half a cell further to the right
    torch.testing.assert_close(shifted[0, 0], (centres + stride / 2).expand(7, 7))


def test_as_many_samples_as_the_cell_has_pixels(features):
    """A cell of 3.4 x 3.4 features averages 4 x 4 of them."""
    side = 7 * 3.4 * 32
    noise = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[40.0, 40.0, 40.0 + side, 40.0 + side]])
    levels = dict.fromkeys(STAGES, noise)
    pooled = PyramidRoIAlign(7, 2, DETECTRON2)(levels, [box])
    expected = 0.0
    for a in range(4):
        for b in range(4):
            y, x = (40 / 32 - 0.5 + (3 + (k + 0.5) / 4) * 3.4 for k in (a, b))
            top, left = int(y), int(x)
            for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
                for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
                    expected += wy * wx * noise[0, 0, row, column].item() / 16
    assert pooled[0, 0, 3, 3].item() == pytest.approx(expected, abs=1e-5)


def test_boxes_that_are_no_numbers_have_no_features(features):
    """As in a training that diverges, whose losses are to say so; nor has one that ends before it begins."""
    box, other = random_boxes(2, 0)
    bad = torch.tensor([[float("nan")] * 4, [0.0, 0.0, float("inf"), 5.0], [9.0, 4.0, 5.0, 8.0]])
    pooled = PyramidRoIAlign(7, 8)(features, [torch.stack([box, *bad, other]), bad])
    expected = PyramidRoIAlign(7, 8)(features, [torch.stack([box, other]), bad[:0]])
    assert torch.equal(pooled[[0, 4]], expected)
    assert not pooled[[1, 2, 3, 5, 6, 7]].any()
