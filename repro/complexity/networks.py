"""Counts the networks of the experiments, on the meta device.

A network is counted in pieces that are added: its base (the network without context blocks) residual block by residual
block, each kind of context block alone at the size of its stage, and the heads of a detector at a fixed number of RoIs.
Pieces of the same structure at the same size are traced once, whichever networks they stand in. Which RoIs a detector
with random weights would choose never matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from repro.complexity import COUNTER
from repro.complexity.convention import Operations
from repro.complexity.trace import build_tree, count, count_parameters, trace_operations
from repro.complexity.tree import Counted
from repro.detection.roi import BOX_RESOLUTION, MASK_RESOLUTION
from repro.detection.torchvision import DIVISOR, MaskRCNN
from repro.experiments import STAGES, BlockFactory, Classifier, Detector, Experiment, GlobalContext, NonLocal
from repro.experiments.specification import name_factory
from repro.models import context
from repro.models.resnet import ResNet, locate_context_blocks
from repro.records import Count
from repro.user_code import report_failures

#: RoIs of the printed FLOPs.
PAPER_ROIS = 1000
#: Operators between the traced parts of a detector, which neither convention counts.
BETWEEN = ("torchvision::nms", "torchvision::roi_align")


@dataclass(frozen=True)
class Part:
    """A part of a network: what it performs, and how many learnable parameters it has."""

    operations: Operations
    params: int

    def __add__(self, other: Part) -> Part:
        return Part(self.operations + other.operations, self.params + other.params)


def count_experiment(experiment: Experiment) -> Count:
    """Count the parameters and operations of the network of `experiment`, at batch size 1 and its test resolution.

    >>> from repro.complexity import count_experiment
    >>> from repro.experiments import get
    >>> counted = count_experiment(get("imagenet-r50-gc-r16"))  # Table 4 prints 28.08 M and 3.87 G
    >>> counted.params, counted.macs
    (28078773, 4097896448)
    >>> f"{counted.paper_flops / 2**30:.2f} G"
    '3.87 G'
    """
    network = experiment.network
    backbone = network.backbone
    total, sizes = _count_base(replace(network, backbone=replace(backbone, context=None)))
    if backbone.context is not None:
        for stage, _ in sorted(locate_context_blocks(backbone.context, backbone.blocks)):
            total += _count_block(backbone.context.block, sizes[stage])
    between = BETWEEN if isinstance(network, Detector) else ()
    return Count(
        experiment=experiment.name,
        spec_hash=experiment.spec_hash,
        params=total.params,
        macs=total.operations.macs,
        paper_flops=total.operations.paper_flops,
        input_shape=list(get_input_shape(network)),
        rois=count_rois(network),
        counter=COUNTER,
        uncounted=sorted({*total.operations.uncounted, *between}),
    )


def count_whole(network: Detector | Classifier) -> Counted:
    """Count the complete network, context blocks in their places, with what each of its modules performs."""
    model = build(network, choose_device(network))
    own = dict.fromkeys(model.modules(), Operations())
    for part, inputs in list_traced_parts(model, network):
        for module, operations in trace_operations(part, inputs).items():
            own[module if module in own else model] += operations  # a part may be no module of the network
    return build_tree(model, own)


def choose_device(network: Detector | Classifier) -> str:
    """Choose where a network is traced: on the meta device, or on the CPU if a block of the user's own reads values."""
    context_ = network.backbone.context
    if context_ is None or isinstance(context_.block, (NonLocal, GlobalContext)):
        return "meta"
    size = (1, 64, *(8,) * network.backbone.dimensions)
    try:
        with torch.device("meta"), torch.no_grad():
            context.build(context_.block, 64, network.backbone.dimensions).eval()(torch.zeros(size))
    except Exception:
        return "cpu"
    return "meta"


