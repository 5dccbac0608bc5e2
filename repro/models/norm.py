"""Normalisation layers of the backbones, for images and clips; every kind has the state dict of batch norm."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, distributed, nn
from torchvision.ops import FrozenBatchNorm2d

from repro.errors import ReproError
from repro.models.dimensions import BATCH_NORM

#: Norm layers with running statistics, which `nn.Module.train` would start to update.
BatchNorm = nn.modules.batchnorm._BatchNorm


class SyncBatchNorm(nn.SyncBatchNorm):
    """Batch norm with the statistics of the effective batch of all processes.

    Alone, a process needs no synchronisation: plain batch norm on any device, where `nn.SyncBatchNorm` refuses CPU
    tensors as soon as a process group exists.

    Raises:
        ReproError: training with several processes on CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if not several:
            return BatchNorm.forward(self, x)
        if self.training and x.device.type == "cpu":
            raise ReproError(
                "norm 'sync' cannot synchronise several processes on CPUs: train in one process or on GPUs, or use 'bn'"
            )
        return super().forward(x)


class _KeptInEvalMode:
    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.eval()

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


class EvalBatchNorm2d(_KeptInEvalMode, nn.BatchNorm2d):
    """Batch norm with frozen statistics and trained affine parameters, the authors' "fixBN": always in eval mode."""


class EvalBatchNorm3d(_KeptInEvalMode, nn.BatchNorm3d):
    """`EvalBatchNorm2d` for clips."""


class FrozenBatchNorm3d(FrozenBatchNorm2d):
    """torchvision's frozen batch norm for clips."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2, 3)).view_as(x)  # the frames below one another


_KINDS = {
    "bn": BATCH_NORM,
    "sync": {2: SyncBatchNorm, 3: SyncBatchNorm},
    "frozen": {2: FrozenBatchNorm2d, 3: FrozenBatchNorm3d},
    "eval": {2: EvalBatchNorm2d, 3: EvalBatchNorm3d},
}


def build(kind: Literal["bn", "sync", "frozen", "eval"], channels: int, dimensions: int = 2) -> nn.Module:
    """A norm layer for (B, channels, H, W) or (B, channels, T, H, W): see `repro.experiments.Backbone.norm`."""
    return _KINDS[kind][dimensions](channels)
