"""What detection heads compute, written out box by box, and objects in two images to try it on."""

from __future__ import annotations

import math

import numpy as np
import torch
from torchvision.ops import roi_align

STANDARD = (0.1, 0.1, 0.2, 0.2)
SIZES = [(96, 96), (90, 84)]  # of the images, in pixels


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    sides = 4 + torch.rand(count, 2, generator=generator) * 30
    return torch.cat([corner, corner + sides], dim=1)


def objects():
    boxes = [torch.tensor([[8.0, 6.0, 36.0, 34.0], [40.0, 30.0, 82.0, 72.0]]), torch.tensor([[4.0, 40.0, 60.0, 68.0]])]
    labels = [torch.tensor([2, 0]), torch.tensor([1])]
    generator = torch.Generator().manual_seed(1)
    masks = [
        (torch.rand(len(box), *size, generator=generator) > 0.4).to(torch.uint8)
        for box, size in zip(boxes, SIZES, strict=True)
    ]
    return boxes, labels, masks


def shaken(heads: torch.nn.Module) -> torch.nn.Module:
    """`heads` with weights that make outputs differ from place to place."""
    torch.manual_seed(0)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return heads


def overlap(a, b) -> float:
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def encode(target, roi, deviations=STANDARD) -> list[float]:
    width, height = roi[2] - roi[0], roi[3] - roi[1]
    return [
        (target[0] + target[2] - roi[0] - roi[2]) / 2 / width / deviations[0],
        (target[1] + target[3] - roi[1] - roi[3]) / 2 / height / deviations[1],
        math.log((target[2] - target[0]) / width) / deviations[2],
        math.log((target[3] - target[1]) / height) / deviations[3],
    ]


def decode(deltas, roi, size, deviations=STANDARD) -> np.ndarray:
    """The box, clipped to an image of `size` (height, width)."""
    x1, y1, x2, y2 = (float(value) for value in roi)
    dx, dy, dw, dh = (float(delta) * deviation for delta, deviation in zip(deltas, deviations, strict=True))
    x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
    w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
    return np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [size[1], size[0], size[1], size[0]])


def losses(heads, features, rois, boxes, labels, masks, iou=0.5, deviations=STANDARD) -> dict[str, float]:
    """The losses over these RoIs, (k, 4) per image, and the number of foreground RoIs."""
    logits, deltas = heads.predict_boxes(features, rois)
    mask_logits = heads.predict_masks(features, rois)
    classification, regression, mask_terms = [], [], []
    index = 0
    for image, image_rois in enumerate(rois):
        for roi in image_rois.tolist():
            overlaps = [overlap(target.tolist(), roi) for target in boxes[image]]
            best = max(range(len(overlaps)), key=overlaps.__getitem__)
            label = int(labels[image][best]) + 1 if overlaps[best] >= iou else 0
            scores = logits[index].tolist()
            classification.append(math.log(sum(math.exp(s) for s in scores)) - scores[label])
            if label:
                expected = encode(boxes[image][best].tolist(), roi, deviations)
                predicted = deltas[index, label].tolist()
                regression.append(sum(_smooth_l1(p - t) for p, t in zip(predicted, expected, strict=True)))
                grid = roi_align(
                    masks[image][best][None, None].float(), [torch.tensor([roi])], 28, sampling_ratio=-1, aligned=True
                )[0, 0]
                for value, inside in zip(
                    mask_logits[index, label].flatten().tolist(), (grid >= 0.5).flatten().tolist(), strict=True
                ):
                    mask_terms.append(math.log1p(math.exp(-value if inside else value)))
            index += 1
    return {
        "loss_classifier": sum(classification) / index,
        "loss_box": sum(regression) / index,
        "loss_mask": sum(mask_terms) / len(mask_terms),
        "foreground": len(regression),
    }


def _smooth_l1(difference: float) -> float:
    d = abs(difference)
    return d * d / 2 if d < 1 else d - 0.5
