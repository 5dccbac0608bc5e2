"""Triton kernels of the context blocks: each reads and writes a feature map as few times as its mathematics allows.

A feature map is (B, C, N), N the positions; where channels come last, it lies in memory as (B, N, C). All sums are
float32. A sample's positions are split among `splits` programs where there are few samples; what they leave is put
together afterwards.

Importing this module needs Triton. With TRITON_INTERPRET=1 in the environment before, the kernels run on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Elements of a tile that lies in registers with all channels of its positions, and warps; by bytes of an element and
#: whether channels come last. The fastest on an H200 (`tune` of benchmarks/gpu.py), where (4, False) was not measured.
FORWARD = {(2, False): (16384, 8), (2, True): (4096, 4), (4, False): (8192, 8), (4, True): (8192, 4)}
BACKWARD = {(2, False): (16384, 16), (2, True): (8192, 4), (4, False): (8192, 8), (4, True): (8192, 4)}
#: Bytes of neighbouring positions that are read together where positions are contiguous.
SEGMENT = 16
#: Programs that keep a large GPU busy.
PROGRAMS = 1024


@dataclass(frozen=True)
class MapLayout:
    """How a feature map lies in memory."""

    batch: int
    channels: int
    positions: int
    channels_last: bool
    itemsize: int

    @classmethod
    def read(cls, x: Tensor) -> MapLayout:
        return cls(x.shape[0], x.shape[1], x[0, 0].numel(), not x.is_contiguous(), x.element_size())

    @property
    def alignment(self) -> int:
        """The largest power of two, at most 16, that divides N. A compiler that knows it can load that many at once."""
        return min(16, self.positions & -self.positions)

    @property
    def size(self) -> tuple[int, int]:
        """What the kernels are given: C, and N in units of the alignment."""
        return self.channels, self.positions // self.alignment


@dataclass(frozen=True)
class Launch:
    """How a kernel that sees all channels of a position at once is started."""

    block_c: int
    block_n: int
    splits: int
    tiles: int  #: of a split
    warps: int

    @classmethod
    def plan(cls, at: MapLayout, tile: int, warps: int) -> Launch:
        block_c = max(16, triton.next_power_of_2(at.channels))
        least = 1 if at.channels_last else SEGMENT // at.itemsize
        block_n = max(least, tile // block_c)
        block_n = min(block_n, max(least, triton.next_power_of_2(at.positions)))
        tiles = triton.cdiv(at.positions, block_n)
        each = triton.cdiv(tiles, min(tiles, max(1, PROGRAMS // at.batch)))
        return cls(block_c, block_n, triton.cdiv(tiles, each), each, warps)


@triton.jit
def _offsets(c, n, C, N, CHANNELS_LAST: tl.constexpr):
    return c[:, None] + n[None, :] * C if CHANNELS_LAST else c[:, None] * N + n[None, :]


@triton.jit
def _pool_kernel(
    x, weight, logits, context, context32, scale, maxima, sums, parts, C, units, tiles,
    BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr, ALIGNMENT: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    b, split = tl.program_id(1).to(tl.int64), tl.program_id(0)
    N = units * ALIGNMENT
    c = tl.arange(0, BLOCK_C)
    w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
    x += b * C * N
    largest = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    pooled = tl.zeros((BLOCK_C,), tl.float32)
    for tile in range(split * tiles, (split + 1) * tiles):
        n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        here = (c < C)[:, None] & (n < N)[None, :]
        values = tl.load(x + _offsets(c, n, C, N, CHANNELS_LAST), mask=here, other=0.0).to(tl.float32)
        logit = tl.sum(values * w[:, None], axis=0)
        tl.store(logits + b * N + n, logit, mask=n < N)
        logit = tl.where(n < N, logit, float("-inf"))
        new = tl.maximum(largest, tl.max(logit, axis=0))
        shrink = tl.exp(largest - new)
        e = tl.exp(logit - new)
        total = total * shrink + tl.sum(e, axis=0)
        pooled = pooled * shrink + tl.sum(values * e[None, :], axis=1)
        largest = new
    if WHOLE:
        pooled = pooled / total
        tl.store(context32 + b * C + c, pooled, mask=c < C)
        tl.store(context + b * C + c, pooled, mask=c < C)
        tl.store(scale + b, largest + tl.log(total))
    else:
        part = b * tl.num_programs(0) + split
        tl.store(maxima + part, largest)
        tl.store(sums + part, total)
        tl.store(parts + part * C + c, pooled, mask=c < C)


@triton.jit
def _combine_kernel(
    maxima, sums, parts, context, context32, scale, C, splits, BLOCK_C: tl.constexpr, SPLITS: tl.constexpr
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    s = tl.arange(0, SPLITS)
    m = tl.load(maxima + b * splits + s, mask=s < splits, other=float("-inf"))
    largest = tl.max(m, axis=0)
    shrink = tl.exp(m - largest)
    total = tl.sum(tl.load(sums + b * splits + s, mask=s < splits, other=0.0) * shrink, axis=0)
    here = (s < splits)[:, None] & (c < C)[None, :]
    pooled = tl.load(parts + (b * splits + s)[:, None] * C + c[None, :], mask=here, other=0.0)
    pooled = tl.sum(pooled * shrink[:, None], axis=0) / total
    tl.store(context32 + b * C + c, pooled, mask=c < C)
    tl.store(context + b * C + c, pooled, mask=c < C)
    if tl.program_id(0) == 0:
        tl.store(scale + b, largest + tl.log(total))


@triton.jit
def _pool_backward_kernel(
    x, g, dx, weight, logits, scale, context32, d_context, d_weight, C, units, tiles,
    BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr, ALIGNMENT: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    ADDS: tl.constexpr, STORES: tl.constexpr,
):  # fmt: skip
    b, split = tl.program_id(1).to(tl.int64), tl.program_id(0)
    N = units * ALIGNMENT
    c = tl.arange(0, BLOCK_C)
    w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
    d_pooled = tl.load(d_context + b * C + c, mask=c < C, other=0.0).to(tl.float32)
    mean = tl.sum(d_pooled * tl.load(context32 + b * C + c, mask=c < C, other=0.0), axis=0)
    normaliser = tl.load(scale + b)
    x += b * C * N
    g += b * C * N
    dx += b * C * N
    dw = tl.zeros((BLOCK_C,), tl.float32)
    for tile in range(split * tiles, (split + 1) * tiles):
        n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        here = (c < C)[:, None] & (n < N)[None, :]
        at = _offsets(c, n, C, N, CHANNELS_LAST)
        values = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
        alpha = tl.exp(tl.load(logits + b * N + n, mask=n < N, other=float("-inf")) - normaliser)
        d_logit = alpha * (tl.sum(values * d_pooled[:, None], axis=0) - mean)
        dw += tl.sum(values * d_logit[None, :], axis=1)
        if STORES:
            added = d_pooled[:, None] * alpha[None, :] + w[:, None] * d_logit[None, :]
            if ADDS:
                added += tl.load(g + at, mask=here, other=0.0).to(tl.float32)
            tl.store(dx + at, added, mask=here)
    part = b * tl.num_programs(0) + split
    tl.store(d_weight + part * C + c, dw, mask=c < C)


@triton.jit
def _fuse_kernel(
    x, t, residual, y, C, units,
    BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr, ALIGNMENT: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    SCALES: tl.constexpr, RESIDUAL: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    N = units * ALIGNMENT
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    here = (c < C)[:, None] & (n < N)[None, :]
    at = b * C * N + _offsets(c, n, C, N, CHANNELS_LAST)
    transformed = tl.load(t + b * C + c, mask=c < C, other=0.0).to(tl.float32)[:, None]
    values = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
    values = values * transformed if SCALES else values + transformed
    if RESIDUAL:
        values += tl.load(residual + at, mask=here, other=0.0).to(tl.float32)
    if RELU:
        values = tl.where(values < 0, 0.0, values)  # NaN stays
    tl.store(y + at, values, mask=here)


@triton.jit
def _fuse_backward_kernel(
    g, x, y, t, d, dx, parts, C, units, tiles,
    BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr, ALIGNMENT: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    SCALES: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    split, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    N = units * ALIGNMENT
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    if SCALES:
        transformed = tl.load(t + b * C + c, mask=c < C, other=0.0).to(tl.float32)[:, None]
    start = b * C * N
    total = tl.zeros((BLOCK_C,), tl.float32)
    for tile in range(split * tiles, (split + 1) * tiles):
        n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        here = (c < C)[:, None] & (n < N)[None, :]
        at = start + _offsets(c, n, C, N, CHANNELS_LAST)
        grad = tl.load(g + at, mask=here, other=0.0).to(tl.float32)
        if RELU:
            grad = tl.where(tl.load(y + at, mask=here, other=0.0).to(tl.float32) > 0, grad, 0.0)
            tl.store(d + at, grad, mask=here)
        if SCALES:
            total += tl.sum(grad * tl.load(x + at, mask=here, other=0.0).to(tl.float32), axis=1)
            tl.store(dx + at, grad * transformed, mask=here)
        else:
            total += tl.sum(grad, axis=1)
    tl.store(parts + (split * tl.num_programs(2) + b) * C + c, total, mask=c < C)


def _list_sizes(at: MapLayout, launch: Launch) -> tuple:
    return *at.size, launch.tiles


def _list_constants(at: MapLayout, launch: Launch) -> dict[str, int | bool]:
    return {
        "BLOCK_C": launch.block_c,
        "BLOCK_N": launch.block_n,
        "ALIGNMENT": at.alignment,
        "CHANNELS_LAST": at.channels_last,
        "num_warps": launch.warps,
    }


def pool(x: Tensor, weight: Tensor, launch: Launch | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attention pooling of `x` (B, C, ...) with logits <weight, x_n>, in one pass over it.

    Returns the context (B, C) in the dtype of `x` and in float32, the logits (B, N), and lambda (B) with
    alpha_n = exp(logit_n - lambda).
    """
    at = MapLayout.read(x)
    launch = launch or Launch.plan(at, *FORWARD[at.itemsize, at.channels_last])
    make = x.new_empty
    context, context32 = make(at.batch, at.channels), make(at.batch, at.channels, dtype=torch.float32)
    logits = make(at.batch, at.positions, dtype=torch.float32)
    scale = make(at.batch, dtype=torch.float32)
    whole = launch.splits == 1
    maxima, sums = (scale, scale) if whole else make(2, at.batch, launch.splits, dtype=torch.float32)
    parts = scale if whole else make(at.batch, launch.splits, at.channels, dtype=torch.float32)
    _pool_kernel[launch.splits, at.batch](
        x, weight, logits, context, context32, scale, maxima, sums, parts, *_list_sizes(at, launch),
        **_list_constants(at, launch), WHOLE=whole,
    )  # fmt: skip
    if not whole:
        block = 64
        _combine_kernel[triton.cdiv(at.channels, block), at.batch](
            maxima, sums, parts, context, context32, scale, at.channels, launch.splits,
            BLOCK_C=block, SPLITS=triton.next_power_of_2(launch.splits),
        )  # fmt: skip
    return context, context32, logits, scale


