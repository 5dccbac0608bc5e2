"""The authors' optimizer for Detectron2's own tools."""

from __future__ import annotations

from typing import Any

import torch


class ClippedSGD(torch.optim.SGD):
    """SGD that first clips the norm of all gradients together, as the authors do; Detectron2 clips each by itself."""

    def __init__(self, params: Any, *, max_norm: float, **options: Any) -> None:
        super().__init__(params, **options)
        self.max_norm = max_norm

    def step(self, closure: None = None) -> None:
        torch.nn.utils.clip_grad_norm_(
            [parameter for group in self.param_groups for parameter in group["params"]], self.max_norm
        )
        super().step(closure)
