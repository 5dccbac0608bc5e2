"""Counts the networks of the experiments, on the meta device.

A network is counted in parts that are added: its base (the network without context blocks) is traced once for all
experiments that share it, then each kind of context block alone at the size of its stage, and the heads of a detector
at a fixed number of RoIs. Which RoIs a detector with random weights would choose never matters.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from repro.complexity import COUNTER, unsupported
from repro.complexity.convention import Operations
from repro.complexity.trace import count, parameters
from repro.detection.roi import BOX_RESOLUTION, MASK_RESOLUTION
from repro.detection.torchvision import DIVISOR, MaskRCNN
from repro.errors import ReproError
from repro.experiments import Classifier, Detector, Experiment, GlobalContext, NonLocal
from repro.models import context
from repro.models.resnet import ResNet, placements
from repro.records import Count

#: Operators between the traced parts of a detector. Neither convention counts them.
_BETWEEN = Counter({"torchvision::nms": 1, "torchvision::roi_align": 2})


@dataclass(frozen=True)
class Part:
    """A part of a network: what it performs, and how many learnable parameters it has."""

    operations: Operations
    params: int

    def __add__(self, other: Part) -> Part:
        return Part(self.operations + other.operations, self.params + other.params)


def count_experiment(experiment: Experiment) -> Count:
    """Parameters and operations of the network of `experiment`, at batch size 1 and its test resolution.

    Raises:
        ReproError: this version does not build the network.
    """
    if reason := unsupported(experiment):
        raise ReproError(f"{experiment.name} cannot be counted: {reason}")
    network = experiment.network
    backbone = network.backbone
    plain = replace(network, backbone=replace(backbone, context=None))
    total, sizes = _base(plain)
    if backbone.context is not None:
        for stage, _ in sorted(placements(backbone.context, backbone.blocks)):
            total += _block(backbone.context.block, sizes[stage])
    return Count(
        experiment=experiment.name,
        spec_hash=experiment.spec_hash,
        params=total.params,
        macs=total.operations.macs,
        paper_flops=total.operations.paper_flops,
        input_shape=list(input_shape(network)),
        rois=rois(network),
        counter=COUNTER,
        uncounted=sorted(total.operations.uncounted),
    )


def input_shape(network: Detector | Classifier) -> tuple[int, ...]:
    """(3, H, W) or (3, T, H, W) of the input: a detector's is a landscape of the largest size, padded."""
    if isinstance(network, Classifier):
        return (3, *network.input_size)
    height, width = (-(-side // DIVISOR) * DIVISOR for side in (network.short_side, network.long_side))
    return 3, height, width


def rois(network: Detector | Classifier) -> dict[str, int]:
    """RoIs through each head of a detector: all proposals, and as many masks as an image may have detections."""
    if isinstance(network, Classifier):
        return {}
    return {"box_head": network.proposals[1], "mask_head": network.detections}


class Trunk(nn.Module):
    """What a detector does with the image itself, in one module: (1, 3, H, W) -> the pyramid and the RPN's outputs."""

    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.backbone, self.fpn, self.rpn_head = detector.backbone, detector.fpn, detector.rpn.head

    def forward(self, image: Tensor) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        pyramid = self.fpn(self.backbone.features(image))
        return pyramid, *self.rpn_head(list(pyramid.values()))


def traceable(model: MaskRCNN | ResNet, network: Detector | Classifier) -> list[tuple[nn.Module, Tensor]]:
    """The modules that a forward pass consists of, each with zeros of the size that it is given.

    Zeros, because torchvision's deformable convolution on the CPU ends the process when offsets are not numbers.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, *input_shape(network), device=device)
    if isinstance(network, Classifier):
        return [(model, image)]
    heads = model.roi_heads
    number, channels = rois(network), network.fpn_channels
    return [
        (Trunk(model), image),
        (
            nn.Sequential(heads.box_head, heads.box_predictor),
            torch.zeros(number["box_head"], channels, BOX_RESOLUTION, BOX_RESOLUTION, device=device),
        ),
        (
            nn.Sequential(heads.mask_head, heads.mask_predictor),
            torch.zeros(number["mask_head"], channels, MASK_RESOLUTION, MASK_RESOLUTION, device=device),
        ),
    ]


def build(network: Detector | Classifier) -> MaskRCNN | ResNet:
    """The network, in evaluation mode."""
    if isinstance(network, Classifier):
        return ResNet(network.backbone, network.num_classes).eval()
    return MaskRCNN(network).eval()


@cache
def _base(network: Detector | Classifier) -> tuple[Part, dict[str, torch.Size]]:
    """A network without context blocks, and the sizes (1, C, H, W) of its stages c2..c5."""
    with torch.device("meta"):
        model = build(network)
    operations = sum((count(module, inputs) for module, inputs in traceable(model, network)), Operations())
    backbone = model.backbone if isinstance(network, Detector) else model
    with torch.no_grad():
        features = backbone.features(torch.empty(1, *input_shape(network), device="meta"))
    if isinstance(network, Detector):
        operations += Operations(uncounted=_BETWEEN)
    return Part(operations, parameters(model)), {stage: output.shape for stage, output in features.items()}


@cache
def _block(spec: NonLocal | GlobalContext, size: torch.Size) -> Part:
    """One context block on a feature map of that size, (1, C, H, W)."""
    with torch.device("meta"):
        block = context.build(spec, size[1], len(size) - 2).eval()
        return Part(count(block, torch.empty(size)), parameters(block))
