"""The disentangled non-local block: Yin et al., "Disentangled Non-Local Neural Networks", ECCV 2020 (arXiv 2006.06668).

The paper follows GCNet on COCO: one block in c4, before its last residual block (the authors' configurations have it
after the 1x1 convolution there). A fresh block returns its input.
"""

from __future__ import annotations

from insertions import insert_as_non_local, insert_everywhere
from torch import Tensor, nn

from repro.models.dimensions import CONV


class DisentangledNonLocal(nn.Module):
    """A non-local block with two attentions: one of pairs, without what is common to all, and one of keys alone.

    omega_ij = softmax_j <q_i - mu_q, k_j - mu_k> + softmax_j m_j, where q, k and m are 1x1 convolutions of x to C / 4,
    C / 4 and 1 channels, and mu_q and mu_k means over positions; y_i = x_i + sum_j omega_ij g_j, g being a 1x1
    convolution without a bias (Section 4 of the paper).

    The sizes are those of the authors' configurations on COCO, in which keys are not pooled. These divide the logits
    of pairs by 0.05 times the square root of their channels, which is 0.8 there and nothing here, and multiply the
    first term with a scalar that starts from zero; here g starts from zero, so that the whole block does.
    """

    def __init__(self, channels: int, dimensions: int, reduction: int = 4) -> None:
        super().__init__()
        conv, inner = CONV[dimensions], max(1, channels // reduction)
        self.query, self.key, self.mask = conv(channels, inner, 1), conv(channels, inner, 1), conv(channels, 1, 1)
        self.value = conv(channels, channels, 1, bias=False)
        nn.init.zeros_(self.value.weight)

    def attention(self, x: Tensor) -> Tensor:
        """omega / 2, (B, N, N): the mean of the two attentions, whose rows sum to 1."""
        pairs, keys = self._attend(x)
        return (pairs + keys.unsqueeze(1)) / 2

    def _attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The attention of pairs, (B, N, N), and that of keys, (B, N)."""
        queries, keys = self.query(x).flatten(2), self.key(x).flatten(2)
        queries = queries - queries.mean(2, keepdim=True)
        keys = keys - keys.mean(2, keepdim=True)
        return (queries.transpose(1, 2) @ keys).softmax(2), self.mask(x).flatten(1).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        pairs, keys = self._attend(x)
        values = self.value(x).flatten(2)
        context = values @ pairs.transpose(1, 2) + values @ keys.unsqueeze(2)
        return x + context.unflatten(2, x.shape[2:])


experiments = [*insert_everywhere("dnl", DisentangledNonLocal), *insert_as_non_local("dnl", DisentangledNonLocal)]