def pool_backward(
    x: Tensor, weight: Tensor, context32: Tensor, logits: Tensor, scale: Tensor, d_context: Tensor,
    g: Tensor | None, needs_dx: bool = True, launch: Launch | None = None,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """The gradients of `x` and, (C) in float32, of `weight`; `g` is added to the first. One pass over `x` and `g`."""
    at = MapLayout.read(x)
    launch = launch or Launch.plan(at, *BACKWARD[at.itemsize, at.channels_last])
    dx = torch.empty_like(x) if needs_dx else None
    d_weight = x.new_empty(at.batch * launch.splits, at.channels, dtype=torch.float32)
    _pool_backward_kernel[launch.splits, at.batch](
        x, x if g is None else g, x if dx is None else dx, weight, logits, scale, context32, d_context, d_weight,
        *_list_sizes(at, launch), **_list_constants(at, launch), ADDS=g is not None, STORES=needs_dx,
    )  # fmt: skip
    return dx, d_weight.sum(dim=0)


def _choose_tile(at: MapLayout, elements: int) -> tuple[int, int]:
    """Channels and positions of a tile whose longer side lies along the contiguous dimension."""
    if at.channels_last:
        block_c = min(triton.next_power_of_2(at.channels), 256)
        return block_c, min(elements // block_c, triton.next_power_of_2(at.positions))
    block_n = min(triton.next_power_of_2(at.positions), 512)
    return min(elements // block_n, triton.next_power_of_2(at.channels)), block_n


def fuse(x: Tensor, t: Tensor, scales: bool, residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """x + t, or x * t where it `scales`, plus `residual`, in one pass; t is (B, C)."""
    at = MapLayout.read(x)
    block_c, block_n = _choose_tile(at, 4096)
    y = torch.empty_like(x)
    grid = triton.cdiv(at.positions, block_n), triton.cdiv(at.channels, block_c), at.batch
    _fuse_kernel[grid](
        x, t, x if residual is None else residual, y, *at.size,
        BLOCK_C=block_c, BLOCK_N=block_n, ALIGNMENT=at.alignment, CHANNELS_LAST=at.channels_last,
        SCALES=scales, RESIDUAL=residual is not None, RELU=relu, num_warps=4,
    )  # fmt: skip
    return y


def fuse_backward(
    g: Tensor, x: Tensor | None, y: Tensor | None, t: Tensor | None, scales: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `fuse` in one pass: of x, of t (B, C) in float32, and of the residual.

    Args:
        g: the gradient of its result.
        x, t: needed where it scales.
        y: its result, where a ReLU was applied.
    """
    at = MapLayout.read(g)
    block_c, block_n = _choose_tile(at, 4096)
    columns, tiles = triton.cdiv(at.channels, block_c), triton.cdiv(at.positions, block_n)
    each = triton.cdiv(tiles, min(tiles, max(1, 4 * PROGRAMS // (columns * at.batch))))
    splits = triton.cdiv(tiles, each)
    d = g if y is None else torch.empty_like(g)
    dx = torch.empty_like(g) if scales else d
    parts = g.new_empty(splits, at.batch, at.channels, dtype=torch.float32)
    _fuse_backward_kernel[splits, columns, at.batch](
        g, x if scales else g, g if y is None else y, t if scales else g, d, dx, parts,
        *at.size, each,
        BLOCK_C=block_c, BLOCK_N=block_n, ALIGNMENT=at.alignment, CHANNELS_LAST=at.channels_last,
        SCALES=scales, RELU=y is not None, num_warps=4,
    )  # fmt: skip
    return dx, parts[0] if splits == 1 else parts.sum(dim=0), d
