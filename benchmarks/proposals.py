"""What AP 1000 proposals at test leave of that of 2000: planted on photographs, and a trained mini network.

    python benchmarks/proposals.py COCO_DIRECTORY [WEIGHTS RESULTS EXPERIMENT]

COCO_DIRECTORY has val2017 with its annotations. WEIGHTS are the `weights.pt` of `repro run EXPERIMENT --profile mini
--results RESULTS`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from faster_coco_eval.core import mask as mask_api
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from repro.data.coco import CocoDetection, Detections, DetectionSample, compute_resized_size, compute_scale
from repro.detection.boxes import rescale
from repro.detection.torchvision import DIVISOR, MaskRCNN
from repro.evaluation.coco import evaluate
from repro.experiments import Backbone, Detector, mini
from repro.settings import Settings
from repro.tasks import task_for

NUMBERS = (2000, 1000)
STRIDES = (4, 8, 16, 32, 64)


@dataclass
class Planted:
    """An image with its objects in the pixels of the resized image, and nothing else."""

    sample: DetectionSample
    boxes: Tensor  #: (n, 4)
    labels: Tensor  #: (n,)


def load_planted(data: CocoDetection) -> Iterator[Planted]:
    truth = data.build_ground_truth()["annotations"]
    label = {category_id: k for k, category_id in enumerate(data.category_ids)}
    for image_id in data.image_ids:
        height, width = data.get_original_size(image_id)
        size = compute_resized_size(height, width, data.short_side, data.long_side)
        objects = [one for one in truth if one["image_id"] == image_id and not one["iscrowd"]]
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes *= compute_scale(height, width, data.short_side, data.long_side)
        labels = torch.tensor([label[one["category_id"]] for one in objects], dtype=torch.int64)
        empty = torch.zeros(0)
        sample = DetectionSample(
            torch.zeros(3, *size, dtype=torch.uint8), image_id, (height, width), empty, empty, empty
        )
        yield Planted(sample, boxes, labels)


def propose(model: MaskRCNN, image: Planted, noise: float, generator: torch.Generator) -> Tensor:
    """The proposals (k, 4) of an RPN that knows the objects but for Gaussian `noise` in its logits.

    An anchor's logit is 10 times its highest IoU, and its box moves three quarters of the way to that object.
    """
    height, width = image.sample.image.shape[1:]
    padded = [-(-side // DIVISOR) * DIVISOR for side in (height, width)]
    grids = [torch.zeros(1, 1, *(-(-side // stride) for side in padded)) for stride in STRIDES]
    images = ImageList(torch.zeros(1, 3, *padded), [(height, width)])
    (anchors,) = model.rpn.anchor_generator(images, grids)
    logits = torch.randn(len(anchors), generator=generator) * noise
    boxes = anchors
    if len(image.boxes):
        overlap, nearest = box_iou(anchors, image.boxes).max(dim=1)
        logits = logits + 10 * overlap
        moved = anchors + 0.75 * (image.boxes[nearest] - anchors)
        boxes = torch.where((overlap > 0.3)[:, None], moved, anchors)
    counts = [grid[0, 0].numel() * 3 for grid in grids]
    stay = torch.zeros(1, len(boxes), 4)
    return model.rpn.propose(boxes, logits[None], stay, [(height, width)], counts)[0]


def detect(model: MaskRCNN, image: Planted, proposals: Tensor, generator: torch.Generator) -> Detections:
    """The detections of heads that know the objects but for noise; no mask has a pixel.

    A proposal's logit for the class of its object is 12 (IoU - 0.5), with noise of 2 that all proposals of the object
    share, and its box moves three quarters of the way to the object. Besides, each proposal has a random class with a
    logit of -6, with noise of 1.5 of its own.
    """
    classes = model.spec.num_classes + 1
    background = torch.randn(max(NUMBERS), generator=generator)[: len(proposals)] * 1.5 - 6
    logits = torch.full((len(proposals), classes), -12.0)
    random = torch.randint(1, classes, (max(NUMBERS),), generator=generator)[: len(proposals)]
    logits[torch.arange(len(proposals)), random] = background
    logits[:, 0] = 0
    targets = proposals
    if len(image.boxes):
        overlap, nearest = box_iou(proposals, image.boxes).max(dim=1)
        noise = torch.randn(len(image.boxes), generator=generator) * 2
        known = image.labels[nearest] + 1
        logits[torch.arange(len(proposals)), known] = 12 * (overlap - 0.5) + noise[nearest]
        moved = proposals + 0.75 * (image.boxes[nearest] - proposals)
        targets = torch.where((overlap > 0.3)[:, None], moved, proposals)
    (deltas,) = model.roi_heads.box_coder.encode([targets], [proposals])
    size, factors = tuple(image.sample.image.shape[1:]), model.compute_factors(image.sample)
    boxes, scores, labels = model.roi_heads.select(
        logits.softmax(dim=1), deltas[:, None].expand(-1, classes, -1), proposals, size, factors
    )
    boxes = rescale(boxes, factors, inclusive=True)
    empty = mask_api.encode(np.zeros(image.sample.size, dtype=np.uint8, order="F"))
    return Detections(image.sample.image_id, boxes.numpy(), scores.numpy(), labels.numpy(), [empty] * len(boxes))


def plant(root: Path) -> None:
    spec = Detector(Backbone(blocks=(1, 1, 1, 1), width=4), fpn_channels=4, box_channels=4, mask_channels=4)
    data = CocoDetection(root, "val2017", spec.num_classes, spec.short_side, spec.long_side)
    images = list(load_planted(data))
    objects = sum(len(image.boxes) for image in images)
    print(f"{len(images)} photographs, {objects} objects\n")
    print("| noise | proposals | an image has | recall at IoU 0.5 | at 0.7 | AP box |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for noise in (2.0, 3.0, 4.0, 5.0):
        for number in NUMBERS:
            model = MaskRCNN(replace(spec, proposals=(number,) * 2, proposals_per_level=(number,) * 2)).eval()
            found, results, had = {0.5: 0, 0.7: 0}, [], 0
            for image in images:
                generator = torch.Generator().manual_seed(image.sample.image_id)
                proposals = propose(model, image, noise, generator)
                had += len(proposals)
                if len(image.boxes):
                    best = box_iou(image.boxes, proposals).max(dim=1).values
                    found = {least: count + int((best >= least).sum()) for least, count in found.items()}
                results.append(detect(model, image, proposals, generator))
            recalls = " | ".join(f"{count / objects:.1%}" for count in found.values())
            ap = evaluate(results, data)["ap_box"]
            print(f"| {noise} | {number} | {had / len(images):.0f} | {recalls} | {ap:.2f} |", flush=True)


def halve(weights: Path, results: Path, name: str) -> None:
    task = task_for(mini.get_at_profile(name, "mini"), Settings(results=results))
    spec, data = task.experiment.detector, task.validation_data
    tensors = torch.load(weights, weights_only=True)
    print(f"\n{name}, {len(data)} generated images\n\n| per level, of all | AP box | AP mask |\n| ---: | ---: | ---: |")
    for scale in (4, 2, 1, 0.5, 0.25):
        per_level, every = (int(numbers[1] * scale) for numbers in (spec.proposals_per_level, spec.proposals))
        model = MaskRCNN(replace(spec, proposals=(every,) * 2, proposals_per_level=(per_level,) * 2)).eval()
        model.load_state_dict(tensors)
        found = evaluate([model([data.sample(index)])[0] for index in range(len(data))], data)
        print(f"| {per_level}, {every} | {found['ap_box']:.2f} | {found['ap_mask']:.2f} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        if sys.argv[2:]:
            halve(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        plant(Path(sys.argv[1]))
