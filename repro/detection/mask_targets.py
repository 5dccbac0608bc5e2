"""Targets of the mask head: the part of an object's mask that lies in a RoI, on the grid of the head's output."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torchvision.ops import roi_align

from repro.detection.boxes import number_images

_UNIT = 2048  #: weights of pixels are integers, in 2048ths


def crop(
    masks: Sequence[Tensor], objects: Sequence[Tensor], boxes: Sequence[Tensor], resolution: int, inclusive: bool
) -> Tensor:
    """Crop the part of an object's mask that lies in a box, resampled to the grid of the mask head.

    Args:
        masks: of each image, uint8 (n, H, W), 0 or 1.
        objects: of each image, int64 (k,), which mask each box looks at.
        boxes: of each image, (k, 4), xyxy in pixels.
        resolution: cells M along a side of the grid.
        inclusive: as the authors' framework does it (mmdetection before 2.0, `mask_target.py`), for boxes within the
            image: see `_resize_whole_pixels`. Otherwise a cell is 1 where at least half of it is covered.

    Returns:
        float32 (boxes of all images, M, M), 0 or 1.
    """
    if not any(map(len, boxes)):
        return boxes[0].new_zeros(0, resolution, resolution)
    if inclusive:
        pixels, places, widths = _join(masks, objects)
        return _resize_whole_pixels(pixels, places, widths, torch.cat([*boxes]), resolution).to(boxes[0])
    covered = [
        roi_align(
            image[:, None].to(box),
            torch.cat([own[:, None].to(box), box], dim=1),
            resolution,
            sampling_ratio=-1,
            aligned=True,
        )
        for image, own, box in zip(masks, objects, boxes, strict=True)
        if len(box)
    ]
    return (torch.cat(covered)[:, 0] >= 0.5).to(boxes[0])


def _join(masks: Sequence[Tensor], objects: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of all masks, uint8 (pixels,); for each box, int64 (k,), where its mask begins, and its width."""
    device = masks[0].device
    begins = accumulate((image.numel() for image in masks), initial=0)
    sizes = torch.tensor([(begin, *image.shape[1:]) for begin, image in zip(begins, masks, strict=False)]).to(device)
    starts, heights, widths = sizes[number_images([len(image) for image in objects], device)].unbind(dim=1)
    return torch.cat([image.flatten() for image in masks]), starts + torch.cat([*objects]) * heights * widths, widths


def _resize_whole_pixels(pixels: Tensor, places: Tensor, widths: Tensor, boxes: Tensor, resolution: int) -> Tensor:
    """Cut boxes to the pixels that their first and last pixel begin in, and resize what lies there: int (k, M, M).

    The authors resize by OpenCV, which interpolates 8-bit images between the centres of pixels in integers: weights are
    rounded to 2048ths, rows are weighed after the columns, and each of the two rows is rounded down to a quarter before
    their sum is rounded. A cell whose four pixels weigh a little more than a half together can so become 0.
    """
    first = boxes[:, :2].int()
    sides = ((boxes[:, 2:] - 1).int() - first + 1).clamp(min=1)
    left, right, columns = _find_neighbours(first[:, 0], sides[:, 0], resolution)
    top, bottom, rows = _find_neighbours(first[:, 1], sides[:, 1], resolution)
    total = torch.full_like(left[:, None, :], 2).expand(-1, resolution, -1)
    for y, weight in ((top, rows[..., 0]), (bottom, rows[..., 1])):
        begin = (places[:, None] + y * widths[:, None])[:, :, None]
        row = sum(pixels[begin + x[:, None, :]] * columns[:, None, :, side] for side, x in enumerate((left, right)))
        total = total + ((row >> 4) * weight[:, :, None] >> 16)
    return total >> 2


def _find_neighbours(first: Tensor, count: Tensor, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels around the centre of every cell along one axis, and their weights.

    Args:
        first: int (k,), the first of the pixels.
        count: int (k,), how many there are.

    Returns:
        int64 (k, M) pixels before and after, the same beyond the middle of the first and last pixel, and int64
        (k, M, 2) their weights.
    """
    cells = torch.arange(resolution, device=first.device) + 0.5
    step = 1 / (resolution / count.double())  # in the order in which OpenCV rounds
    position = (cells * step[:, None] - 0.5).float()
    before = position.floor()
    part = position - before
    weights = torch.stack([1 - part, part], dim=-1).mul(_UNIT).round().long()
    last = (count - 1)[:, None]
    left, right = (first[:, None] + torch.minimum((before.long() + side).clamp(min=0), last) for side in (0, 1))
    return left, right, weights
