"""fvcore's analysis, with handles that return the ingredients (`convention.Operations`) of an operator.

Those of convolutions, norms and pooling stand here, those of matrix products in `products.py`.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

from torch import Tensor, nn

from repro.complexity.operands import Handle, UnknownSizeError, count_elements, is_tensor, read_integers, read_shape
from repro.complexity.products import PRODUCT_HANDLES

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # fvcore scripts its losses
    from fvcore.nn.jit_analysis import JitModelAnalysis


def _count_convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::_convolution(input, weight, bias, stride, padding, dilation, transposed, ...)."""
    out, kernel = count_elements(outputs[0]), read_shape(inputs[1])
    biased = out if is_tensor(inputs[2]) else 0
    if inputs[6].toIValue():  # the weight is (in, out / groups, k, ...)
        groups = read_shape(outputs[0])[1] // kernel[1]
        return Counter(
            deconv=count_elements(inputs[0]) * math.prod(kernel[1:]),
            deconv_output=out * kernel[0] // groups * math.prod(kernel[2:]),
            deconv_bias=biased,
        )
    return Counter(conv=out * math.prod(kernel[1:]), conv_bias=biased)


def _count_convolution_with_named_padding(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::_convolution_mode(input, weight, bias, ...): padding "same" or "valid"."""
    out = count_elements(outputs[0])
    return Counter(conv=out * math.prod(read_shape(inputs[1])[1:]), conv_bias=out if is_tensor(inputs[2]) else 0)


def _count_deformable_convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """torchvision::deform_conv2d(input, weight, offset, mask, bias, ...); the sampling itself is not counted."""
    out = count_elements(outputs[0])
    biased = inputs[4].node().kind() != "aten::zeros"  # torchvision's stand-in for no bias
    return Counter(conv=out * math.prod(read_shape(inputs[1])[1:]), conv_bias=out if biased else 0)


def _count_time_convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::conv_tbc(input, weight, bias, pad): the weight is (k, in, out), and there is always a bias."""
    out = count_elements(outputs[0])
    return Counter(conv=out * math.prod(read_shape(inputs[1])[:2]), conv_bias=out)


def _count_max_pool(dimensions: int) -> Handle:
    def count(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        """aten::max_pool2d(input, kernel_size, ...) and max_pool3d, in which a single integer stands for all sides."""
        window = read_integers(inputs[1])
        size = window[0] ** dimensions if len(window) == 1 else math.prod(window)
        return Counter(max_pool=count_elements(outputs[0]) * size if size > 1 else 0)

    return count


def _count_input_elements(name: str) -> Handle:
    return lambda inputs, outputs: Counter({name: count_elements(inputs[0])})


HANDLES: dict[str, Handle] = {
    "aten::_convolution": _count_convolution,
    "aten::_convolution_mode": _count_convolution_with_named_padding,
    "torchvision::deform_conv2d": _count_deformable_convolution,
    "aten::conv_tbc": _count_time_convolution,
    **PRODUCT_HANDLES,
    "aten::batch_norm": _count_input_elements("batch_norm"),
    "aten::relu": _count_input_elements("relu"),
    "aten::relu_": _count_input_elements("relu"),
    "aten::max_pool2d": _count_max_pool(2),
    "aten::max_pool3d": _count_max_pool(3),
    "aten::adaptive_avg_pool2d": _count_input_elements("average_pool"),
    "aten::adaptive_avg_pool3d": _count_input_elements("average_pool"),
}


def _name_if_unknown(operator: str, handle: Handle) -> Handle:
    """Return a handle that counts the operator itself, by its name, where its sizes are unknown (sparse tensors)."""

    def count(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        try:
            return handle(inputs, outputs)
        except UnknownSizeError:
            return Counter({operator: 1})

    return count


def analyse(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> JitModelAnalysis:
    """Analyse one forward pass, which is traced when a result is first asked for.

    An operator whose sizes the trace does not hold stands among the ingredients, by its name (`aten::...`).
    """
    made = (
        JitModelAnalysis(model, inputs)
        .set_op_handle(**{name: _name_if_unknown(name, handle) for name, handle in HANDLES.items()})
        .set_op_handle("aten::unflatten", None, "aten::pad", None)
    )
    return made.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
