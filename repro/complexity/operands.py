"""Sizes and constants of the operands of a traced operator (values of torch's graph)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

#: Returns the ingredients (`convention.Operations`) of an operator from its inputs and outputs, `torch._C.Value`s.
Handle = Callable[[list[Any], list[Any]], Counter[str]]


class UnknownSizeError(Exception):
    """The graph does not hold what a handle needs: the operator counts as one without a handle."""


def is_tensor(value: Any) -> bool:
    """Tell whether an argument that may be left out is there."""
    return value.type().kind() == "TensorType"


def read_shape(value: Any) -> list[int]:
    """Read the size of each dimension.

    Raises:
        UnknownSizeError: `value` is no dense tensor, or not a tensor.
    """
    if not value.isCompleteTensor():
        raise UnknownSizeError
    return value.type().sizes()


def count_elements(value: Any) -> int:
    """Count the elements of a tensor.

    Raises:
        UnknownSizeError: as `read_shape`.
    """
    return math.prod(read_shape(value))


def list_elements(value: Any) -> list[Any]:
    """List the values of which a list was made."""
    return list(value.node().inputs())


def read_integers(value: Any) -> list[int]:
    """Read a list of constant integers.

    Raises:
        UnknownSizeError: one of them was computed from a tensor.
    """
    integers = [element.toIValue() for element in list_elements(value)]
    if not all(isinstance(integer, int) for integer in integers):
        raise UnknownSizeError
    return integers
