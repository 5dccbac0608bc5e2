"""Layers for images (B, C, H, W) and for clips (B, C, T, H, W), by the number of dimensions of a position, 2 or 3."""

from __future__ import annotations

from torch import nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOL = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def build_window(dimensions: int, space: int, time: int) -> tuple[int, ...]:
    """The size, stride or padding of a square window: (space, space) or (time, space, space)."""
    return (time, space, space)[-dimensions:]
