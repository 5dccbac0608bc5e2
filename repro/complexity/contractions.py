"""Products that contractions of several tensors need, from their sizes alone. Imports no torch.

A product is one multiplication of two numbers, with the addition of its result where there is one. Sums over the
indices of a single tensor, diagonals and permutations need none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: An index of an operand: a letter or, for a dimension of an ellipsis, its place from the right.
Index = str | int


def count_einsum_products(equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] = ()) -> int:
    """Count the products of `torch.einsum`, in the order of pairs in which torch contracts the operands.

    That order is `path` (two positions for each pair, whose result is put at the end), which torch.einsum has where
    opt_einsum is installed, and from left to right without one. Before a pair is multiplied, torch sums over the
    indices that only one of the two has and nothing else needs; then each combination of the remaining indices is one
    product.

    >>> count_einsum_products("ij,jk->ik", [(2, 3), (3, 5)])
    30
    >>> count_einsum_products("ij,jk,kl->il", [(2, 3), (3, 5), (5, 7)])  # 2 * 3 * 5 + 2 * 5 * 7
    100
    >>> count_einsum_products("ij,jk,kl->il", [(2, 3), (3, 5), (5, 7)], [1, 2, 0, 1])  # 3 * 5 * 7 + 2 * 3 * 7
    147
    >>> count_einsum_products("ij->i", [(2, 3)])
    0
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    labels = [_label(term, len(shape)) for term, shape in zip(inputs.split(","), shapes, strict=True)]
    sizes: dict[Index, int] = {}
    operands: list[set[Index]] = []
    for indices, shape in zip(labels, shapes, strict=True):
        # A dimension of size 1 is broadcast: the operand does not depend on that index.
        operands.append({index for index, size in zip(indices, shape, strict=True) if size != 1})
        sizes |= {index: size for index, size in zip(indices, shape, strict=True) if size != 1}
    kept = _find_kept(labels, output if arrow else None)
    products, pairs = 0, list(path)
    while len(operands) > 1:
        first, second = sorted((pairs.pop(0), pairs.pop(0))) if path else (0, 1)
        right, left = operands.pop(second), operands.pop(first)
        needed = kept.union(*operands)
        multiplied = (left & right) | ((left | right) & needed)
        products += math.prod(sizes[index] for index in multiplied)
        operands.insert(len(operands) if path else 0, multiplied & needed)
    return products


def _label(term: str, dimensions: int) -> list[Index]:
    """Label each dimension of an operand: `a...b` of 4 dimensions is a, -2, -1, b."""
    before, dots, after = term.partition("...")
    if not dots:
        return list(before)
    return [*before, *range(len(before) + len(after) - dimensions, 0), *after]


def _find_kept(labels: Sequence[Sequence[Index]], output: str | None) -> set[Index]:
    """Find the indices of the output: where no output is written, the ellipsis and the letters that occur once."""
    every = [index for indices in labels for index in indices]
    of_ellipsis = {index for index in every if isinstance(index, int)}
    if output is None:
        return of_ellipsis | {index for index in every if every.count(index) == 1}
    return {index for index in output if index.isalpha()} | (of_ellipsis if "..." in output else set())


def count_chain_products(sizes: Sequence[int]) -> int:
    """Count the products of a chain of matrices (sizes[0], sizes[1]), (sizes[1], sizes[2]), ... in the best order.

    `torch.linalg.multi_dot` multiplies in the order that needs the fewest.

    >>> count_chain_products([10, 100, 5, 50])  # 10 * 100 * 5 + 10 * 5 * 50
    7500
    """
    fewest: dict[tuple[int, int], int] = {}
    matrices = len(sizes) - 1
    for length in range(1, matrices + 1):
        for start in range(matrices - length + 1):
            end = start + length
            fewest[start, end] = min(
                (
                    fewest[start, middle] + fewest[middle, end] + sizes[start] * sizes[middle] * sizes[end]
                    for middle in range(start + 1, end)
                ),
                default=0,
            )
    return fewest[0, matrices]


def count_power_products(size: int, exponent: int) -> int:
    """Count the products of a square matrix raised to a power (at least 0) by squaring, as torch does it.

    >>> count_power_products(3, 5)  # m^2, m^4 and m^4 m
    81
    """
    if exponent == 0:
        return 0
    return (exponent.bit_length() + exponent.bit_count() - 2) * size**3
