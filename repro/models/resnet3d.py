"""Weights of an image network for its 3-D counterpart: "the inflated 3D strategy" of Section 5.3.

Most kernels of the 3-D network span one frame and take the 2-D kernel as it is. One that spans t frames can start in
either of two ways. Both have the 2-D kernel as their sum over time, hence the same response wherever all t frames are
there and alike:

- "centre": the 2-D kernel in the middle tap, zeros in the others. Every frame then passes the convolutions as an image
  would, and on a clip of any length that repeats one frame the 3-D network's output is the 2-D network's.
- "mean": the 2-D kernel divided by t in each tap, as I3D [2] and the non-local networks [31] describe it and as the
  published code of SlowFast networks [6] does it. Their remark that a static clip gives the 2-D output leaves out the
  borders: the zeros that pad a clip in time take a third of the sum from its first and last frame, at each temporal
  convolution. A ResNet-50 has nine of them, which reach every frame of an 8-frame clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from repro.models.resnet import ResNetLayers


def inflate(
    state_dict: Mapping[str, Tensor], network: ResNetLayers, taps: Literal["centre", "mean"] = "centre"
) -> dict[str, Tensor]:
    """The state dict of a 2-D network, context blocks included, in the shapes of the 3-D `network`.

    A tensor that lacks the time axis gets one, (..., h, w) -> (..., t, h, w), filled as `taps` says where t > 1. All
    others are passed on, and what then does not fit `network` is reported by `load_initial`.

    Raises:
        ValueError: `network` is not 3-D.
    """
    if network.spec.dimensions != 3:
        raise ValueError("only a network for clips takes inflated weights; this one is for images")
    timed = {key: value.shape for key, value in network.state_dict().items() if value.dim() >= 4}
    return {
        key: _inflate(value, timed[key][-3], taps) if key in timed and value.dim() == len(timed[key]) - 1 else value
        for key, value in state_dict.items()
    }


def _inflate(value: Tensor, frames: int, taps: Literal["centre", "mean"]) -> Tensor:
    value = value.unsqueeze(-3)
    if taps == "mean":
        return value.repeat_interleave(frames, dim=-3) / frames
    inflated = value.new_zeros(*value.shape[:-3], frames, *value.shape[-2:])
    inflated.narrow(-3, frames // 2, 1).copy_(value)
    return inflated
