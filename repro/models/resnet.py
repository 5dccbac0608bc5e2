"""ResNet and ResNeXt with context blocks and deformable convolutions, under torchvision's parameter names.

A stage is named by its output, c1 (the stem) to c5; in the state dict c2..c5 are `layer1`..`layer4`.

In 3-D the network is the slow-only pathway of SlowFast networks [6]: it keeps all frames up to the global average
pooling, and each residual block of c4 and c5 looks one frame back and one ahead, with a 3x1x1 convolution where the
image network's block has its first 1x1. Every other kernel spans one frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import DeformConv2d

from repro.errors import ReproError
from repro.experiments import STAGES, Backbone, Insertion
from repro.models import context, fused, norm
from repro.models.dimensions import AVERAGE_POOL, CONV, MAX_POOL, build_window

if TYPE_CHECKING:
    from typing_extensions import Self

_LAYERS = dict(zip(STAGES, ("layer1", "layer2", "layer3", "layer4"), strict=True))
EXPANSION = 4  #: output channels of a bottleneck in units of its planes
TEMPORAL_STAGES = ("c4", "c5")  #: those whose residual blocks look at neighbouring frames in 3-D


class DeformableConv2d(DeformConv2d):
    """3x3 deformable convolution: (B, C, H, W) -> (B, out, H/stride, W/stride), its offsets predicted from its input.

    The offsets keep the default initialisation of a convolution: the authors zero them only in runs without
    pretrained weights, and theirs have some.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.conv_offset = nn.Conv2d(in_channels, 2 * 3 * 3, 3, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, self.conv_offset(x))


