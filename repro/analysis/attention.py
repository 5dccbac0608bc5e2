"""Observation of a network's non-local blocks on one image or clip, and Table 1's statistics (Section 3.2).

A block is any module with a method `attention(x) -> (B, N, M)`: row i of the map holds the weights that query position
i gives to the M keys, `x` (B, C, ...) being what the block was called with and N the number of positions that follow
C. The block returns z, of the shape of x. `repro.models.context.NonLocalBlock` is one; its rows are made in blocks, so
that its map is never in memory as a whole.

Per image or clip, each a mean over all ordered pairs of positions, those of a position with itself included (the
paper's 1/N^2; its N counts the padding of the image):

- cos_input: cosine distance (1 - cos) / 2 of the inputs x_i.
- cos_output: cosine distance of the outputs before fusion, z_i - x_i, with the rounding of z, 6e-8 of |x_i|.
- cos_att: cosine distance of the rows of the map.
- jsd_att: Jensen-Shannon divergence, natural logarithm, of the rows; only where they are distributions. A dot product
  has signed weights and concatenation weights of any sum; there the paper prints a dash.

A zero vector has no direction; its cosines count as 0, its distances as 1/2. An untrained block, whose output is zero
everywhere, therefore has cos_output 1/2. `Statistics.zeros` is the number of such vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from repro.analysis.divergence import cosine, jensen_shannon
from repro.engine.arithmetic import use_float32
from repro.errors import ReproError
from repro.files.schema import FrozenModel
from repro.models.context import GlobalContextBlock, NonLocalBlock


@dataclass(frozen=True)
class Observation:
    """The input, output and attention of one block for one image or clip."""

    block: str  #: a name that is the same for every image
    input: Tensor  #: (C, ...): x
    output: Tensor  #: (C, ...): z - x
    rows: Iterable[Tensor]  #: the map, in blocks of rows (n, M), float32 or float64; may be iterated again
    distributions: bool  #: whether the weights of each row are not negative and sum to 1


class Statistics(FrozenModel):
    """Mean distances over all ordered pairs of positions."""

    cos_input: float
    cos_output: float
    cos_att: float
    jsd_att: float | None  #: None where the rows are no distributions
    positions: int
    keys: int
    zeros: dict[str, int] = {}  #: number of zero vectors by column, where there are some


def find_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Find the non-local blocks of a network, by their names in it.

    Raises:
        ReproError: there is none.
    """
    modules = {name or type(network).__name__: module for name, module in network.named_modules()}
    blocks = {
        name: module
        for name, module in modules.items()
        if callable(getattr(type(module), "attention", None)) and not isinstance(module, GlobalContextBlock)
    }
    if not blocks:
        if any(isinstance(module, GlobalContextBlock) for module in modules.values()):
            raise ReproError(
                "this network's context blocks have one attention map for all positions: there is nothing to compare. "
                "Networks with non-local blocks (1nl, 5nl) have one map for each."
            )
        raise ReproError(
            "this network has no non-local block, that is, no module with a method attention(x) which returns the "
            "attention map (B, N, M)"
        )
    return blocks


