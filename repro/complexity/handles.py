"""fvcore's analysis, with handles that return the ingredients (`convention.Operations`) of an operator."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # fvcore scripts its losses
    from fvcore.nn.jit_analysis import JitModelAnalysis
    from fvcore.nn.jit_handles import Handle, einsum_flop_jit, get_shape

# Arguments of every handle: the operator's inputs and outputs, lists of `torch._C.Value`.


def _count_elements(value: Any) -> int:
    return math.prod(get_shape(value))


def _read_integers(value: Any) -> list[int]:
    return [element.toIValue() for element in value.node().inputs()]


def _count_convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::_convolution(input, weight, bias, stride, padding, dilation, transposed, ...)."""
    out, kernel = _count_elements(outputs[0]), get_shape(inputs[1])
    biased = out if get_shape(inputs[2]) is not None else 0
    if inputs[6].toIValue():  # the weight is (in, out / groups, k, ...)
        groups = get_shape(outputs[0])[1] // kernel[1]
        return Counter(
            deconv=_count_elements(inputs[0]) * math.prod(kernel[1:]),
            deconv_output=out * kernel[0] // groups * math.prod(kernel[2:]),
            deconv_bias=biased,
        )
    return Counter(conv=out * math.prod(kernel[1:]), conv_bias=biased)


def _count_convolution_with_named_padding(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::_convolution_mode(input, weight, bias, ...): padding "same" or "valid"."""
    out = _count_elements(outputs[0])
    return Counter(
        conv=out * math.prod(get_shape(inputs[1])[1:]), conv_bias=out if get_shape(inputs[2]) is not None else 0
    )


def _count_deformable_convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """torchvision::deform_conv2d(input, weight, offset, mask, bias, ...); the sampling itself is not counted."""
    out = _count_elements(outputs[0])
    biased = inputs[4].node().kind() != "aten::zeros"  # torchvision's stand-in for no bias
    return Counter(conv=out * math.prod(get_shape(inputs[1])[1:]), conv_bias=out if biased else 0)


def _count_linear(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::linear(input, weight, bias)."""
    out = _count_elements(outputs[0])
    return Counter(linear=out * get_shape(inputs[0])[-1], linear_output=out)


def _count_addmm(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::addmm(bias, input, weight): a linear layer written out."""
    return _count_linear(inputs[1:], outputs)


def _count_matmul(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::matmul, mm and bmm: each output element is a product over the last dimension of the first input."""
    return Counter(matmul=_count_elements(outputs[0]) * get_shape(inputs[0])[-1])


def _count_attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::scaled_dot_product_attention(query, key, value, ...): two matrix products."""
    query, keys = _count_elements(inputs[0]), get_shape(inputs[1])[-2]
    return Counter(matmul=query * keys + _count_elements(outputs[0]) * keys)


def _count_einsum(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    return Counter(matmul=int(einsum_flop_jit(inputs, outputs)))


def _count_max_pool(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::max_pool2d(input, kernel_size, ...) and max_pool3d, in which a single integer stands for all sides."""
    out, window = outputs[0], _read_integers(inputs[1])
    size = window[0] ** (len(get_shape(out)) - 2) if len(window) == 1 else math.prod(window)
    return Counter(max_pool=_count_elements(out) * size if size > 1 else 0)


def _count_input_elements(name: str) -> Handle:
    return lambda inputs, outputs: Counter({name: _count_elements(inputs[0])})


HANDLES: dict[str, Handle] = {
    "aten::_convolution": _count_convolution,
    "aten::_convolution_mode": _count_convolution_with_named_padding,
    "torchvision::deform_conv2d": _count_deformable_convolution,
    "aten::linear": _count_linear,
    "aten::addmm": _count_addmm,
    "aten::matmul": _count_matmul,
    "aten::mm": _count_matmul,
    "aten::bmm": _count_matmul,
    "aten::einsum": _count_einsum,
    "aten::scaled_dot_product_attention": _count_attention,
    "aten::batch_norm": _count_input_elements("batch_norm"),
    "aten::relu": _count_input_elements("relu"),
    "aten::relu_": _count_input_elements("relu"),
    "aten::max_pool2d": _count_max_pool,
    "aten::max_pool3d": _count_max_pool,
    "aten::adaptive_avg_pool2d": _count_input_elements("average_pool"),
    "aten::adaptive_avg_pool3d": _count_input_elements("average_pool"),
}


def analyse(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> JitModelAnalysis:
    """Analyse one forward pass, which is traced when a result is first asked for."""
    made = (
        JitModelAnalysis(model, inputs)
        .set_op_handle(**HANDLES)
        .set_op_handle("aten::unflatten", None, "aten::pad", None)
    )
    return made.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
