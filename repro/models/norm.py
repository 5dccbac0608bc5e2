"""Normalisation layers of the backbones; every kind has the state dict of `nn.BatchNorm2d`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, distributed, nn
from torchvision.ops import FrozenBatchNorm2d

from repro.errors import ReproError

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


class EvalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with frozen statistics and trained affine parameters, the authors' "fixBN": always in eval mode."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.eval()

    def train(self, mode: bool = True) -> EvalBatchNorm2d:
        return super().train(False)


_KINDS = {"bn": nn.BatchNorm2d, "sync": SyncBatchNorm, "frozen": FrozenBatchNorm2d, "eval": EvalBatchNorm2d}


def build(kind: Literal["bn", "sync", "frozen", "eval"], channels: int) -> nn.Module:
    """A norm layer for (B, channels, H, W): see `repro.experiments.Backbone.norm`."""
    return _KINDS[kind](channels)