@use_float32()
@torch.no_grad()
def observe(network: nn.Module | Callable[[Tensor], Iterable[Observation]], inputs: Tensor) -> list[Observation]:
    """Observe each block of `network` while it processes `inputs`, a batch of one.

    The forward pass ends with the last block, and of each block only the first call counts. Instead of a module,
    `network` may be a function that returns the observations itself.

    Raises:
        ReproError: there is no block, one is not reached, or its maps do not fit its input.
    """
    if not isinstance(network, nn.Module):
        return list(network(inputs))
    blocks = find_blocks(network)
    observations: dict[str, Observation] = {}
    versions: dict[str, int] = {}
    handles = []
    for name, block in blocks.items():

        def before(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
            if given:
                versions[name] = given[0]._version

        def after(block: nn.Module, given: tuple[Tensor, ...], z: Any, name: str = name) -> None:
            if name in observations:
                return
            if not given or not isinstance(z, Tensor) or z.shape != given[0].shape:
                raise ReproError(f"block {name} is no function of one feature map that returns another of its shape")
            if given[0]._version != versions[name]:
                raise ReproError(f"block {name} changes its input in place: its output before fusion is lost")
            observations[name] = _build_observation(name, block, given[0], z)
            if len(observations) == len(blocks):
                raise _Complete

        handles += [block.register_forward_pre_hook(before), block.register_forward_hook(after)]
    try:
        network(inputs)
    except _Complete:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if missing := blocks.keys() - observations.keys():
        raise ReproError(f"the network does not call its block {min(missing)}")
    return list(observations.values())


@use_float32()
@torch.no_grad()
def compute_statistics(observation: Observation) -> Statistics:
    """Compute the statistics of one block for one image or clip.

    Raises:
        ReproError: a value is not finite, there is not one row for each position, or the rows are no distributions
            although they should be.
    """
    distances = {}
    for column, rows in (
        ("cos_input", [_flatten_positions(observation.input)]),
        ("cos_output", [_flatten_positions(observation.output)]),
        ("cos_att", _check_count(observation)),
    ):
        try:
            distances[column] = cosine(rows)
        except ReproError as error:
            raise ReproError(f"block {observation.block}, {column}: {error}") from None
    try:
        divergence = jensen_shannon(observation.rows) if observation.distributions else None
    except ReproError as error:
        raise ReproError(f"block {observation.block}, jsd_att: {error}") from None
    return Statistics(
        **{column: distance.mean for column, distance in distances.items()},
        jsd_att=divergence,
        positions=math.prod(observation.input.shape[1:]),
        keys=next(iter(observation.rows)).shape[1],
        zeros={column: distance.zeros for column, distance in distances.items() if distance.zeros},
    )


def leave_padding_out(observation: Observation, height: int, width: int) -> Observation:
    """Keep the query positions of an image's upper left `height` x `width` cells. Keys in the padding remain.

    Args:
        observation: of an image, its input (C, H, W).
    """
    kept = torch.zeros(observation.input.shape[1:], dtype=torch.bool)
    kept[:height, :width] = True
    positions = kept.flatten()
    return replace(
        observation,
        input=observation.input.flatten(1)[:, positions.to(observation.input.device)],
        output=observation.output.flatten(1)[:, positions.to(observation.output.device)],
        rows=_Kept(observation.rows, positions),
    )


class _Kept:
    """Those of blocks of rows that are kept."""

    def __init__(self, rows: Iterable[Tensor], positions: Tensor) -> None:
        self.rows, self.positions = rows, positions

    def __iter__(self) -> Iterator[Tensor]:
        start = 0
        for block in self.rows:
            kept = self.positions[start : start + len(block)].to(block.device)
            start += len(block)
            if kept.any():
                yield block[kept]


@runtime_checkable
class _HasAttention(Protocol):
    def attention(self, x: Tensor) -> Tensor: ...


class _Complete(Exception):
    """Every block was called: the rest of the network need not be computed."""


#: Weights of a block of rows on a GPU, where launches count: 32 MiB in float32, and some twelve times as much with what
#: a divergence makes of them.
_LARGE_BLOCK = 2**23


def choose_row_count(x: Tensor) -> int:
    """Choose how many rows of the map of `x` (1, C, ...) are computed at once."""
    return 256 if x.device.type == "cpu" else max(256, _LARGE_BLOCK // math.prod(x.shape[2:]))


class _Streamed:
    """The rows of one of this project's blocks, computed anew in each iteration."""

    def __init__(self, block: NonLocalBlock, x: Tensor) -> None:
        self.block, self.x = block, x

    @torch.no_grad()
    def __iter__(self) -> Iterator[Tensor]:
        for rows in self.block.attention_rows(self.x, choose_row_count(self.x)):
            yield rows[0]


def _build_observation(name: str, block: nn.Module, x: Tensor, z: Tensor) -> Observation:
    if x.dim() < 3 or len(x) != 1:
        raise ReproError(
            f"block {name} is called with {tuple(x.shape)}: needed is a feature map (1, C, ...), one image a batch"
        )
    x = x.clone()  # what follows may change it in place
    if isinstance(block, NonLocalBlock):
        distributions = block.instantiation in ("gaussian", "embedded_gaussian")
        return Observation(name, x[0], (z - x)[0], _Streamed(block, x), distributions)
    assert isinstance(block, _HasAttention)  # as `find_blocks` has checked
    attention = block.attention(x)
    positions = math.prod(x.shape[2:])
    if not isinstance(attention, Tensor) or attention.dim() != 3 or attention.shape[:2] != (1, positions):
        got = tuple(attention.shape) if isinstance(attention, Tensor) else type(attention).__name__
        raise ReproError(f"block {name}: attention(x) gives {got}, not the map (1, {positions}, M) of {positions} rows")
    if attention.dtype not in (torch.float32, torch.float64):
        raise ReproError(f"block {name}: attention in {attention.dtype} has too few digits; compute it in float32")
    sums = attention[0].sum(dim=1, dtype=torch.float64)
    distributions = bool((attention >= 0).all()) and bool(((sums - 1).abs() <= 1e-4).all())
    return Observation(name, x[0], (z - x)[0], [attention[0]], distributions)


def _flatten_positions(features: Tensor) -> Tensor:
    """(N, C) of (C, ...)."""
    return features.flatten(1).T.contiguous()


def _check_count(observation: Observation) -> Iterator[Tensor]:
    """The rows; an error at the end if there is not one for each position."""
    count, positions = 0, math.prod(observation.input.shape[1:])
    for block in observation.rows:
        count += len(block)
        yield block
    if count != positions:
        raise ReproError(f"there are {count} attention maps for {positions} positions")
