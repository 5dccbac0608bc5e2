"""What an operation is worth: plain MACs, and the paper's "FLOPs". Imports no torch.

One trace yields ingredients, and each convention is a weighted sum of them. The evidence for the paper's weights is in
`docs/complexity.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Weight of each ingredient (see `Operations`) in multiply-accumulates.
MACS = {"conv": 1, "deconv": 1, "matmul": 1, "linear": 1}
#: Weight of each ingredient in the paper's convention.
PAPER = {
    "conv": 1,
    "conv_bias": 1,
    "deconv_output": 1,
    "deconv_bias": 1,
    "matmul": 1,
    "linear": 2,
    "linear_output": -1,  # in multiplications and in - 1 additions for an output
    "batch_norm": 4,
    "relu": 1,
    "max_pool": 1,
    "average_pool": 1,
}


@dataclass(frozen=True)
class Operations:
    """What one forward pass performs.

    `ingredients`, all of them exact integers:

    - conv, matmul, linear: multiply-accumulates; conv includes the deformable convolution's products with its weights
    - deconv: multiply-accumulates of transposed convolutions
    - deconv_output: in * k * k for each output element of a transposed convolution (k * k / stride^2 times too many)
    - conv_bias, deconv_bias: output elements that a bias is added to
    - linear_output: output elements of linear layers
    - batch_norm, relu: elements
    - max_pool: output elements times the window's size; windows of one element, which compare nothing, are left out
    - average_pool: input elements of adaptive average pools, which are global in these networks

    `uncounted`: how often each operator was met that no ingredient stands for (views and copies are not named).
    """

    ingredients: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.ingredients + other.ingredients, self.uncounted + other.uncounted)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, matrix products and linear layers."""
        return self._weigh(MACS)

    @property
    def paper_flops(self) -> int:
        """Operations in the paper's convention; it prints this number divided by 2**30 as "G"."""
        return self._weigh(PAPER)

    def _weigh(self, weights: Mapping[str, int]) -> int:
        return sum(weight * self.ingredients[name] for name, weight in weights.items())
