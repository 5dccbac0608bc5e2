"""The authors' optimizer for Detectron2's own tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch


class ClippedSGD(torch.optim.SGD):
    """SGD that first clips the norm of all gradients together, as the authors do; Detectron2 clips each separately."""

    def __init__(self, params: Any, *, max_norm: float, **options: Any) -> None:
        super().__init__(params, **options)
        self.max_norm = max_norm

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        torch.nn.utils.clip_grad_norm_(
            [parameter for group in self.param_groups for parameter in group["params"]], self.max_norm
        )
        return super().step(closure)