def get_input_shape(network: Detector | Classifier) -> tuple[int, ...]:
    """The input's shape (3, H, W) or (3, T, H, W): for a detector a landscape image of the largest size, padded."""
    if isinstance(network, Classifier):
        return (3, *network.input_size)
    height, width = (-(-side // DIVISOR) * DIVISOR for side in (network.short_side, network.long_side))
    return 3, height, width


def count_rois(network: Detector | Classifier) -> dict[str, int]:
    """Count the RoIs through each head of a detector: the proposals, and a mask for each of the most detections.

    Of the proposals `PAPER_ROIS` at most: the paper's FLOPs are of 1000, though its AP are of 2000 (`Detector`).

    The heads of a cascade are numbered from 1. All of its box heads see all RoIs, all of its mask heads all detections.
    """
    if isinstance(network, Classifier):
        return {}
    numbers = {"box_head": min(network.proposals[1], PAPER_ROIS), "mask_head": network.detections}
    if not network.cascade:
        return numbers
    return {f"{head}_{stage}": number for head, number in numbers.items() for stage in (1, 2, 3)}


class Trunk(nn.Module):
    """Joins what a detector does with the image itself: (1, 3, H, W) -> the pyramid and the RPN's outputs."""

    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.backbone, self.neck = detector.backbone, Neck(detector)

    def forward(self, image: Tensor) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        return self.neck(*self.backbone.features(image).values())


class Neck(nn.Module):
    """The feature pyramid and the RPN's head: c2 .. c5 -> the pyramid and the RPN's outputs."""

    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.fpn, self.rpn_head = detector.fpn, detector.rpn.head

    def forward(self, *features: Tensor) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        pyramid = self.fpn(dict(zip(STAGES, features, strict=True)))
        return pyramid, *self.rpn_head(list(pyramid.values()))


def build(network: Detector | Classifier, device: str = "meta") -> MaskRCNN | ResNet:
    """Build the network, in evaluation mode."""
    with torch.device(device):
        if isinstance(network, Classifier):
            return ResNet(network.backbone, network.num_classes, network.fc_std).eval()
        return MaskRCNN(network).eval()


def list_traced_parts(model: MaskRCNN | ResNet, network: Detector | Classifier) -> list[tuple[nn.Module, Tensor]]:
    """List the modules of which a forward pass consists, each with zeros of the size of its input.

    They are zeros because torchvision's deformable convolution on the CPU ends the process if offsets are not numbers.
    """
    image = torch.zeros(1, *get_input_shape(network), device=next(model.parameters()).device)
    if isinstance(model, MaskRCNN):
        return [(Trunk(model), image), *_list_heads(model)]
    return [(model, image)]


def _list_heads(model: MaskRCNN) -> Iterator[tuple[nn.Module, Tensor]]:
    stages = model.roi_heads.stage_heads
    boxes = [(nn.Sequential(stage.box_head, stage.box_predictor), BOX_RESOLUTION) for stage in stages]
    masks = [(nn.Sequential(stage.mask_head, stage.mask_predictor), MASK_RESOLUTION) for stage in stages]
    device = next(model.parameters()).device
    for (head, side), number in zip(boxes + masks, count_rois(model.spec).values(), strict=True):
        yield head, torch.zeros(number, model.spec.fpn_channels, side, side, device=device)


@cache
def _count_base(network: Detector | Classifier) -> tuple[Part, dict[str, torch.Size]]:
    """Count a network without context blocks; also give the sizes (1, C, [T,] H, W) of its stages c2 .. c5."""
    model = build(network)
    backbone = model.backbone if isinstance(model, MaskRCNN) else model
    stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
    operations, size = _count_piece(stem, torch.Size((1, *get_input_shape(network))))
    sizes = {}
    for i, stage in enumerate(STAGES, start=1):
        for block in backbone.get_submodule(f"layer{i}").children():
            added, size = _count_piece(block, size)
            operations += added
        sizes[stage] = size
    if isinstance(model, MaskRCNN):
        operations += _count_piece(Neck(model), *sizes.values())[0]
        for head, inputs in _list_heads(model):
            operations += _count_piece(head, inputs.shape)[0]
    else:
        operations += _count_piece(nn.Sequential(model.avgpool, nn.Flatten(), model.fc), size)[0]
    return Part(operations, count_parameters(model)), sizes


_pieces: dict[tuple, tuple[Operations, torch.Size]] = {}


def _count_piece(module: nn.Module, *sizes: torch.Size) -> tuple[Operations, torch.Size]:
    """Count a module on inputs of those sizes; also give the size of its output (empty if it has several)."""
    structure = repr(module), tuple((name, parameter.shape) for name, parameter in module.named_parameters()), sizes
    if structure not in _pieces:
        inputs = tuple(torch.empty(size, device="meta") for size in sizes)
        with torch.no_grad():
            output = module(*inputs)
        size = output.shape if isinstance(output, Tensor) else torch.Size()
        _pieces[structure] = count(module, inputs).operations, size
    return _pieces[structure]


@cache
def _count_block(spec: NonLocal | GlobalContext | BlockFactory, size: torch.Size) -> Part:
    """Count one context block on a feature map of that size, (1, C, H, W) or (1, C, T, H, W).

    A block of the user's own may read values, which there are none of on the meta device: it is then counted on the
    CPU.
    """

    def count_on(device: str) -> Part:
        with torch.device(device), torch.no_grad():
            block = context.build(spec, size[1], len(size) - 2).eval()
            return Part(count(block, torch.zeros(size)).operations, count_parameters(block))

    if isinstance(spec, (NonLocal, GlobalContext)):
        return count_on("meta")
    try:
        return count_on("meta")
    except Exception:
        with report_failures(f"{name_factory(spec)} cannot be counted"):
            return count_on("cpu")
