"""Attention blocks for tests: with parameters that are not zero, and as a user may have written one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def trained(block: nn.Module, seed: int = 1) -> nn.Module:
    """With parameters drawn from `seed`, so that the output is not zero; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return block.eval()


class Whole(nn.Module):
    """A block as a user may have written it: it stores its map, has other names and knows nothing of this project."""

    def attention(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return (tokens @ tokens.transpose(1, 2) / 3).softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.attention(x) @ x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
