"""A detector of some thousand parameters, and images with objects for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from repro.data.coco import DetectionSample
from repro.experiments import Backbone, Detector


@pytest.fixture
def spec() -> Detector:
    return Detector(
        Backbone(blocks=(1, 1, 1, 1), width=4),
        num_classes=3,
        fpn_channels=8,
        box_channels=16,
        mask_channels=8,
        anchor_scale=4,
        proposals_per_level=(60, 40),
        proposals=(50, 30),
        rpn_samples=32,
        roi_samples=16,
        detections=10,
        pixels="continuous",
        images_per_loss=None,
    )


@pytest.fixture
def features(spec) -> dict[str, Tensor]:
    """A pyramid of two images of at most 96 x 96 pixels."""
    generator = torch.Generator().manual_seed(0)
    grids = {"c2": 24, "c3": 12, "c4": 6, "c5": 3, "pool": 2}
    return {name: torch.randn(2, spec.fpn_channels, grid, grid, generator=generator) for name, grid in grids.items()}


@pytest.fixture
def make_sample() -> Callable[..., DetectionSample]:
    """A noisy image of a size (height, width) with rectangles, `boxes` in whole pixels, as its objects."""

    def make(
        size: tuple[int, int] = (96, 96),
        boxes: tuple[tuple[int, int, int, int], ...] = ((8, 8, 40, 40), (50, 30, 90, 80)),
        labels: tuple[int, ...] = (0, 2),
        original: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> DetectionSample:
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[y1:y2, x1:x2] = 1
        return DetectionSample(
            image=image,
            image_id=seed,
            size=original or size,
            boxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            masks=masks,
        )

    return make
