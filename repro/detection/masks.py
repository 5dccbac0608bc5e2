"""Masks of detections: from the grid of the mask head to the image's pixels and their run-length encoding."""

from __future__ import annotations

import torch
from faster_coco_eval.core import mask as rle
from torch import Tensor
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

from repro.experiments.conventions import DetectionConventions

#: Pixels pasted at a time, as float32: bounds the memory that a large image with many detections takes.
_CHUNK = 2**24


def prepare(masks: Tensor, boxes: Tensor, conventions: DetectionConventions) -> tuple[Tensor, Tensor]:
    """Prepare masks and boxes so that `paste` gives what `conventions` say.

    A soft border is a frame of zeros, one cell wide, around the mask, in a box that grows by as much. (It rounds
    corners off.) Boxes in whole pixels begin with the pixel that their corner lies in and end with the one that their
    last pixel begins in; torchvision takes the end of its continuous boxes for their last pixel.

    Args:
        masks: float32 (n, M, M), probabilities within the box.
        boxes: (n, 4), xyxy in pixels of the image.

    Returns:
        Masks (n, M, M) or (n, M + 2, M + 2), and boxes (n, 4).
    """
    if conventions.soft_mask_border:
        masks, growth = expand_masks(masks, padding=1)
        boxes = expand_boxes(boxes, growth)
    if conventions.whole_pixel_masks:
        first = boxes[:, :2].trunc()
        last = (boxes[:, 2:] - (1 if conventions.inclusive_boxes else 0)).trunc()
        boxes = torch.cat([first, torch.maximum(last, first) + 1], dim=1)
    return masks, boxes


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Paste mask probabilities within boxes into the image.

    Bilinear between the centres of the grid's cells, constant from the outermost centres to the edge of the box and
    zero outside of it, as the authors' framework resizes a mask to its box. The interpolation is separable: two matrix
    products per mask.

    Args:
        masks: float32 (n, M, M).
        boxes: (n, 4), xyxy in pixels of the image.
        size: (height, width) of the image.

    Returns:
        float32 (n, W, H): columns first, the order in which COCO's run lengths count.
    """
    height, width = size
    resolution = masks.shape[-1]
    columns = _weigh_cells(boxes[:, 0], boxes[:, 2], width, resolution)
    rows = _weigh_cells(boxes[:, 1], boxes[:, 3], height, resolution)
    return columns @ masks.mT @ rows.mT


def _weigh_cells(start: Tensor, end: Tensor, length: int, resolution: int) -> Tensor:
    """Weights (n, length, resolution) of the grid's cells at every pixel's centre, along one axis."""
    pixels = torch.arange(length, device=start.device) + 0.5
    cells = torch.arange(resolution, device=start.device) + 0.5
    position = (pixels - start[:, None]) * (resolution / (end - start))[:, None]
    inside = (position >= 0) & (position <= resolution)
    position = position.clamp(cells[0], cells[-1])
    return (1 - (position[:, :, None] - cells).abs()).clamp(min=0) * inside[:, :, None]


def encode(masks: Tensor, boxes: Tensor, size: tuple[int, int], *, above: bool = False) -> list[dict]:
    """Paste masks into an image of `size` (height, width), cut them at a half, and encode them as COCO does.

    Args:
        above: a pixel at the very half does not belong to the mask.
    """
    count = max(_CHUNK // (size[0] * size[1]), 1)
    encoded = []
    for part, where in zip(masks.split(count), boxes.split(count), strict=True):
        pasted = paste(part, where, size)
        binary = (pasted > 0.5 if above else pasted >= 0.5).to(torch.uint8).cpu().numpy()
        encoded += rle.encode(binary.transpose(2, 1, 0))  # (H, W, n) in column-major order, without a copy
    return encoded
