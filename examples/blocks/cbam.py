"""Convolutional block attention: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018 (arXiv
1807.06521).

The paper inserts it in every residual block before the addition, in c2 as well. It starts as PyTorch initialises it:
its two gates together let about a quarter of the input through.
"""

from __future__ import annotations

import torch
from insertions import insert_everywhere
from torch import Tensor, nn

from repro.models.dimensions import BATCH_NORM, CONV


class ConvolutionalBlockAttention(nn.Module):
    """Gate the channels, then the positions (Eq. 1 to 3 of the paper).

    x' = x * sigmoid(MLP(mean of positions) + MLP(maximum of positions)), with C / 16 hidden channels and ReLU;
    x'' = x' * sigmoid(f([mean of channels, maximum of channels])), f being a convolution of 7 positions in each
    direction.

    The equations show no biases. With those of the MLP there are the 28.09M parameters that the paper prints for
    ResNet-50 (Table 4), without them 28.07M. A batch norm follows f in the authors' code, and here.

    In a clip, f is as long in time; the paper has images only.
    """

    def __init__(self, channels: int, dimensions: int, ratio: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.conv = CONV[dimensions](2, 1, 7, padding=3, bias=False)
        self.norm = BATCH_NORM[dimensions](1)

    def forward(self, x: Tensor) -> Tensor:
        values = x.flatten(2)
        of_channels = (self.mlp(values.mean(2)) + self.mlp(values.amax(2))).sigmoid()
        x = x * of_channels.unflatten(1, (-1, *[1] * (x.dim() - 2)))
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.norm(self.conv(pooled)).sigmoid()


experiments = insert_everywhere("cbam", ConvolutionalBlockAttention)
