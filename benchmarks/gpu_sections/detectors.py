"""Training steps of Mask R-CNN beside torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from gpu_sections.run import LAYOUTS, BenchmarkRun, Calls, make_after, make_before, make_forced
from gpu_sections.steps import build_step, print_head, print_steps
from repro.data.coco import DetectionSample
from repro.detection.grouping import LossGroups
from repro.detection.torchvision import MaskRCNN
from repro.engine.devices import convert_memory_format
from repro.experiments import get


def make_photographs(run: BenchmarkRun, batch: int, height: int, width: int) -> list[DetectionSample]:
    """Noise with eight boxes an image, their masks ellipses."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(batch):
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        size = torch.rand(8, 2, generator=generator) * 0.4 + 0.05
        start = torch.rand(8, 2, generator=generator) * (1 - size)
        boxes = torch.cat([start, start + size], dim=1) * torch.tensor([width, height, width, height])
        x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
        masks = torch.stack([
            (((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1).byte()
            for x1, y1, x2, y2 in boxes
        ])  # fmt: skip
        labels = torch.randint(0, 80, (8,), generator=generator)
        moved = (one.to(run.device) for one in (image, boxes, labels, masks))
        image, boxes, labels, masks = moved
        samples.append(DetectionSample(image, number, (height, width), boxes, labels, masks))
    return samples


def build_stock(samples: list[DetectionSample], side: tuple[int, int]) -> nn.Module:
    """torchvision's own Mask R-CNN as it is fine-tuned: frozen norms, three trained stages."""
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN as Stock
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d

    torch.manual_seed(0)
    backbone = resnet50(norm_layer=FrozenBatchNorm2d)
    for name, buffer in backbone.named_buffers():
        if name.endswith("bn3.weight"):
            buffer.fill_(0.2)  # of random weights, nothing but this keeps the features small
    model = Stock(_resnet_fpn_extractor(backbone, 3), 81, min_size=side[0], max_size=side[1])
    return model.to(samples[0].image.device)


def compute_together(model: MaskRCNN, samples: list[DetectionSample]) -> dict[str, Tensor]:
    return model(samples)


def build_detector_step(
    run: BenchmarkRun,
    name: str,
    samples: list[DetectionSample],
    layout: str,
    losses_of: Callable[[MaskRCNN, list[DetectionSample]], dict[str, Tensor]] = compute_together,
) -> Callable[[], None]:
    network = get(name).detector
    torch.manual_seed(0)
    if run.small:
        backbone = replace(network.backbone, width=16)
        network = replace(network, backbone=backbone, fpn_channels=16, box_channels=32, mask_channels=16)
    model = MaskRCNN(network).to(run.device).train()
    convert_memory_format(model, LAYOUTS[layout][4])
    return build_step(run, model, lambda: sum(losses_of(model, samples).values()), torch.bfloat16)


def compute_in_turn(model: MaskRCNN, samples: list[DetectionSample]) -> dict[str, Tensor]:
    """The losses of a batch, the images whose losses are means of their own one group after the other, as before."""
    images = model.batch(samples)
    features = model.features(images)
    groups = LossGroups(len(samples), model.spec.images_per_loss)
    losses: dict[str, Tensor] = {}
    for part, share in zip(groups.slices, groups.shares, strict=True):
        own, sizes = samples[part], images.image_sizes[part]
        levels = {name: level[part] for name, level in features.items()}
        boxes, labels, masks = ([getattr(one, name) for one in own] for name in ("boxes", "labels", "masks"))
        proposals, terms = model.rpn(ImageList(images.tensors[part], sizes), levels, boxes)
        terms |= model.roi_heads.losses(levels, proposals, sizes, boxes, labels, masks)
        losses = {name: losses.get(name, 0) + share * term for name, term in terms.items()}
    return losses


def measure_detection(run: BenchmarkRun) -> None:
    """Training steps of Mask R-CNN, 16 images of 800 x 1333, bf16, channels last; before: groups in turn, NCHW."""
    batch, side = (3, (64, 96)) if run.small else (16, (800, 1333))
    samples = make_photographs(run, batch, *side)
    model = build_stock(samples, side)
    images = [one.image.float() / 255 for one in samples]
    targets = [{"boxes": one.boxes, "labels": one.labels + 1, "masks": one.masks} for one in samples]
    print_head(run, "images/s", "torchvision")
    calls: Calls = {
        "torchvision": build_step(run, model, lambda: sum(model(images, targets).values()), torch.bfloat16),
        "baseline, before": build_detector_step(run, "coco-r50-baseline", samples, "NCHW", compute_in_turn),
        "baseline, NCHW": build_detector_step(run, "coco-r50-baseline", samples, "NCHW"),
        "baseline": build_detector_step(run, "coco-r50-baseline", samples, "channels last"),
    }
    gc_step = build_detector_step(run, "coco-r50-gc-r16", samples, "channels last")
    before = build_detector_step(run, "coco-r50-gc-r16", samples, "NCHW", compute_in_turn)
    calls |= {
        "all GC r16, before": make_before(before),
        "all GC r16": make_after(run, gc_step),
        "all GC r16, functions": make_forced("functions", gc_step),
    }
    print_steps(run, f"Mask R-CNN, {batch} images, bf16", calls, batch, seconds=30, base="torchvision")
    if run.device.type == "cuda":
        for name, call in calls.items():
            run.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            call()
            peak = torch.cuda.max_memory_allocated() / 2**30
            run.note(f"Mask R-CNN, peak GiB, {name}", peak)
            run.say(f"peak memory, {name}: {peak:.1f} GiB")
