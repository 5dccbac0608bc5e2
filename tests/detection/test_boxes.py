"""Boxes of several images at once are as those of each image alone."""

from __future__ import annotations

import pytest
import torch
from loops import random_boxes

from repro.detection.boxes import ABSENT, clip, clip_joined, clip_padded, compute_overlaps, number_images, pad
from repro.detection.rpn import lie_within

SIZES = [(40, 60), (70, 30), (55, 55)]


@pytest.mark.parametrize("inclusive", [False, True])
def test_each_image_has_its_own_border(inclusive):
    boxes = torch.stack([random_boxes(20, seed) * 1.5 - 10 for seed in range(3)])
    expected = torch.stack([clip(own, size, inclusive) for own, size in zip(boxes, SIZES, strict=True)])
    assert torch.equal(clip_padded(boxes, SIZES, inclusive), expected)
    order = torch.tensor([2, 0, 1, 1, 0])
    joined = boxes[order, torch.arange(5)]
    assert torch.equal(clip_joined(joined, order, SIZES, inclusive), expected[order, torch.arange(5)])


def test_boxes_within_each_image():
    boxes = random_boxes(50, 1) - 5
    found = lie_within(boxes, SIZES)
    for image, (height, width) in zip(found, SIZES, strict=True):
        limits = torch.tensor([0.0, 0, 0, 0]), torch.tensor([width, height] * 2).float()
        assert torch.equal(image, ((boxes >= limits[0]) & (boxes <= limits[1])).all(dim=1))
    assert len({tuple(image.tolist()) for image in found}) == 3


def test_what_is_not_there_overlaps_nothing():
    parts = [random_boxes(3, 0), random_boxes(0, 1), random_boxes(1, 2)]
    padded, there = pad(parts)
    assert there.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert number_images([3, 0, 1], torch.device("cpu")).tolist() == [0, 0, 0, 2]
    overlaps = compute_overlaps(padded, there, torch.cat([random_boxes(4, 3), torch.zeros(1, 4)]))
    assert (overlaps[~there] == ABSENT).all()
    assert (overlaps[there] >= 0).all()
