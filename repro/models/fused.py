"""Context blocks in few passes over the feature map, which is what they cost: their arithmetic is nearly nothing.

Ordinary autograd reads or writes the map x (B, C, N) of a GC block about 20 times in a training step. With g the
gradient of the block's result, p = sum_j alpha_j x_j the pooled context and dp the gradient that comes back to it
through the transform of sum_j g_j, Eq. 5 has the derivatives

    da_j = <x_j, dp>,    dl_j = alpha_j (da_j - <p, dp>),    dx = g + dp alpha^T + w dl^T,    dw = sum_j dl_j x_j

so that three reads and a write forward and four reads and a write backward suffice (`functions`), and two reads and a
write forward and three reads and a write backward where a tile of x stays in registers (`triton`).

A pooling returns x beside the context. What is computed from that x gives its gradient to the pooling's backward pass,
which adds all terms at once; transform and fusion need no more than ordinary autograd on tensors of B x C.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from repro import kernels

Implementation = Literal["autograd", "functions", "triton"]
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  #: of the kernels, whose sums are float32
#: Of a map of 16 bits, below which the launches of the kernels cost more than they save.
_LEAST_ELEMENTS = 1 << 25
_CACHED = 1 << 20  #: bytes that a core's cache keeps until they are used again
_MOST_CHANNELS = 4096  #: of which a tile has room in registers
_forced: Implementation | None = None
_launches_are_free = False


def choose_implementation(x: Tensor) -> Implementation:
    """How a context block computes on `x`: the one place where that is decided.

    On the CPU and in graphs that torch.compile makes, and fuses itself, by ordinary autograd; so, too, small maps of 16
    bits, where the host takes longer to launch the kernels than a GPU to run them (`benchmarks/gpu.md`), unless it
    launches them once only (`free_launches`).
    """
    if _forced is not None:
        return _forced
    small = x.element_size() == 2 and x.numel() < _LEAST_ELEMENTS
    if not x.is_cuda or torch.compiler.is_compiling() or (small and not _launches_are_free):
        return "autograd"
    fits = x.dtype in _DTYPES and x.shape[1] <= _MOST_CHANNELS and x.numel() > 0
    return "triton" if fits and kernels.can_run_on(x.device) else "functions"


@contextmanager
def force_implementation(choice: Implementation) -> Iterator[None]:
    """Have `choose_implementation` choose so: for comparisons, and for tests on a CPU."""
    global _forced
    before, _forced = _forced, choice
    try:
        yield
    finally:
        _forced = before


@contextmanager
def free_launches() -> Iterator[None]:
    """Have `choose_implementation` count what a GPU takes alone: within, kernels are recorded to be replayed."""
    global _launches_are_free
    before, _launches_are_free = _launches_are_free, True
    try:
        yield
    finally:
        _launches_are_free = before


def pool_by_attention(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """(context, x): sum_j alpha_j x_j (B, C) with alpha = softmax_j <weight, x_j> of `x` (B, C, ...).

    The softmax does not depend on `bias`, whose gradient is zero. Accumulates in float32 and returns the dtype of `x`,
    also under autocast. To be fused, the block's result must be computed from the `x` that is returned.

    Raises:
        RuntimeError: in a second differentiation.
    """
    return _AttentionPool.apply(x, weight, bias)


def pool_average(x: Tensor) -> tuple[Tensor, Tensor]:
    """(context, x) as of `pool_by_attention`, with all alpha_j the same."""
    return _AveragePool.apply(x)


def fuse(x: Tensor, t: Tensor, fusion: str, shortcut: Tensor | None = None) -> Tensor:
    """x + t or, with fusion "scale", x * t, for `t` (B, C); with a `shortcut`, ReLU(. + shortcut).

    Raises:
        RuntimeError: in a second differentiation.
    """
    t = t.to(x.dtype)
    if choose_implementation(x) == "triton" and (shortcut is None or shortcut.dtype == x.dtype):
        return _Fuse.apply(x, t, shortcut, fusion == "scale")
    t = _spread_over_positions(t, x.dim())
    y = x + t if fusion == "add" else x * t
    return y if shortcut is None else (y + shortcut).relu_()


class _AttentionPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.implementation = choose_implementation(x)
        given, x = x, _make_dense(x)
        w = weight.flatten()
        with _disable_autocast(x):
            context, *kept = _import_kernels().pool(x, w) if ctx.implementation == "triton" else _pool(x, w)
        ctx.save_for_backward(x, weight, bias, *kept)
        return context, given

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_context: Tensor | None, g: Tensor | None) -> tuple[Tensor | None, ...]:
        if d_context is None:
            return g, None, None
        x, weight, bias, *kept = ctx.saved_tensors
        needs_dx, needs_dw, needs_db = ctx.needs_input_grad
        g = None if g is None or not needs_dx else _lay_out_like(g, x)
        w = weight.flatten()
        with _disable_autocast(x):
            if ctx.implementation == "triton":
                dx, dw = _import_kernels().pool_backward(x, w, *kept, d_context.contiguous(), g, needs_dx)
            else:
                (alpha,) = kept
                dx, dw = _pool_backward(x, w, alpha, d_context, g, needs_dx, needs_dw)
        dw = dw.view_as(weight).to(weight.dtype) if needs_dw else None
        return dx, dw, torch.zeros_like(bias) if needs_db else None


class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.shape = x.shape
        return x.flatten(2).mean(dim=2), x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_context: Tensor | None, g: Tensor | None) -> Tensor | None:
        if d_context is None:
            return g
        share = d_context / ctx.shape[2:].numel()
        if g is not None and choose_implementation(g) == "triton":
            return _import_kernels().fuse(_make_dense(g), share.contiguous(), scales=False)
        share = _spread_over_positions(share, len(ctx.shape))
        return share.expand(ctx.shape) if g is None else g + share


class _Fuse(torch.autograd.Function):
    """By kernels only: what they save is in one pass with the sums over positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, shortcut: Tensor | None, scales: bool) -> Tensor:
        x, t = _make_dense(x), t.contiguous()
        relu = shortcut is not None
        ctx.scales, ctx.relu, ctx.dtype = scales, relu, t.dtype
        y = _import_kernels().fuse(x, t, scales, None if shortcut is None else _lay_out_like(shortcut, x), relu)
        ctx.save_for_backward(*((x, t) if scales else (None, None)), y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, t, y = ctx.saved_tensors
        like = next((saved for saved in (x, y) if saved is not None), None)
        g = _make_dense(g) if like is None else _lay_out_like(g, like)
        dx, dt, d = _import_kernels().fuse_backward(g, x, y, t, ctx.scales)
        return dx, dt.to(ctx.dtype), d if ctx.relu else None, None


def _pool(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The context (B, C) and alpha (B, N), which is float32 (or float64)."""
    columns = x.flatten(2)
    logits = torch.bmm(weight.to(x.dtype).expand(len(x), 1, -1), columns).squeeze(1)
    alpha = logits.softmax(dim=1, dtype=torch.promote_types(x.dtype, torch.float32))
    return _multiply(columns, alpha.to(x.dtype)), alpha


def _pool_backward(
    x: Tensor, weight: Tensor, alpha: Tensor, d_context: Tensor, g: Tensor | None, needs_dx: bool, needs_dw: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `x`, to which `g` is added, and of `weight` (C)."""
    columns = x.flatten(2)
    d_alpha = torch.bmm(d_context.to(x.dtype).unsqueeze(1), columns).squeeze(1).to(alpha.dtype)
    d_logits = alpha * (d_alpha - (alpha * d_alpha).sum(dim=1, keepdim=True))
    dx = dw = None
    if needs_dw:
        dw = _multiply(columns, d_logits.to(x.dtype)).sum(dim=0)
    if needs_dx:
        vectors = [d_context.to(x.dtype), weight.to(x.dtype).expand(len(x), -1)]
        scalars = [alpha.to(x.dtype), d_logits.to(x.dtype)]
        if x.is_contiguous():
            dx = _add_outer_products(g if g is None else g.flatten(2), vectors, scalars)
        else:  # channels last: the products as they lie in memory
            dx = _add_outer_products(g if g is None else g.flatten(2).transpose(1, 2), scalars, vectors)
            dx = dx.transpose(1, 2)
        dx = dx.unflatten(2, x.shape[2:])
    return dx, dw


def _add_outer_products(g: Tensor | None, left: list[Tensor], right: list[Tensor]) -> Tensor:
    """`g` (B, I, J; None: zeros) + the outer products of `left` and `right`, two vectors (B, I) and two (B, J)."""
    if left[0].is_cuda:
        products = torch.stack(left, dim=2), torch.stack(right, dim=1)
        return torch.bmm(*products) if g is None else torch.baddbmm(g, *products)
    # A CPU's product of matrices takes up to three times as long. Each part is still in the cache when it is added to.
    total = left[0].new_empty(*left[0].shape, right[0].shape[1])
    rows = max(1, _CACHED // max(1, total.shape[2] * total.element_size()))
    for sample in range(len(total)):
        for begin in range(0, total.shape[1], rows):
            part = slice(begin, begin + rows)
            out = total[sample, part]
            if g is None:
                torch.outer(left[0][sample, part], right[0][sample], out=out)
            else:
                torch.addr(g[sample, part], left[0][sample, part], right[0][sample], out=out)
            out.addr_(left[1][sample, part], right[1][sample])
    return total


def _multiply(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(B, C): products of the matrices (B, C, N) and the vectors (B, N), one of each."""
    if matrices.is_cuda:
        return torch.bmm(matrices, vectors.unsqueeze(2)).squeeze(2)
    # A CPU takes twice as long for a batch of them.
    return torch.stack([matrix.mv(vector) for matrix, vector in zip(matrices, vectors, strict=True)])


def _spread_over_positions(vectors: Tensor, rank: int) -> Tensor:
    return vectors.reshape(*vectors.shape, *(1,) * (rank - 2))


def _find_channels_last(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.dim() == 4 else torch.channels_last_3d


def _make_dense(x: Tensor) -> Tensor:
    """`x`, its positions or its channels contiguous."""
    return x if x.is_contiguous(memory_format=_find_channels_last(x)) else x.contiguous()


def _lay_out_like(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the dtype and the layout of `like`, which is dense."""
    layout = torch.contiguous_format if like.is_contiguous() else _find_channels_last(like)
    return x.to(like.dtype).contiguous(memory_format=layout)


def _disable_autocast(x: Tensor) -> torch.autocast:
    """Autocast would make a copy of `x` in another dtype."""
    return torch.autocast(x.device.type, enabled=False)


def _import_kernels() -> ModuleType:
    from repro.kernels import context  # needs Triton

    return context