def _build_conv(
    dimensions: int, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, frames: int = 1
) -> nn.Conv2d | nn.Conv3d:
    """A convolution that keeps the number of frames; in 2-D there are none and `frames` has no meaning.

    Its weights are He's by fan-out, normal with a standard deviation of sqrt(2 / fan-out), as torchvision's and those
    of [6]; [10] names He's. The text of [33] says Xavier; its code, MXNet's MSRAPrelu with the defaults "avg" and slope
    0.25: normal, sqrt(2 / (1 + 0.25^2) / ((fan-in + fan-out) / 2)), also for the last layer. For equal fans that is 3 %
    less than here, for a 1x1 convolution from 64 to 256 channels 23 % more, from 256 to 64 39 % less; a norm follows.
    """
    conv: nn.Conv2d | nn.Conv3d
    padding = kernel // 2
    if dimensions == 2:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
    else:
        window, strides, paddings = (frames, kernel, kernel), (1, stride, stride), (frames // 2, padding, padding)
        conv = nn.Conv3d(in_channels, out_channels, window, strides, paddings, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class Bottleneck(nn.Module):
    """Residual block of a 1x1, a 3x3 and a 1x1 convolution: (B, C, H, W) -> (B, 4*planes, H/stride, W/stride).

    In 3-D (B, C, T, H, W) -> (B, 4*planes, T, H/stride, W/stride), the first convolution 3x1x1 in `TEMPORAL_STAGES`.

    Its context block (Section 5.1.1, "Positions") stands after the last 1x1 convolution and its norm, before the
    addition (`after1x1`, as SE); between the addition and the last ReLU (`afterAdd`, as in the authors' code); or
    after the whole residual block, its ReLU included (`afterReLU`, as in the video networks of [6] and [31]).
    """

    def __init__(
        self, spec: Backbone, stage: str, in_channels: int, planes: int, stride: int, insertion: Insertion | None
    ) -> None:
        super().__init__()
        dimensions = spec.dimensions
        width = planes * spec.width_per_group // 64 * spec.groups
        out_channels = EXPANSION * planes
        strides = (stride, 1) if spec.stride_in == "1x1" else (1, stride)
        frames = 3 if stage in TEMPORAL_STAGES else 1
        self.conv1 = _build_conv(dimensions, in_channels, width, 1, strides[0], frames=frames)
        self.bn1 = norm.build(spec.norm, width, dimensions)
        self.conv2: nn.Module
        if stage in spec.dcn:
            self.conv2 = DeformableConv2d(width, width, strides[1], spec.groups)
        else:
            self.conv2 = _build_conv(dimensions, width, width, 3, strides[1], spec.groups)
        self.bn2 = norm.build(spec.norm, width, dimensions)
        self.conv3 = _build_conv(dimensions, width, out_channels, 1)
        self.bn3 = norm.build(spec.norm, out_channels, dimensions)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                _build_conv(dimensions, in_channels, out_channels, 1, stride),
                norm.build(spec.norm, out_channels, dimensions),
            )
        self.position = insertion.position if insertion else None
        if insertion:
            self.context_block = context.build(insertion.block, out_channels, dimensions)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.position == "after1x1":
            # Not in evaluation, where hooks want to see what the block itself returns.
            if (
                self.training
                and isinstance(self.context_block, context.GlobalContextBlock)
                and fused.choose_implementation(out) == "triton"
            ):
                return self.context_block.forward_residual(out, x if self.downsample is None else self.downsample(x))
            out = self.context_block(out)
        out = out + (x if self.downsample is None else self.downsample(x))
        if self.position == "afterAdd":
            out = self.context_block(out)
        out = self.relu(out)
        return self.context_block(out) if self.position == "afterReLU" else out


class ResNetLayers(nn.Module):
    """The layers of a `ResNet`, for networks that take something other than images or clips and share its state dict.

    With `num_classes` it has a linear layer `fc` for so many classes: PyTorch's own initialisation or, as in [6],
    weights with a standard deviation of `fc_std` and biases of zero.
    The parameters of `spec.frozen` stages need no gradients. Under `train()` their norm layers stay in eval mode,
    unless `spec.frozen_statistics` is "batch".

    The last batch norm of a residual block starts from `spec.last_norm`: 1 in the paper's networks. [6] has 0
    (ZERO_INIT_FINAL_BN, in all its Kinetics configurations), but where weights of ImageNet are loaded nothing remains
    of it; [33] counts it to its refinements. The norm of a shortcut with a convolution starts from
    `spec.shortcut_norm`, also 1 in the paper's networks.

    Raises:
        ValueError: a specification with a site or stage that the network does not have, of neither 2 nor 3
            dimensions, or of deformable convolutions in 3-D.
    """

    def __init__(self, spec: Backbone, num_classes: int | None = None, fc_std: float | None = None) -> None:
        super().__init__()
        if spec.dimensions not in CONV:
            raise ValueError(f"a network has 2 dimensions (images) or 3 (clips), not {spec.dimensions}")
        if spec.dcn and spec.dimensions == 3:
            raise ValueError(f"deformable convolutions are for images, not for clips: {', '.join(spec.dcn)}")
        if unknown := {*spec.frozen} - {"c1", *STAGES} | {*spec.dcn} - {*STAGES}:
            raise ValueError(f"no such stage to freeze or deform: {', '.join(sorted(unknown))}")
        self.spec = spec
        self.channels = {stage: EXPANSION * spec.width * 2**i for i, stage in enumerate(STAGES)}
        self.conv1 = _build_conv(spec.dimensions, 3, spec.width, 7, stride=2)
        self.bn1 = norm.build(spec.norm, spec.width, spec.dimensions)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = MAX_POOL[spec.dimensions](
            build_window(spec.dimensions, 3, time=1),
            build_window(spec.dimensions, 2, time=1),
            build_window(spec.dimensions, 1, time=0),
        )
        with_context = locate_context_blocks(spec.context, spec.blocks) if spec.context else set()
        in_channels = spec.width
        for i, (stage, count) in enumerate(zip(STAGES, spec.blocks, strict=True)):
            blocks = []
            for index in range(count):
                stride = 2 if i > 0 and index == 0 else 1
                insertion = spec.context if (stage, index) in with_context else None
                blocks.append(Bottleneck(spec, stage, in_channels, spec.width * 2**i, stride, insertion))
                in_channels = self.channels[stage]
            for block in blocks:
                norms = [(block.bn3, spec.last_norm)]
                if block.downsample is not None:
                    norms.append((block.downsample[1], spec.shortcut_norm))
                for layer, start in norms:
                    assert isinstance(layer.weight, Tensor)  # of a frozen norm, a buffer
                    nn.init.constant_(layer.weight, start)
            self.add_module(_LAYERS[stage], nn.Sequential(*blocks))
        if num_classes is not None:
            self.avgpool = AVERAGE_POOL[spec.dimensions](1)
            self.fc = nn.Linear(in_channels, num_classes)
            if fc_std is not None:
                nn.init.normal_(self.fc.weight, std=fc_std)
                nn.init.zeros_(self.fc.bias)
        self.num_classes = num_classes
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train()

    def _frozen_modules(self) -> list[nn.Module]:
        stages = {"c1": [self.conv1, self.bn1]} | {c: [self.get_submodule(layer)] for c, layer in _LAYERS.items()}
        return [module for stage in self.spec.frozen for module in stages[stage]]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self._frozen_modules() if self.spec.frozen_statistics == "running" else ():
            for layer in module.modules():
                if isinstance(layer, norm.BatchNorm):
                    layer.eval()
        return self

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """{"c2": (B, 4*width, H/4, W/4), ..., "c5": (B, 32*width, H/32, W/32)}, sizes rounded up; in 3-D with T."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        outputs = {}
        for stage, layer in _LAYERS.items():
            x = outputs[stage] = self.get_submodule(layer)(x)
        return outputs

    def logits(self, x: Tensor) -> Tensor:
        """(B, num_classes): a global average pooling of c5 and the linear layer `fc`."""
        return self.fc(self.avgpool(self.features(x)["c5"]).flatten(1))

    def window_logits(self, x: Tensor, side: int = 7) -> Tensor:
        """(B, num_classes, rows, columns): `logits` of each square window of c5, at a stride of one position.

        A window has `side` x `side` positions and, in 3-D, all frames; 7 is all of c5 for inputs of 224 pixels. So the
        code of [6] tests crops of 256, and averages the softmaxes of their four windows.

        Raises:
            ValueError: c5 is smaller than a window.
        """
        c5 = self.features(x)["c5"]
        if min(c5.shape[-2:]) < side:
            raise ValueError(
                f"c5 has {c5.shape[-2]} x {c5.shape[-1]} positions, fewer than a window of {side} x {side}"
            )
        over_time = c5.mean(2) if c5.dim() == 5 else c5
        return self.fc(functional.avg_pool2d(over_time, side, stride=1).movedim(1, -1)).movedim(-1, 1)


class ResNet(ResNetLayers):
    """The backbone of a specification, for images (B, 3, H, W) or, in 3-D, clips (B, 3, T, H, W).

    Without `num_classes` the result is that of `features`, with it that of `logits`.
    """

    def forward(self, x: Tensor) -> dict[str, Tensor] | Tensor:
        return self.features(x) if self.num_classes is None else self.logits(x)


def locate_context_blocks(insertion: Insertion, blocks: tuple[int, ...]) -> set[tuple[str, int]]:
    """The (stage, block) pairs, blocks counted from zero, at which an insertion puts its context blocks.

    Raises:
        ValueError: a site outside a network with that many residual blocks in c2..c5.
    """
    counts = dict(zip(STAGES, blocks, strict=True))
    places: set[tuple[str, int]] = set()
    for stage, index in insertion.sites:
        if stage not in counts or (index is not None and not -counts[stage] <= index < counts[stage]):
            raise ValueError(f"no residual block {index} of stage {stage} in a network of {blocks} blocks")
        indices = range(counts[stage]) if index is None else [index % counts[stage]]
        places.update((stage, i) for i in indices)
    return places


def load_initial(model: nn.Module, state_dict: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Load the state dict of a classifier, or of a detector, as initial weights; returns (missing, unexpected) keys.

    Missing may be what the paper adds to a pretrained network (context blocks, DCN offsets) and `fc`; unexpected, `fc`.
    An `fc` of another number of classes is both. A 3-D network's state dict comes from `repro.models.resnet3d.inflate`.

    Raises:
        ReproError: any other key is missing or unexpected, or a shape or the kind of numbers differs. The model's
            weights are then undefined.
    """
    own = model.state_dict()
    other_classes = [
        key
        for key in ("fc.weight", "fc.bias")
        if key in own and key in state_dict and own[key].shape[:1] != state_dict[key].shape[:1]
    ]
    state_dict = {key: value for key, value in state_dict.items() if key not in other_classes}
    for key, value in state_dict.items():
        if key in own and own[key].shape != value.shape:
            raise ReproError(
                f"initial weights: {key} has shape {tuple(value.shape)}, the network needs {tuple(own[key].shape)};"
                " they belong to another network"
            )
        if key in own and own[key].is_floating_point() != value.is_floating_point():
            raise ReproError(
                f"initial weights: {key} holds {value.dtype}, the network needs {own[key].dtype}: such numbers, of a "
                "quantised network perhaps, stand for others than their values"
            )
    missing, unexpected = model.load_state_dict(state_dict, strict=False)
    for problem, keys in (
        ("lack", [k for k in missing if not (_is_new(k) or k.startswith("fc."))]),
        ("have unknown", [k for k in unexpected if not k.startswith("fc.")]),
    ):
        if keys:
            raise ReproError(
                f"initial weights {problem} {keys[0]}{f' and {len(keys) - 1} more keys' if len(keys) > 1 else ''};"
                " they belong to another network"
            )
    return missing, other_classes + unexpected


def _is_new(key: str) -> bool:
    return ".context_block." in key or ".conv_offset." in key
