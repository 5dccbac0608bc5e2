"""Boxes at the border of an image and between the resized and the original image.

Boxes are float32 (n, 4), xyxy in continuous pixel coordinates. `inclusive` asks for the arithmetic of a framework in
which a box ends on its last pixel, x2 - 1 in these coordinates.
"""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import clip_boxes_to_image


def clip(boxes: Tensor, size: tuple[int, int], inclusive: bool) -> Tensor:
    """Clip `boxes` to an image of `size` (height, width); inclusive ones keep at least one of its pixels."""
    if not inclusive:
        return clip_boxes_to_image(boxes, size)
    height, width = size
    first = boxes.new_tensor((0, 0, 1, 1))
    last = boxes.new_tensor((width - 1, height - 1, width, height))
    return boxes.clamp(first, last)


def rescale(boxes: Tensor, factors: tuple[float, float], inclusive: bool) -> Tensor:
    """Scale `boxes` to an image whose (height, width) are `factors` times as large; inclusive ones by last pixels."""
    vertical, horizontal = factors
    scaled = boxes * boxes.new_tensor((horizontal, vertical) * 2)
    if inclusive:
        scaled[:, 2:] += boxes.new_tensor((1 - horizontal, 1 - vertical))
    return scaled
