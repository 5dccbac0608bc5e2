"""Counts the operations of a module by tracing one forward pass, on the meta device if it stands there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from repro.complexity.convention import Operations
from repro.complexity.handles import analysis
from repro.errors import ReproError


def count(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> Operations:
    """The operations of `model(*inputs)`, from one trace.

    A model on the meta device (`with torch.device("meta"): ...`) is traced without computing anything; anywhere else
    the forward pass is carried out. Operators that no handle knows are listed in `uncounted`.

    Raises:
        ReproError: on the meta device, a convolution whose padding is a word.
    """
    analysed = analysis(model, inputs)
    with torch.no_grad(), _RecordedConvolutions():
        ingredients = analysed.by_operator()
    return Operations(+ingredients, analysed.unsupported_ops())


def parameters(model: nn.Module) -> int:
    """Learnable parameters, each once; those of stages that a recipe freezes are among them."""
    return sum(parameter.numel() for parameter in model.parameters())


#: (dimensions, whether transposed)
_CONVOLUTIONS: dict[Callable, tuple[int, bool]] = {
    F.conv1d: (1, False),
    F.conv2d: (2, False),
    F.conv3d: (3, False),
    F.conv_transpose1d: (1, True),
    F.conv_transpose2d: (2, True),
    F.conv_transpose3d: (3, True),
}


class _RecordedConvolutions(TorchFunctionMode):
    """Makes the JIT tracer record convolutions of meta tensors.

    It records `aten::_convolution` but not `aten::convolution`, which calls the former on the CPU. The meta kernel of
    the latter does not, and fails under tracing because it sees sizes as tensors.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS and (args[0] if args else kwargs["input"]).is_meta:
            dimensions, transposed = _CONVOLUTIONS[func]
            return (_transposed if transposed else _forward)(dimensions, *args, **kwargs)
        return func(*args, **kwargs)


def _forward(dimensions, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    return _record(dimensions, False, input, weight, bias, stride, padding, 0, dilation, groups)


def _transposed(
    dimensions, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    return _record(dimensions, True, input, weight, bias, stride, padding, output_padding, dilation, groups)


def _record(dimensions, transposed, input, weight, bias, stride, padding, output_padding, dilation, groups) -> Tensor:
    if isinstance(padding, str):
        raise ReproError(f"a convolution with padding {padding!r} cannot be counted: write its padding as a number")
    stride, padding, output_padding, dilation = (
        (value,) * dimensions if isinstance(value, int) else value
        for value in (stride, padding, output_padding, dilation)
    )
    cudnn = (False, False, False, False)  # benchmark, deterministic, enabled, TF32: nothing is computed
    return torch._convolution(
        input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *cudnn
    )
