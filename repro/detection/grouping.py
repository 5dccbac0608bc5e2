"""Losses that are means over a few images of a batch each, as those of one GPU are where several share the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class LossGroups:
    """The images of a batch, in groups of `size` whose losses are means of their own; the last may be smaller.

    The network computes on all images at once, and only the means are of the groups.

    Args:
        images: how many the batch has.
        size: images of a group; None: all.
    """

    def __init__(self, images: int, size: int | None = None) -> None:
        size = size or images
        self.images = images
        self.slices = [slice(begin, min(begin + size, images)) for begin in range(0, images, size)]

    @property
    def shares(self) -> list[float]:
        """The part of the batch's images that each group has."""
        return [(part.stop - part.start) / self.images for part in self.slices]

    def add_up(self, counts: Sequence[int]) -> list[int]:
        """Sums of `counts`, one of each image, over the images of each group."""
        return [sum(counts[part]) for part in self.slices]

    def split(self, values: Tensor, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """Split `values` (n, ...) by group. Images have as many rows as `counts` says, one image after the other."""
        return values.split(self.add_up(counts))

    def average(self, sums: Iterable[Tensor], divisors: Sequence[int]) -> Tensor:
        """The mean over groups, weighted by their shares, of each group's sum divided by its divisor (at least 1).

        Args:
            sums: a scalar of each group.
            divisors: one of each image; a group has their sum.
        """
        totals = torch.stack([*sums])
        scales = torch.tensor([[max(number, 1) for number in self.add_up(divisors)], self.shares]).to(totals)
        return (totals / scales[0] * scales[1]).sum()

    def average_sums(self, values: Tensor, counts: Sequence[int], divisors: Sequence[int]) -> Tensor:
        """`average` of the sums of `values`, which are split as by `split`."""
        return self.average((part.sum() for part in self.split(values, counts)), divisors)
