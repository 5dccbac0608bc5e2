"""Precise statistics of batch norm: from many batches that pass one network, instead of a moving average.

While a network is trained its weights change from batch to batch, and so do the statistics that the running averages
mix. Wu and Johnson, "Rethinking 'Batch' in BatchNorm", Section 3; the code of [6] does so before each evaluation.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn


def recompute_norm_statistics(model: nn.Module, parts: Iterable[Any], count: int, fabric: Fabric) -> None:
    """Replace the running statistics of the batch norm in `model` by those over all of `parts`, of all processes.

    Layers that are in eval mode keep theirs. Each part is normalised by its own statistics, as in training. The mean
    and the variance, biased, are those of all values of all parts together.

    Args:
        model: in train mode, on the device; how its output is used does not matter.
        parts: inputs of the model. Every process has as many samples.
        count: number of parts.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # fvcore's
        from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats

    layers = get_bn_modules(model)
    update_bn_stats(model, parts, count)
    if fabric.world_size == 1:
        return
    for layer in layers:
        mean = layer.running_mean.double()
        moments = torch.stack([mean, layer.running_var.double() + mean.square()])
        mean, square = fabric.all_reduce(moments, reduce_op="mean")
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(square - mean.square())
