"""Handles of matrix products: each returns the ingredients of an operator from the sizes of its operands.

Every operator that `torch` offers for products of vectors, matrices and tensors has one; the variants that write into
their input (`addmm_`) or into a given tensor (`out=`) have the same. A product of complex numbers counts once.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from repro.complexity.contractions import count_chain_products, count_einsum_products, count_power_products
from repro.complexity.operands import Handle, UnknownSizeError, count_elements, list_elements, read_integers, read_shape


def count_linear(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::linear(input, weight, bias)."""
    out = count_elements(outputs[0])
    return Counter(linear=out * read_shape(inputs[0])[-1], linear_output=out)


def _count_addmm(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::addmm(bias, input, weight): a linear layer written out."""
    return count_linear(inputs[1:], outputs)


def _count_matmul(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::matmul, of all ranks: each output element is a product over the last dimension of the first input."""
    summed = read_shape(inputs[0])[-1:]  # empty for the numbers that aten::inner allows
    return Counter(matmul=count_elements(outputs[0]) * math.prod(summed))


def _count_added_matmul(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::baddbmm and addmv(added, first, second, ...)."""
    return _count_matmul(inputs[1:], outputs)


def _count_addbmm(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::addbmm(added, first, second, ...): matrix products, summed over the batch."""
    batch, _, summed = read_shape(inputs[1])
    return Counter(matmul=count_elements(outputs[0]) * batch * summed)


def _count_outer(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::outer, addr and kron: one product for each output element."""
    return Counter(matmul=count_elements(outputs[0]))


def _count_vecdot(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::linalg_vecdot(first, second, dim): the dimension is broadcast, too."""
    summed = math.prod({read_shape(vectors)[inputs[2].toIValue()] for vectors in inputs[:2]} - {1})
    return Counter(matmul=count_elements(outputs[0]) * summed)


def _count_tensordot(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::tensordot(first, second, dims_first, dims_second); torch sums first over what meets a size of 1."""
    first, second = read_shape(inputs[0]), read_shape(inputs[1])
    pairs = zip(read_integers(inputs[2]), read_integers(inputs[3]), strict=True)
    summed = math.prod(1 if 1 in (first[i], second[j]) else first[i] for i, j in pairs)
    return Counter(matmul=count_elements(outputs[0]) * summed)


def _count_chain(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::linalg_multi_dot and chain_matmul(matrices); the first and the last may be vectors."""
    shapes = [read_shape(matrix) for matrix in list_elements(inputs[0])]
    first, last = shapes[0], shapes[-1]
    rows = first[0] if len(first) == 2 else 1
    inner = [shape[0] for shape in shapes[1:]]
    return Counter(matmul=count_chain_products([rows, *inner, last[1] if len(last) == 2 else 1]))


def _count_matrix_power(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::linalg_matrix_power(matrix, exponent)."""
    *batch, _, size = read_shape(inputs[0])
    exponent = inputs[1].toIValue()
    if exponent is None or exponent < 0:
        raise UnknownSizeError  # an inverse, which no handle counts
    return Counter(matmul=math.prod(batch) * count_power_products(size, exponent))


def _count_bilinear(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::bilinear(first, second, weight, bias): weight times first, and the result times second."""
    _, first, second = read_shape(inputs[2])
    return Counter(matmul=count_elements(outputs[0]) * second * (first + 1))


def _count_attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::scaled_dot_product_attention(query, key, value, ...): two matrix products, causal or not."""
    *queries, width_out = read_shape(outputs[0])
    keys, width = read_shape(inputs[1])[-2:]
    return Counter(matmul=math.prod(queries) * keys * (width + width_out))


def _count_einsum(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """aten::einsum(equation, operands, path)."""
    shapes = [read_shape(operand) for operand in list_elements(inputs[1])]
    path = read_integers(inputs[2]) if inputs[2].type().kind() == "ListType" else []
    return Counter(matmul=count_einsum_products(inputs[0].toIValue(), shapes, path))


_MATMUL = ("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "_int_mm", "_scaled_mm")
PRODUCT_HANDLES: dict[str, Handle] = {
    "aten::linear": count_linear,
    "aten::addmm": _count_addmm,
    "aten::addmm_": _count_addmm,
    **{f"aten::{name}": _count_matmul for name in _MATMUL},
    **{f"aten::{name}": _count_added_matmul for name in ("baddbmm", "baddbmm_", "addmv", "addmv_")},
    **{f"aten::{name}": _count_addbmm for name in ("addbmm", "addbmm_")},
    **{f"aten::{name}": _count_outer for name in ("outer", "addr", "addr_", "kron")},
    "aten::linalg_vecdot": _count_vecdot,
    "aten::tensordot": _count_tensordot,
    "aten::linalg_multi_dot": _count_chain,
    "aten::chain_matmul": _count_chain,
    "aten::linalg_matrix_power": _count_matrix_power,
    "aten::bilinear": _count_bilinear,
    "aten::scaled_dot_product_attention": _count_attention,
    "aten::einsum": _count_einsum,
}
