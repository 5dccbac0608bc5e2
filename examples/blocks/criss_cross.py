"""Criss-cross attention: Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019 and TPAMI
2023 (arXiv 1811.11721).

The paper inserts it in the head of a segmentation network, and for COCO once in c4, before its last residual block. A
fresh block returns its input.
"""

from __future__ import annotations

import torch
from insertions import insert_as_non_local, insert_everywhere
from torch import Tensor, nn

from repro.models.dimensions import CONV


class RecurrentCrissCrossAttention(nn.Module):
    """Let every position attend to its row and its column, several times with the same parameters.

    d_ij = <Q_i, K_j> for the H + W - 1 positions j in the row and the column of i, and A_i is their softmax (Eq. 1 of
    the paper); H'_i = gamma sum_j A_ij V_j + H_i (Eq. 2, in which gamma, of the authors' code, is not printed; it
    starts from zero). Q and K have C / 8 channels. After two passes each position has met all others.

    In a clip, j is one of T + H + W - 2 positions in three directions, and there are three passes.
    """

    def __init__(self, channels: int, dimensions: int, reduction: int = 8) -> None:
        super().__init__()
        conv, inner = CONV[dimensions], max(1, channels // reduction)
        self.query, self.key = conv(channels, inner, 1), conv(channels, inner, 1)
        self.value = conv(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.passes = dimensions

    def attention(self, x: Tensor) -> Tensor:
        """A of the first pass, (B, N, N), which is zero but for the rows and columns of the positions."""
        sizes = x.shape[2:]
        count = sizes.numel()
        places = torch.arange(count, device=x.device).view(sizes)
        full = x.new_zeros(len(x), count, count)
        for axis, weights in enumerate(self._attend(x)):
            along = places.movedim(axis, -1)
            met = along.unsqueeze(-2).expand(*along.shape, sizes[axis]).movedim(-2, axis)  # of each position, its line
            full.scatter_add_(2, met.reshape(1, count, -1).expand(len(x), -1, -1), weights.reshape(len(x), count, -1))
        return full

    def _attend(self, x: Tensor) -> list[Tensor]:
        """A by direction: for each position the weights of the positions along it, (B, [T,] H, W, length)."""
        queries, keys = self.query(x), self.key(x)
        energies = []
        for axis in range(2, x.dim()):
            energy = queries.movedim(axis, -1).movedim(1, -1) @ keys.movedim(axis, -1).movedim(1, -2)
            if energies:  # the position itself stands in the first direction already
                itself = torch.eye(x.shape[axis], dtype=torch.bool, device=x.device)
                energy = energy.masked_fill(itself, float("-inf"))
            energies.append(energy.movedim(-2, axis - 1))
        return list(torch.cat(energies, dim=-1).softmax(-1).split(list(x.shape[2:]), dim=-1))

    def _attend_once(self, x: Tensor) -> Tensor:
        values, context = self.value(x), torch.zeros_like(x)
        for axis, weights in enumerate(self._attend(x), start=2):
            line = weights.movedim(axis - 1, -2) @ values.movedim(axis, -1).movedim(1, -1)
            context = context + line.movedim(-1, 1).movedim(-1, axis)
        return self.gamma * context + x

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.passes):
            x = self._attend_once(x)
        return x


experiments = [
    *insert_everywhere("criss-cross", RecurrentCrissCrossAttention),
    *insert_as_non_local("criss-cross", RecurrentCrissCrossAttention),
]
