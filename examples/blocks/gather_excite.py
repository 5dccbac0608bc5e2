"""Gather-excite: Hu et al., "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", NeurIPS 2018
(arXiv 1810.12348).

The paper inserts it in every residual block before the addition, in c2 as well. Its best operators have a kernel as
large as the feature map, which there is none of where images have different sizes: such an extent is left to the
operator without parameters, and those with parameters gather over 8 positions in each direction.
"""

from __future__ import annotations

from functools import partial

from insertions import insert_everywhere
from torch import Tensor, nn
from torch.nn import functional

from repro.models.dimensions import BATCH_NORM, CONV

POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


class GatherExcite(nn.Module):
    """x * sigmoid(interp(f(gather(x)))): Sections 2 and 3 of the paper, interp by the nearest neighbour.

    - Without parameters, "GE-theta-": the mean of the 2e - 1 positions in each direction around every e-th one (of
      those inside the map), or of all positions.
    - `learned`, "GE-theta": log2(e) depthwise 3x3 convolutions with stride 2, each with batch norm, with ReLU between.
    - with a `ratio`, "GE-theta+": f is SE's pair of 1x1 convolutions with ReLU between them, without biases, else
      nothing.

    A clip is gathered over in time as well; the paper has images only.

    Args:
        extent: e, a power of two, or None for all positions.

    Raises:
        ValueError: parameters are to be learned for all positions: the size of their kernel would be that of a map.
    """

    def __init__(
        self, channels: int, dimensions: int, extent: int | None = None, learned: bool = False, ratio: int | None = None
    ) -> None:
        super().__init__()
        self.extent = extent
        self.gather: nn.Module | None = None
        if learned:
            if extent is None:
                raise ValueError("a learned gather operator over all positions needs feature maps of one size")
            layers: list[nn.Module] = []
            for _ in range(extent.bit_length() - 1):
                convolution = CONV[dimensions](channels, channels, 3, 2, 1, groups=channels, bias=False)
                layers += [convolution, BATCH_NORM[dimensions](channels), nn.ReLU()]
            self.gather = nn.Sequential(*layers[:-1])
        self.excite: nn.Module = nn.Identity()
        if ratio is not None:
            hidden = max(1, channels // ratio)
            conv = CONV[dimensions]
            self.excite = nn.Sequential(
                conv(channels, hidden, 1, bias=False), nn.ReLU(), conv(hidden, channels, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        gathered = self.excite(self._gather(x))
        return x * functional.interpolate(gathered, x.shape[2:]).sigmoid()

    def _gather(self, x: Tensor) -> Tensor:
        if self.gather is not None:
            return self.gather(x)
        if self.extent is None:
            return x.mean(tuple(range(2, x.dim())), keepdim=True)
        window = 2 * self.extent - 1
        return POOL[x.dim() - 2](x, window, self.extent, window // 2, count_include_pad=False)


experiments = [
    *insert_everywhere("ge-minus", GatherExcite),
    *insert_everywhere("ge", partial(GatherExcite, extent=8, learned=True)),
    *insert_everywhere("ge-plus", partial(GatherExcite, extent=8, learned=True, ratio=16)),
]
