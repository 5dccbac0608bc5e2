"""Average distances over all pairs of positions, exactly and without looking at pairs (Section 3.2, Table 1).

Both statistics are means over all ordered pairs (i, j) of N vectors, the N pairs of a vector with itself included. They
are computed from sums over single vectors, which arrive in blocks of rows: nothing of size N x N is ever stored.

**Jensen-Shannon divergence.** The paper's distance of two distributions is sum_k g(v_ik, v_jk) / 2 with
g(x, y) = x ln(2x / (x + y)) + y ln(2y / (x + y)). For x, y >= 0

    g(x, y) = integral over all real lambda of  beta(lambda) |x^(1/2 + i lambda) - y^(1/2 + i lambda)|^2,
    beta(lambda) = sech(pi lambda) / (1 + 4 lambda^2).

Both sides are sqrt(xy) times a function of u = ln(x / y): on the right the integral of
beta(lambda) (2 cosh(u/2) - 2 cos(lambda u)), on the left u sinh(u/2) - 2 cosh(u/2) ln cosh(u/2); the two agree because
cosh(u/2) (1 + ln cosh(u/2)) - u sinh(u/2) / 2 has the Fourier transform beta. A mean squared difference over all pairs
is twice a variance, so that the mean divergence is

    sum over k of the integral of  beta(lambda) Var_i( v_ik^(1/2 + i lambda) )  d lambda

in O(N K Q) operations with Q nodes of the trapezoid rule, instead of N^2 K logarithms. Every term is a sum of squares:
small divergences suffer no cancellation. The rule's error for a pair depends on u alone, so that one scan bounds it.

**Cosine distance.** The mean of (1 - cos) / 2 is (1 - |mean unit vector|^2) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from repro import kernels
from repro.errors import ReproError

#: Spacing and number of the nodes, lambda = 0, h, 2h, ...: the relative error of no pair exceeds 9.6e-7.
STEP, NODES = 0.175, 26
#: Largest tile, (rows, columns), that is worked on at once. On a CPU it and the arrays made from it stay in a core's
#: cache. Elsewhere launches count, and memory is the bound: 32 MiB elements with 44 bytes each in float32, 1.4 GiB.
_TILE = {"cpu": (64, 1024)}
_LARGE_TILE = (4096, 8192)
#: Below this a mean cannot divide: a column of such numbers counts as zeros.
_SMALLEST = {torch.float32: 1e-37, torch.float64: 1e-300}


@dataclass(frozen=True)
class CosineDistance:
    """The mean over all ordered pairs of vectors."""

    mean: float
    zeros: int  #: how many of the vectors are zero; their cosines count as 0


def jensen_shannon(rows: Iterable[Tensor]) -> float:
    """The mean Jensen-Shannon divergence (natural logarithm) over all ordered pairs of rows.

    Each of N disjoint rows differs by ln 2 from all others and not from itself; equal rows do not differ:

    >>> rows = torch.eye(4, dtype=torch.float64)
    >>> print(f"{jensen_shannon([rows]):.5f}, {(1 - 1 / 4) * math.log(2):.5f}")
    0.51986, 0.51986
    >>> jensen_shannon([rows[:1], rows[:1]])
    0.0

    The relative error is below 1e-6 for float64 rows. For float32 rows it is below 2e-6 where the result exceeds 1e-4;
    below that, rounding of the rows themselves weighs more.

    Args:
        rows: blocks (b, K) of rows, float32 or float64, each row a distribution. It is iterated twice and must yield
            the same rows both times.

    Raises:
        ReproError: there are no rows, they are no distributions, or they are not the same the second time.
    """
    count, totals = 0, torch.zeros(())
    for strip in _strips(rows):
        _check(strip)
        totals = totals + strip.sum(dim=0, dtype=torch.float64)
        count += len(strip)
        dtype = strip.dtype
    if count == 0:
        raise ReproError("no rows: a divergence needs at least one attention map")
    centre = (totals / count).clamp(min=_SMALLEST[dtype])
    moments = torch.zeros(NODES, len(centre), dtype=torch.complex128, device=centre.device)
    excess = torch.zeros_like(centre)
    parts = -(-len(centre) // _choose_tile(centre.device)[1])
    seen = 0
    for strip in _strips(rows):
        tiles = (tensor.chunk(parts, dim=-1) for tensor in (strip, centre.to(dtype), moments, excess))
        for tile in zip(*tiles, strict=True):
            _add_moments(*tile)
        seen += len(strip)
    if seen != count:
        raise ReproError(f"the rows are not the same when iterated again: {count} of them, then {seen}")
    means = torch.view_as_real(moments / count)
    variance = excess / count - 2 * means[..., 0] - means.square().sum(dim=-1)
    return max(0.0, float(_weights(centre) @ (variance @ centre)))


def cosine(rows: Iterable[Tensor]) -> CosineDistance:
    """The mean of (1 - cos) / 2 over all ordered pairs of rows, in float64; equal to brute force to rounding.

    >>> rows = torch.eye(4)  # pairs of different rows are at 1/2, each row is at 0 from itself
    >>> print(f"{cosine([rows]).mean:.3f}, {(1 - 1 / 4) / 2:.3f}")
    0.375, 0.375
    >>> cosine([rows[:1], rows[:1]]).mean
    0.0

    Args:
        rows: blocks (b, C) of vectors.

    Raises:
        ReproError: there are no rows, or one is not finite.
    """
    count = zeros = 0
    for strip in _strips(rows):
        vectors = strip.to(torch.float64)
        if not vectors.isfinite().all():
            raise ReproError("a vector is not finite: its cosine with the others is not defined")
        vectors = vectors / vectors.abs().amax(dim=1, keepdim=True).clamp(min=_SMALLEST[torch.float64])
        lengths = vectors.norm(dim=1, keepdim=True)
        vectors = vectors / lengths.clamp(min=_SMALLEST[torch.float64])
        if count == 0:
            # Sums of differences from one of the vectors keep the digits of nearly equal ones.
            reference = next((v for v in vectors if v.any()), vectors[0])
            total, squares = torch.zeros_like(reference), reference.new_zeros(())
        differences = vectors - reference
        total += differences.sum(dim=0)
        squares += differences.square().sum()
        zeros += int((lengths == 0).sum())
        count += len(vectors)
    if count == 0:
        raise ReproError("no rows: a distance needs at least one vector")
    # E |u|^2 - |E u|^2 of unit vectors. A zero vector is no unit vector: its cosines, with itself too, are 0.
    variance = squares / count - (total / count).square().sum()
    return CosineDistance(float(variance + zeros / count) / 2, zeros)


def _strips(rows: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same rows, few at a time: a whole map may be given as one block."""
    for block in rows:
        yield from block.split(_choose_tile(block.device)[0])


