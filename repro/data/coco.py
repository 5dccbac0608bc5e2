"""One split of a COCO-format directory, as the detector takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass
class Sample:
    """One image as the detector takes it."""

    image: Tensor  #: uint8 (3, H, W), RGB, already resized and perhaps flipped
    image_id: int
    size: tuple[int, int]  #: of the original image: (height, width), pixels
    boxes: Tensor  #: float32 (n, 4), (x1, y1, x2, y2) in pixels of `image`; training only, n may be 0
    labels: Tensor  #: int64 (n,), 0..K-1 in the order of the ascending category ids
    masks: Tensor  #: uint8 (n, H, W), 0 or 1


@dataclass
class Detections:
    """What a detector found in one image."""

    image_id: int
    boxes: np.ndarray  #: float32 (n, 4), (x1, y1, x2, y2) in pixels of the original image, clipped to it
    scores: np.ndarray  #: float32 (n,)
    labels: np.ndarray  #: int64 (n,), 0..K-1
    masks: list[dict]  #: n COCO run-length encodings {"size": [height, width], "counts": ...} at the original size
