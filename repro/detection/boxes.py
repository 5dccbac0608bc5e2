"""Boxes at the border of an image and between the resized and the original image, and their overlaps with objects.

Boxes are float32 (n, 4), xyxy in continuous pixel coordinates. `inclusive` asks for the arithmetic of a framework in
which a box ends on its last pixel, x2 - 1 in these coordinates.

What is of all images of a batch is computed at once: a GPU is started as often for one image as for sixteen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_iou

ABSENT = -1.0  #: the overlap of a box with an object that is not there


def clip(boxes: Tensor, size: tuple[int, int], inclusive: bool) -> Tensor:
    """Clip `boxes` to an image of `size` (height, width); inclusive ones keep at least one of its pixels."""
    first, last = _make_limits([size], inclusive, boxes)
    return boxes.clamp(first, last)


def clip_padded(boxes: Tensor, sizes: Sequence[tuple[int, int]], inclusive: bool) -> Tensor:
    """Clip `boxes` (B, n, 4), as many of each image, to the images of `sizes`: see `clip`."""
    first, last = _make_limits(sizes, inclusive, boxes)
    return boxes.clamp(first[:, None], last[:, None])


def clip_joined(boxes: Tensor, images: Tensor, sizes: Sequence[tuple[int, int]], inclusive: bool) -> Tensor:
    """Clip `boxes` (n, 4), each to the image of `sizes` whose number is in `images` (n,): see `clip`."""
    first, last = _make_limits(sizes, inclusive, boxes)
    return boxes.clamp(first[images], last[images])


def _make_limits(sizes: Sequence[tuple[int, int]], inclusive: bool, like: Tensor) -> Tensor:
    """The least and the largest coordinates of boxes in each image: (2, images, 4)."""
    pixel = 1 if inclusive else 0
    first = [(0, 0, pixel, pixel)] * len(sizes)
    last = [(width - pixel, height - pixel, width, height) for height, width in sizes]
    return like.new_tensor([first, last])


def rescale(boxes: Tensor, factors: tuple[float, float], inclusive: bool) -> Tensor:
    """Scale `boxes` to an image whose (height, width) are `factors` times as large; inclusive ones by last pixels."""
    vertical, horizontal = factors
    scaled = boxes * boxes.new_tensor((horizontal, vertical) * 2)
    if inclusive:
        scaled[:, 2:] += boxes.new_tensor((1 - horizontal, 1 - vertical))
    return scaled


def number_images(counts: Sequence[int], device: torch.device) -> Tensor:
    """The image of each item, int64 (sum of counts,), of `counts` items of each image, one image after the other."""
    numbers = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    return numbers.to(device)


def pad(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put `parts` (n, ...) of each image into one tensor (B, most, ...), zeros at the end; also mark what is there."""
    padded = pad_sequence(list(parts), batch_first=True)
    counts = torch.tensor([len(part) for part in parts]).to(padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < counts[:, None]


def compute_overlaps(objects: Tensor, there: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union (B, objects, boxes); `ABSENT` for objects that are not `there` (B, objects).

    Args:
        objects: (B, objects, 4).
        boxes: (B, boxes, 4), or (boxes, 4) that are the same for all images.
    """
    return box_iou(objects, boxes).masked_fill_(~there[:, :, None], ABSENT)