def _choose_tile(device: torch.device) -> tuple[int, int]:
    return _TILE.get(device.type, _LARGE_TILE)


def _check(block: Tensor) -> None:
    if block.dtype not in _SMALLEST:
        raise ReproError(f"attention in {block.dtype} has too few digits for a divergence: keep its logits in float32")
    if not (block >= 0).all():
        raise ReproError("an attention map has a negative or undefined weight: it is no distribution")
    if ((block.sum(dim=1, dtype=torch.float64) - 1).abs() > 1e-4).any():
        raise ReproError("an attention map does not sum to 1: it is no distribution")


def _add_moments(tile: Tensor, centre: Tensor, moments: Tensor, excess: Tensor) -> None:
    """Add a tile's column sums: of d_q to `moments` (Q, k) and of y to `excess` (k).

    d_q = (x / c)^(1/2 + i q h) - 1 with c = `centre` (k) follows from one node to the next by
    d_(q+1) = d_q + w + d_q w, w = (x / c)^(i h) - 1, which keeps the digits of small deviations y = x / c - 1.
    """
    ratio = tile / centre
    deviation = (tile - centre).div_(centre)
    smallest = torch.finfo(tile.dtype).tiny
    logarithm = torch.where(deviation.abs() < 0.5, deviation.log1p(), ratio.clamp(min=smallest).log_())
    excess += deviation.sum(dim=0)
    if _has_kernel(tile):
        from repro.kernels.moments import sum_moments

        real, imaginary = (STEP / 2 * logarithm).sin_().square_().mul_(-2), logarithm.mul_(STEP).sin_()
        moments += sum_moments(deviation.div_(ratio.sqrt_().add_(1)), real, imaginary, NODES)
        return
    d = torch.complex(deviation.div_(ratio.sqrt_().add_(1)), torch.zeros_like(tile))
    w = torch.complex((STEP / 2 * logarithm).sin_().square_().mul_(-2), logarithm.mul_(STEP).sin_())
    # Beside d, the rounding of 1 + w is as small as that of d itself: only w as a summand needs its digits.
    factor = 1 + w
    sums = torch.empty(*moments.shape, 2, dtype=tile.dtype, device=tile.device)
    for node in range(NODES):
        torch.sum(torch.view_as_real(d), dim=0, out=sums[node])
        d.mul_(factor).add_(w)
    moments += torch.view_as_complex(sums)


def _has_kernel(tile: Tensor) -> bool:
    return tile.is_cuda and kernels.can_run_on(tile.device)


def _weights(like: Tensor) -> Tensor:
    """The weights of the trapezoid rule on the even integrand: h at 0, 2 h beta(q h) elsewhere."""
    nodes = STEP * torch.arange(NODES, dtype=like.dtype, device=like.device)
    weights = 2 * STEP / (torch.cosh(math.pi * nodes) * (1 + 4 * nodes.square()))
    weights[0] /= 2
    return weights
