"""Where a network's context blocks look in a picture, recorded while it predicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repro.models.context import GlobalContextBlock, NonLocalBlock


@dataclass(frozen=True)
class AttentionMap:
    """The weights that one block gives to the positions of a picture.

    Of a block with a map for each query position, as the non-local block, it is the mean over the queries.
    """

    block: str  #: its name in the network
    weights: Tensor  #: float32 (h, w), on the CPU: of the positions, or of the keys where these are sub-sampled
    queries: int  #: over how many maps it is the mean
    #: What share of the height and of the width of the padded picture the map covers: less than 1 where sub-sampling
    #: leaves a last row or column out.
    cover: tuple[float, float]


def has_attention(block: nn.Module) -> bool:
    """Whether a module gives weights to positions: a method `attention(x)`. Average pooling has none."""
    if isinstance(block, GlobalContextBlock):
        return block.spec.pooling == "att"
    return callable(getattr(type(block), "attention", None))


@contextmanager
def record_attention(network: nn.Module) -> Iterator[dict[str, AttentionMap]]:
    """Record the map of each block in the forward passes that happen meanwhile, of one picture each.

    What a block of the user's own returns from `attention` is left out where it is neither (1, N) nor (1, N, M).
    """
    maps: dict[str, AttentionMap] = {}
    handles = []
    for name, block in network.named_modules():
        if not has_attention(block):
            continue

        def before(block: Any, given: tuple[Tensor, ...], name: str = name) -> None:
            with torch.no_grad():
                if (found := _build_map(name, block, given[0])) is not None:
                    maps[name] = found

        handles.append(block.register_forward_pre_hook(before))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _build_map(name: str, block: Any, x: Tensor) -> AttentionMap | None:
    positions = (x.shape[-2], x.shape[-1])
    if isinstance(block, NonLocalBlock):
        total, queries = None, 0
        for rows in block.attention_rows(x):
            part = rows[0].sum(dim=0)
            total, queries = part if total is None else total + part, queries + rows.shape[1]
        weights = None if total is None else total / queries
    else:
        attention = block.attention(x)
        if not isinstance(attention, Tensor) or attention.dim() not in (2, 3) or len(attention) != 1:
            return None
        queries = attention.shape[1] if attention.dim() == 3 else 1
        weights = attention[0] if attention.dim() == 2 else attention[0].mean(dim=0)
    if weights is None or (scale := _find_scale(positions, len(weights))) is None:
        return None
    grid = (positions[0] // scale, positions[1] // scale)
    cover = (grid[0] * scale / positions[0], grid[1] * scale / positions[1])
    return AttentionMap(name, weights.float().unflatten(0, grid).cpu(), queries, cover)


def _find_scale(positions: tuple[int, int], keys: int) -> int | None:
    """Find how many positions along a side share a key: more than one where keys are sub-sampled."""
    for scale in range(1, min(positions) + 1):
        if math.prod(side // scale for side in positions) == keys:
            return scale
    return None
