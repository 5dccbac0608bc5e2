"""Efficient channel attention: Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural
Networks", CVPR 2020 (arXiv 1910.03151).

The paper inserts it where SE stands: in every residual block before the addition, in c2 as well. It starts as PyTorch
initialises it, so that a fresh block roughly halves its input.
"""

from __future__ import annotations

import math

from insertions import insert_everywhere
from torch import Tensor, nn


class EfficientChannelAttention(nn.Module):
    """Gate each channel by the means of its k nearest channels: x * sigmoid(C1D_k(GAP(x))).

    C1D_k is one kernel of k weights that slides over the channels, without a bias, padded with zeros (Eq. 9 of the
    paper). There is nothing of images in it: the mean is over the positions of a feature map of any dimensions.

    The authors' networks have kernels that were set for each stage (3, 5, 5 and 7 in ResNet-50: the 80 parameters of
    their abstract). By their formula there would be 86.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        size = choose_kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.flatten(2).mean(2)
        weights = self.conv(means.unsqueeze(1)).squeeze(1).sigmoid()
        return x * weights.unflatten(1, (-1, *[1] * (x.dim() - 2)))


def choose_kernel_size(channels: int) -> int:
    """k = |log2(C) / 2 + 1 / 2|, to the nearest odd number; of two, the greater, as the authors' code has it (Eq. 12).

    >>> [choose_kernel_size(channels) for channels in (64, 256, 512, 1024, 2048)]
    [3, 5, 5, 5, 7]
    """
    return 2 * math.floor((math.log2(channels) + 1) / 4) + 1


experiments = insert_everywhere("eca", EfficientChannelAttention)
