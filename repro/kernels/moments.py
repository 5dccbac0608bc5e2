"""Triton kernel of the divergence: the recurrence over all nodes in registers, each number read once.

Importing this module needs Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS = 64, 64  #: of a tile


@triton.jit
def _moments_kernel(
    d, real, imaginary, sums, rows, columns, NODES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    part = tl.program_id(1).to(tl.int64)
    r = part * ROWS + tl.arange(0, ROWS)
    k = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    here = (r < rows)[:, None] & (k < columns)[None, :]
    at = r[:, None] * columns + k[None, :]
    a, b = tl.load(real + at, mask=here, other=0.0), tl.load(imaginary + at, mask=here, other=0.0)
    x = tl.load(d + at, mask=here, other=0.0)
    y = tl.zeros_like(x)
    for node in range(NODES):
        to = sums + (part * NODES + node) * 2 * columns + k
        tl.store(to, tl.sum(x, axis=0), mask=k < columns)
        tl.store(to + columns, tl.sum(y, axis=0), mask=k < columns)
        # d <- d (1 + w) + w with d = x + iy, w = a + ib
        x, y = x + (x * a - y * b + a), y + (x * b + y * a + b)


def sum_moments(d: Tensor, real: Tensor, imaginary: Tensor, nodes: int) -> Tensor:
    """Column sums of d_q, complex128 (nodes, K), with d_0 = `d` (R, K) and d_(q+1) = d_q + w + d_q w.

    `real` and `imaginary` are those of w, contiguous as `d` is.
    """
    rows, columns = d.shape
    parts = triton.cdiv(rows, _ROWS)
    sums = d.new_empty(parts, nodes, 2, columns)
    _moments_kernel[triton.cdiv(columns, _COLUMNS), parts](
        d, real, imaginary, sums, rows, columns, NODES=nodes, ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=8
    )
    sums = sums.sum(dim=0, dtype=torch.float64)
    return torch.complex(sums[:, 0], sums[:, 1])
