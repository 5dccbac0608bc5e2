"""Mask R-CNN and its cascade as mmdetection lays them out, in plain torch: its names, shapes and forward semantics.

Written from the published architecture. `version` is 1 (before 2.0) or 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class ContextBlock(nn.Module):
    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        planes = int(channels * ratio)
        self.conv_mask = nn.Conv2d(channels, 1, 1)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(channels, planes, 1), nn.LayerNorm([planes, 1, 1]), nn.ReLU(), nn.Conv2d(planes, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv_mask(x).flatten(2).softmax(dim=2)  # (B, 1, HW)
        context = torch.einsum("bcn,bkn->bc", x.flatten(2), weights)
        return x + self.channel_add_conv(context[:, :, None, None])


class Deformable(nn.Module):
    """Its offsets are a sibling `conv2_offset` in version 1 and a child `conv_offset` in version 2."""

    def __init__(self, channels: int, stride: int, groups: int, child: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels // groups, 3, 3) * 0.1)
        self.stride = stride
        if child:
            self.conv_offset = offsets(channels, stride)

    def forward(self, x: Tensor, offset: Tensor | None = None) -> Tensor:
        offset = self.conv_offset(x) if offset is None else offset
        return deform_conv2d(x, offset, self.weight, stride=self.stride, padding=1)


def offsets(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, 2 * 3 * 3, 3, stride, 1)


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int, net: Peer, stage: int) -> None:
        super().__init__()
        width = planes if net.groups == 1 else int(planes * (net.base_width / 64)) * net.groups
        first, second = (stride, 1) if net.style == "caffe" else (1, stride)
        self.conv1 = nn.Conv2d(inplanes, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        if net.dcn and stage > 0:
            if net.version == 1:
                self.conv2_offset = offsets(width, second)
            self.conv2 = Deformable(width, second, net.groups, child=net.version == 2)
        else:
            self.conv2 = nn.Conv2d(width, width, 3, second, 1, groups=net.groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or inplanes != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )
        self.context_block = ContextBlock(4 * planes, net.ratio) if net.ratio and stage > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        given = (self.conv2_offset(out),) if hasattr(self, "conv2_offset") else ()
        out = self.conv2(out, *given)
        out = self.bn3(self.conv3(F.relu(self.bn2(out))))
        if self.context_block is not None:
            out = self.context_block(out)
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    def __init__(self, net: Peer) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, net.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(net.stem)
        inplanes = net.stem
        for stage, blocks in enumerate(net.blocks):
            planes = net.stem * 2**stage
            layers = []
            for i in range(blocks):
                layers.append(Bottleneck(inplanes, planes, 2 if i == 0 and stage > 0 else 1, net, stage))
                inplanes = 4 * planes
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        outs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            outs.append(x)
        return outs


class ConvModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Neck(nn.Module):
    def __init__(self, net: Peer) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(
            ConvModule(4 * net.stem * 2**i, net.fpn, 1, net.norm_in_heads) for i in range(4)
        )
        self.fpn_convs = nn.ModuleList(ConvModule(net.fpn, net.fpn, 3, net.norm_in_heads) for _ in range(4))

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, inputs, strict=True)]
        for i in (3, 2, 1):
            laterals[i - 1] = laterals[i - 1] + laterals[i].repeat_interleave(2, 2).repeat_interleave(2, 3)
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=True)]
        return [*outs, outs[-1][:, :, ::2, ::2]]


class RPNHead(nn.Module):
    def __init__(self, net: Peer) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(net.fpn, net.fpn, 3, padding=1)
        self.rpn_cls = nn.Conv2d(net.fpn, 3, 1)
        self.rpn_reg = nn.Conv2d(net.fpn, 3 * 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness (B, HW * 3) and deltas (B, HW * 3, 4): by row, column and anchor."""
        x = F.relu(self.rpn_conv(x))
        scores, deltas = self.rpn_cls(x), self.rpn_reg(x)
        return scores.permute(0, 2, 3, 1).flatten(1), deltas.permute(0, 2, 3, 1).reshape(len(x), -1, 4)


class BBoxHead(nn.Module):
    def __init__(self, net: Peer) -> None:
        super().__init__()
        self.classes, self.version = net.classes, net.version
        if net.norm_in_heads:
            self.shared_convs = nn.ModuleList(ConvModule(net.fpn, net.fpn, 3, True) for _ in range(4))
        inputs = [net.fpn * 7 * 7] if net.norm_in_heads else [net.fpn * 7 * 7, net.fc]
        self.shared_fcs = nn.ModuleList(nn.Linear(size, net.fc) for size in inputs)
        self.fc_cls = nn.Linear(net.fc, net.classes + 1)
        boxes = 1 if net.cascade else net.classes + (1 if net.version == 1 else 0)
        self.fc_reg = nn.Linear(net.fc, 4 * boxes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the background (R,) and of the classes (R, K), and deltas (R, K or 1, 4)."""
        x = x.flatten(1)
        for fc in self.shared_fcs:
            x = F.relu(fc(x))
        logits, deltas = self.fc_cls(x), self.fc_reg(x).unflatten(1, (-1, 4))
        if self.version == 1:
            return logits[:, 0], logits[:, 1:], deltas[:, -self.classes :]
        return logits[:, -1], logits[:, :-1], deltas


class MaskHead(nn.Module):
    def __init__(self, net: Peer) -> None:
        super().__init__()
        self.classes = net.classes
        self.convs = nn.ModuleList(
            ConvModule(net.mask if i else net.fpn, net.mask, 3, net.norm_in_heads) for i in range(4)
        )
        self.upsample = nn.ConvTranspose2d(net.mask, net.mask, 2, 2)
        self.conv_logits = nn.Conv2d(net.mask, net.classes + (1 if net.version == 1 else 0), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes (R, K, 28, 28)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.conv_logits(F.relu(self.upsample(x)))[:, -self.classes :]


class RoIHead(nn.Module):
    def __init__(self, net: Peer) -> None:
        super().__init__()
        stages = 3 if net.cascade else 1
        boxes, masks = ([head(net) for _ in range(stages)] for head in (BBoxHead, MaskHead))
        self.bbox_head = nn.ModuleList(boxes) if net.cascade else boxes[0]
        self.mask_head = nn.ModuleList(masks) if net.cascade else masks[0]


class Peer(nn.Module):
    """The whole detector. `ratio` is 1 / 16 as in the authors' configurations; 0 means no context blocks."""

    def __init__(
        self, version: int, blocks=(3, 4, 6, 3), stem=64, groups=1, base_width=4, style="pytorch", ratio=0.0, dcn=False,
        cascade=False, classes=80, fpn=256, fc=1024, mask=256, norm_in_heads=False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.version, self.blocks, self.stem, self.groups, self.base_width = version, blocks, stem, groups, base_width
        self.style, self.ratio, self.dcn, self.cascade, self.classes = style, ratio, dcn, cascade, classes
        self.fpn, self.fc, self.mask, self.norm_in_heads = fpn, fc, mask, norm_in_heads
        self.backbone = Backbone(self)
        self.neck = Neck(self)
        self.rpn_head = RPNHead(self)
        heads = RoIHead(self)
        if version == 1:
            self.bbox_head, self.mask_head = heads.bbox_head, heads.mask_head
        else:
            self.roi_head = heads

    def heads(self) -> list[tuple[BBoxHead, MaskHead]]:
        """The box and mask head of every stage."""
        owner = self if self.version == 1 else self.roi_head
        return list(zip(owner.bbox_head, owner.mask_head, strict=True)) if self.cascade else [
            (owner.bbox_head, owner.mask_head)
        ]  # fmt: skip
