"""Normalisation layers of the backbones, for images and clips; every kind has the state dict of batch norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from repro.models.dimensions import BATCH_NORM

if TYPE_CHECKING:
    from typing_extensions import Self

#: Norm layers with running statistics, which `nn.Module.train` would start to update.
BatchNorm = nn.modules.batchnorm._BatchNorm


class _KeptInEvalMode(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.eval()

    def train(self, mode: bool = True) -> Self:
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
    "sync": BATCH_NORM,  # until `synchronise`
    "frozen": {2: FrozenBatchNorm2d, 3: FrozenBatchNorm3d},
    "eval": {2: EvalBatchNorm2d, 3: EvalBatchNorm3d},
}


def build(kind: Literal["bn", "sync", "frozen", "eval"], channels: int, dimensions: int = 2) -> nn.Module:
    """A norm layer for (B, channels, H, W) or (B, channels, T, H, W): see `repro.experiments.Backbone.norm`."""
    return _KINDS[kind][dimensions](channels)


def synchronise(model: nn.Module) -> nn.Module:
    """Let the batch norm of `model`, of kind "sync", take its statistics over all processes' batches, each on a GPU.

    The layers are replaced in place; their parameters stay the same objects. In one process, and in several on CPUs,
    which `nn.SyncBatchNorm` refuses, the kind "sync" is plain batch norm.
    """
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
