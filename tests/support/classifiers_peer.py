"""Classifiers of other frameworks, each as one function of its tensors: their names, shapes and forward semantics.

Written from the published architectures: ResNet-50 with SE blocks as mmpretrain names it, slow-only ResNet-50 as
mmaction2 and pytorchvideo name it. Tensors come into being, at random, where the first pass needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = (3, 4, 6, 3)


class Tensors(dict):
    """A state dict, float32; `conv`, `norm` and `linear` compute with its tensors in the precision of their input."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def _get(self, key: str, make: Callable[[], Tensor], like: Tensor) -> Tensor:
        if key not in self:
            self[key] = make()
        return self[key].to(like.dtype)

    def _normal(self, shape: tuple[int, ...], std: float) -> Tensor:
        return torch.randn(shape, generator=self.generator) * std

    def _uniform(self, channels: int, low: float, high: float) -> Tensor:
        return torch.rand(channels, generator=self.generator) * (high - low) + low

    def conv(self, x: Tensor, key: str, out: int, kernel: tuple[int, ...], stride: int = 1, bias=False) -> Tensor:
        """A convolution whose stride is in space alone and whose padding keeps the size."""
        shape = (out, x.shape[1], *kernel)
        weight = self._get(f"{key}.weight", lambda: self._normal(shape, (2 / prod(shape[1:])) ** 0.5), x)
        offset = self._get(f"{key}.bias", lambda: self._normal((out,), 0.2), x) if bias else None
        function = {2: F.conv2d, 3: F.conv3d}[len(kernel)]
        strides = (1, stride, stride)[-len(kernel) :]
        return function(x, weight, offset, strides, tuple(k // 2 for k in kernel))

    def norm(self, x: Tensor, key: str) -> Tensor:
        """Batch norm in evaluation, with epsilon 1e-5."""
        channels, per_channel = x.shape[1], (-1, *[1] * (x.dim() - 2))
        weight = self._get(f"{key}.weight", lambda: self._uniform(channels, 0.4, 0.9), x)
        bias = self._get(f"{key}.bias", lambda: self._normal((channels,), 0.2), x)
        mean = self._get(f"{key}.running_mean", lambda: self._normal((channels,), 0.2), x)
        variance = self._get(f"{key}.running_var", lambda: self._uniform(channels, 0.5, 1.5), x)
        self._get(f"{key}.num_batches_tracked", lambda: torch.tensor(1000), x)
        scale = weight / (variance + 1e-5).sqrt()
        return (x - mean.view(per_channel)) * scale.view(per_channel) + bias.view(per_channel)

    def linear(self, x: Tensor, key: str, out: int) -> Tensor:
        weight = self._get(f"{key}.weight", lambda: self._normal((out, x.shape[1]), 0.05), x)
        return x @ weight.T + self._get(f"{key}.bias", lambda: self._normal((out,), 0.2), x)


def se_resnet50(w: Tensors, x: Tensor, se: bool = True) -> Tensor:
    """mmpretrain's ResNet-50 or SE-ResNet-50, "pytorch" style: images (B, 3, H, W) -> logits (B, 1000)."""
    x = w.norm(w.conv(x, "backbone.conv1", 64, (7, 7), 2), "backbone.bn1").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate(BLOCKS):
        planes = 64 * 2**stage
        for block in range(blocks):
            key = f"backbone.layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            out = w.norm(w.conv(x, f"{key}.conv1", planes, (1, 1)), f"{key}.bn1").relu()
            out = w.norm(w.conv(out, f"{key}.conv2", planes, (3, 3), stride), f"{key}.bn2").relu()
            out = w.norm(w.conv(out, f"{key}.conv3", 4 * planes, (1, 1)), f"{key}.bn3")
            if se:
                squeezed = out.mean((2, 3), keepdim=True)
                squeezed = w.conv(squeezed, f"{key}.se_layer.conv1.conv", 4 * planes // 16, (1, 1), bias=True).relu()
                out = out * w.conv(squeezed, f"{key}.se_layer.conv2.conv", 4 * planes, (1, 1), bias=True).sigmoid()
            if block == 0:
                x = w.norm(w.conv(x, f"{key}.downsample.0", 4 * planes, (1, 1), stride), f"{key}.downsample.1")
            x = (out + x).relu()
    return w.linear(x.mean((2, 3)), "head.fc", 1000)


#: mmaction2's `non_local`: (stage, block) after which a block stands.
NON_LOCAL = {(1, 0), (1, 2), (2, 0), (2, 2), (2, 4)}


def slow_only(w: Tensors, x: Tensor, non_local: bool = False) -> Tensor:
    """mmaction2's SlowOnly ResNet-50: clips (B, 3, T, H, W) -> logits (B, 400)."""

    def conv_module(x: Tensor, key: str, out: int, kernel: tuple[int, ...], stride: int = 1) -> Tensor:
        return w.norm(w.conv(x, f"{key}.conv", out, kernel, stride), f"{key}.bn")

    x = conv_module(x, "backbone.conv1", 64, (1, 7, 7), 2).relu()
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, blocks in enumerate(BLOCKS):
        planes = 64 * 2**stage
        for block in range(blocks):
            key = f"backbone.layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            out = conv_module(x, f"{key}.conv1", planes, (3 if stage > 1 else 1, 1, 1)).relu()
            out = conv_module(out, f"{key}.conv2", planes, (1, 3, 3), stride).relu()
            out = conv_module(out, f"{key}.conv3", 4 * planes, (1, 1, 1))
            if block == 0:
                x = conv_module(x, f"{key}.downsample", 4 * planes, (1, 1, 1), stride)
            x = (out + x).relu()
            if non_local and (stage, block) in NON_LOCAL:
                x = _non_local(w, x, f"{key}.non_local_block")
    return w.linear(x.mean((2, 3, 4)), "cls_head.fc_cls", 400)


def _non_local(w: Tensors, x: Tensor, key: str) -> Tensor:
    """mmcv's NonLocal3d, embedded Gaussian with `sub_sample` and `use_scale`."""
    inner = x.shape[1] // 2
    theta = w.conv(x, f"{key}.theta.conv", inner, (1, 1, 1), bias=True).flatten(2)
    phi = F.max_pool3d(w.conv(x, f"{key}.phi.0.conv", inner, (1, 1, 1), bias=True), (1, 2, 2)).flatten(2)
    g = F.max_pool3d(w.conv(x, f"{key}.g.0.conv", inner, (1, 1, 1), bias=True), (1, 2, 2)).flatten(2)
    attention = (torch.einsum("bcn,bcm->bnm", theta, phi) / inner**0.5).softmax(dim=2)
    y = torch.einsum("bnm,bcm->bcn", attention, g).unflatten(2, x.shape[2:])
    return x + w.norm(w.conv(y, f"{key}.conv_out.conv", 2 * inner, (1, 1, 1)), f"{key}.conv_out.bn")


def slow_r50(w: Tensors, x: Tensor) -> Tensor:
    """pytorchvideo's `slow_r50` for crops that its head's window covers: clips (B, 3, T, H, W) -> logits (B, 400)."""
    x = w.norm(w.conv(x, "blocks.0.conv", 64, (1, 7, 7), 2), "blocks.0.norm").relu()
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, blocks in enumerate(BLOCKS, start=1):
        planes = 32 * 2**stage
        for block in range(blocks):
            key = f"blocks.{stage}.res_blocks.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            out = x
            for letter, width, kernel in (
                ("a", planes, (3 if stage > 2 else 1, 1, 1)),
                ("b", planes, (1, 3, 3)),
                ("c", 4 * planes, (1, 1, 1)),
            ):
                out = w.conv(out, f"{key}.branch2.conv_{letter}", width, kernel, stride if letter == "b" else 1)
                out = w.norm(out, f"{key}.branch2.norm_{letter}")
                out = out if letter == "c" else out.relu()
            if block == 0:
                x = w.norm(w.conv(x, f"{key}.branch1_conv", 4 * planes, (1, 1, 1), stride), f"{key}.branch1_norm")
            x = (out + x).relu()
    return w.linear(x.mean((2, 3, 4)), "blocks.5.proj", 400)
