"""Coordinate attention: Hou et al., "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021
(arXiv 2103.02907).

The paper inserts it in the blocks of mobile networks, after the depthwise convolution. It starts as PyTorch initialises
it: its gates together let about a quarter of the input through, in a clip an eighth.
"""

from __future__ import annotations

import torch
from insertions import insert_everywhere
from torch import Tensor, nn


class CoordinateAttention(nn.Module):
    """Gate every position by a product of gates, one for its row and one for its column.

    z^h(h) and z^w(w) are the means of a row and of a column (Eq. 4 and 5 of the paper); f = delta(F_1([z^h, z^w]))
    takes them all to C / 32 channels, at least 8, with batch norm and hard swish (Eq. 6); g^h = sigmoid(F_h(f^h)) and
    g^w = sigmoid(F_w(f^w)) are the gates (Eq. 7 and 8), and x * g^h * g^w the result (Eq. 9).

    In a clip there is a third direction, time, with a gate of its own: the same equations, but the paper has images
    only.
    """

    def __init__(self, channels: int, dimensions: int, reduction: int = 32) -> None:
        super().__init__()
        hidden = max(8, channels // reduction)
        self.shared = nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.BatchNorm1d(hidden), nn.Hardswish())
        self.gates = nn.ModuleList(nn.Conv1d(hidden, channels, 1) for _ in range(dimensions))

    def forward(self, x: Tensor) -> Tensor:
        axes = range(2, x.dim())
        means = [x.mean([other for other in axes if other != axis]) for axis in axes]  # (B, C, length of the axis)
        coded = self.shared(torch.cat(means, dim=2)).split([x.shape[axis] for axis in axes], dim=2)
        for axis, gate, one in zip(axes, self.gates, coded, strict=True):
            weights = gate(one).sigmoid()
            x = x * weights.unflatten(2, [x.shape[axis] if other == axis else 1 for other in axes])
        return x


experiments = insert_everywhere("coordinate", CoordinateAttention)
