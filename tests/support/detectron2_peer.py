"""Mask R-CNN as Detectron2 lays it out, in plain torch: its names, shapes and forward semantics.

Written from the published architecture. Its convolutions hold the norm that follows them, as `norm`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


class Conv2d(nn.Conv2d):
    """A convolution with its frozen batch norm, which has no counter of batches."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = FrozenBatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class BottleneckBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, bottleneck: int, stride: int, groups: int, stride_in_1x1: bool):
        super().__init__()
        self.shortcut = Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = Conv2d(inputs, bottleneck, 1, first)
        self.conv2 = Conv2d(bottleneck, bottleneck, 3, second, groups)
        self.conv3 = Conv2d(bottleneck, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    def __init__(self, blocks, stem: int, groups: int, width_per_group: int, stride_in_1x1: bool) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = Conv2d(3, stem, 7, 2)
        inputs, bottleneck = stem, groups * width_per_group
        for i, count in enumerate(blocks):
            outputs = 4 * stem * 2**i
            layers = []
            for index in range(count):
                stride = 2 if i > 0 and index == 0 else 1
                layers.append(BottleneckBlock(inputs, outputs, bottleneck * 2**i, stride, groups, stride_in_1x1))
                inputs = outputs
            self.add_module(f"res{i + 2}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.stem.conv1(x)), 3, 2, 1)
        outs = []
        for layer in (self.res2, self.res3, self.res4, self.res5):
            x = layer(x)
            outs.append(x)
        return outs


class FPN(nn.Module):
    def __init__(self, bottom_up: ResNet, stem: int, channels: int) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"fpn_lateral{i + 2}", nn.Conv2d(4 * stem * 2**i, channels, 1))
            self.add_module(f"fpn_output{i + 2}", nn.Conv2d(channels, channels, 3, padding=1))
        self.bottom_up = bottom_up

    def forward(self, x: Tensor) -> list[Tensor]:
        stages = self.bottom_up(x)
        top_down, outs = None, []
        for level in (5, 4, 3, 2):
            lateral = self.get_submodule(f"fpn_lateral{level}")(stages[level - 2])
            if top_down is not None:
                lateral = lateral + F.interpolate(top_down, scale_factor=2.0, mode="nearest")
            top_down = lateral
            outs.insert(0, self.get_submodule(f"fpn_output{level}")(lateral))
        return [*outs, F.max_pool2d(outs[-1], kernel_size=1, stride=2)]


class RPNHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(channels, 3, 1)
        self.anchor_deltas = nn.Conv2d(channels, 3 * 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness (B, HW * 3) and deltas (B, HW * 3, 4): by row, column and anchor."""
        x = F.relu(self.conv(x))
        logits = self.objectness_logits(x).permute(0, 2, 3, 1).flatten(1)
        deltas = self.anchor_deltas(x)
        deltas = deltas.view(len(x), -1, 4, *deltas.shape[-2:]).permute(0, 3, 4, 1, 2).flatten(1, -2)
        return logits, deltas


class BoxHead(nn.Module):
    def __init__(self, channels: int, fc: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * 7 * 7, fc)
        self.fc2 = nn.Linear(fc, fc)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))


class BoxPredictor(nn.Module):
    def __init__(self, fc: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(fc, classes + 1)
        self.bbox_pred = nn.Linear(fc, classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the background (R,), which is last, and of the classes (R, K), and deltas (R, K, 4)."""
        logits = self.cls_score(x)
        return logits[:, -1], logits[:, :-1], self.bbox_pred(x).view(len(x), -1, 4)


class MaskHead(nn.Module):
    def __init__(self, channels: int, mask: int, classes: int) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"mask_fcn{i + 1}", nn.Conv2d(mask if i else channels, mask, 3, padding=1))
        self.deconv = nn.ConvTranspose2d(mask, mask, 2, 2)
        self.predictor = nn.Conv2d(mask, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(4):
            x = F.relu(self.get_submodule(f"mask_fcn{i + 1}")(x))
        return self.predictor(F.relu(self.deconv(x)))


class Peer(nn.Module):
    """The whole detector; `parts` in its zoo files are "model"."""

    def __init__(
        self, blocks=(3, 4, 6, 3), stem=64, groups=1, width_per_group=64, stride_in_1x1=True, classes=80, channels=256,
        fc=1024, mask=256,
    ) -> None:  # fmt: skip
        super().__init__()
        self.backbone = FPN(ResNet(blocks, stem, groups, width_per_group, stride_in_1x1), stem, channels)
        self.proposal_generator = nn.Module()
        self.proposal_generator.rpn_head = RPNHead(channels)
        self.roi_heads = nn.Module()
        self.roi_heads.box_head = BoxHead(channels, fc)
        self.roi_heads.box_predictor = BoxPredictor(fc, classes)
        self.roi_heads.mask_head = MaskHead(channels, mask, classes)

    def file(self) -> dict[str, Tensor]:
        """What a file of the zoo holds under "model"."""
        normalisation = {"pixel_mean": torch.tensor([103.53, 116.28, 123.675]), "pixel_std": torch.ones(3)}
        anchors = {f"proposal_generator.anchor_generator.cell_anchors.{i}": torch.zeros(3, 4) for i in range(5)}
        return self.state_dict() | {key: value.view(3, 1, 1) for key, value in normalisation.items()} | anchors
