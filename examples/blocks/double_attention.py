"""Double attention: Chen et al., "A^2-Nets: Double Attention Networks", NeurIPS 2018 (arXiv 1810.11579).

The paper inserts five of them between residual blocks of c3 and c4, in images and in clips. A fresh block returns its
input.
"""

from __future__ import annotations

from insertions import insert_as_non_local, insert_everywhere
from torch import Tensor, nn

from repro.models.dimensions import CONV


class DoubleAttention(nn.Module):
    """Gather n descriptors of the whole map, and give each position its own mixture of them (Section 3 of the
    paper).

    Z = [A(x) softmax(B(x))^T] softmax(V(x)): the first softmax is over positions, one for each descriptor, the second
    over descriptors, one for each position. W_z takes Z back to C channels, and x is added.

    A, B and V are 1x1 convolutions to C / 2 channels, `reduction` 2: with five such blocks ResNet-50 has the
    parameters that are printed for it (33.0M), with C / 4 channels it would have 29.2M.
    """

    def __init__(self, channels: int, dimensions: int, reduction: int = 2) -> None:
        super().__init__()
        conv, inner = CONV[dimensions], max(1, channels // reduction)
        self.features, self.gather, self.distribute = (conv(channels, inner, 1) for _ in range(3))
        self.conv_out = conv(inner, channels, 1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.get_parameter("bias"))

    def attention(self, x: Tensor) -> Tensor:
        """The weight that position j has in the result of position i, (B, N, N): the two attentions as one map."""
        gathering, distributing = self._attend(x)
        return distributing.transpose(1, 2) @ gathering

    def _attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both attentions, (B, n, N): each descriptor's over positions, and each position's over descriptors."""
        return self.gather(x).flatten(2).softmax(2), self.distribute(x).flatten(2).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        gathering, distributing = self._attend(x)
        descriptors = self.features(x).flatten(2) @ gathering.transpose(1, 2)  # (B, m, n)
        return x + self.conv_out((descriptors @ distributing).unflatten(2, x.shape[2:]))


experiments = [*insert_everywhere("a2", DoubleAttention), *insert_as_non_local("a2", DoubleAttention)]
