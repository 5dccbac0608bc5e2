"""Forward and backward passes of one batch, whose gradients are accumulated in the parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor

#: The micro-batches of an iteration, each with its share of the process's batch.
Batch = list[tuple[Any, float]]


class Passes(Protocol):
    """How the gradients of batches are computed."""

    def accumulate(self, batch: Batch) -> dict[str, float]:
        """Leave the gradients of `batch`, averaged over the processes, in the parameters, which had none.

        Returns:
            its loss terms, means over all processes' samples.
        """
        ...


def move(fabric: Fabric, part: Any) -> Any:
    """Move a micro-batch to the device, without a wait for what that is still at, if the batch allows it."""
    if fabric.device.type == "cuda" and hasattr(part, "pin_memory"):
        return part.pin_memory().to(fabric.device, non_blocking=True)
    return fabric.to_device(part)


class EagerPasses:
    """Passes whose every operator the host starts."""

    def __init__(self, fabric: Fabric, module: _FabricModule) -> None:
        self.fabric, self.module = fabric, module

    def accumulate(self, batch: Batch) -> dict[str, float]:
        values = torch.zeros(())
        for number, (part, share) in enumerate(batch, start=1):
            with self.fabric.no_backward_sync(self.module, enabled=number < len(batch)):
                losses = self.module(move(self.fabric, part))
                self.fabric.backward(sum(losses.values()) * share)
            values = values + torch.stack([term.detach().float() for term in losses.values()]) * share
        return average_terms(self.fabric, losses, values)


def average_terms(fabric: Fabric, names: Iterable[str], values: Tensor) -> dict[str, float]:
    """The means over the processes of loss terms with these `names` and `values`."""
    means = fabric.all_reduce(values, reduce_op="mean")
    assert isinstance(means, Tensor)  # as what is reduced
    return dict(zip(names, means.tolist(), strict=True))
