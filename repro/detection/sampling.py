"""Assigns boxes to objects for training, and samples them at random: of all images of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Of more boxes than this, a few are drawn one by one: a permutation of a full image's anchors takes a millisecond, for
#: which a GPU waits.
_MANY = 2**13


class Matcher:
    """Assigns boxes (anchors or proposals) to objects by intersection over union, as the authors do.

    A box belongs to the object that it overlaps most: as a positive from an IoU of `positive`, as a negative below
    `negative`, and ignored between the two. Besides, every object keeps the boxes that overlap it more than all others
    do (ties included) if that is at least `least`, even where another object overlaps the box more; where several
    objects claim one box, the last has it. torchvision's matcher has no such minimum, and gives the box to that other
    object.
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(self, positive: float, negative: float, least: float) -> None:
        self.positive = positive
        self.negative = negative
        self.least = least

    def __call__(self, iou: Tensor) -> Tensor:
        """IoU (..., objects, boxes) -> int64 (..., boxes): an object, BELOW_LOW_THRESHOLD or BETWEEN_THRESHOLDS."""
        if iou.numel() == 0:
            return iou.new_full((*iou.shape[:-2], iou.shape[-1]), self.BELOW_LOW_THRESHOLD, dtype=torch.int64)
        best, matches = iou.max(dim=-2)
        # An overlap that is no number, as in a training that diverges, is below both.
        matches = matches.masked_fill(~(best >= self.positive), self.BETWEEN_THRESHOLDS)
        matches = matches.masked_fill(~(best >= self.negative), self.BELOW_LOW_THRESHOLD)
        highest = iou.amax(dim=-1, keepdim=True)
        claimed = (iou == highest) & (highest >= self.least)
        objects = torch.arange(iou.shape[-2], dtype=torch.int32, device=iou.device)[:, None]
        claims = torch.where(claimed, objects, -1).amax(dim=-2)
        return torch.where(claims >= 0, claims, matches)


@dataclass(frozen=True)
class Sampled:
    """Boxes that were sampled: indices into those of all images, one image after the other, ascending."""

    positives: Tensor  #: int64
    negatives: Tensor  #: int64
    positive_counts: list[int]  #: of each image
    negative_counts: list[int]

    @property
    def counts(self) -> list[int]:
        """Positives and negatives of each image."""
        return [sum(both) for both in zip(self.positive_counts, self.negative_counts, strict=True)]


class BalancedSampler:
    """Samples `count` boxes per image at random, at most `positive_fraction` of them positive.

    It draws from `generator` (on the CPU, so that a seed means the same on every device) and never from the global
    state, unless the generator is None.
    """

    def __init__(self, count: int, positive_fraction: float, generator: torch.Generator | None) -> None:
        self.count = count
        self.positive_fraction = positive_fraction
        self.generator = generator

    def __call__(self, labels: Tensor) -> Sampled:
        """Sample from the boxes of all images.

        Args:
            labels: integers (B, boxes): positive from 1, negative 0, ignored below 0.
        """
        kinds = torch.stack([labels >= 1, labels == 0])
        there = kinds.sum(dim=2).tolist()  # with the next line, all that a GPU is waited for
        candidates = torch.where(kinds.flatten())[0]
        drawn: tuple[list[Tensor], list[Tensor]] = ([], [])
        begin = [0, sum(there[0])]  # of an image's candidates
        most = int(self.count * self.positive_fraction)
        for positives, negatives in zip(*there, strict=True):
            for kind, number, count in ((0, positives, most), (1, negatives, self.count - min(positives, most))):
                drawn[kind].append(begin[kind] + self._draw(number, count))
                begin[kind] += number
        chosen = candidates[torch.cat(drawn[0] + drawn[1]).to(candidates.device)]
        counts = [[len(part) for part in kind] for kind in drawn]
        positive, negative = chosen.split([sum(kind) for kind in counts])
        return Sampled(positive, negative - labels.numel(), *counts)

    def _draw(self, number: int, count: int) -> Tensor:
        """`count` of `number`, or all, ascending."""
        if number <= count:
            return torch.arange(number)
        if number > max(_MANY, 16 * count):
            chosen: dict[int, None] = {}
            while len(chosen) < count:  # what was drawn before counts once
                more = torch.randint(number, (count,), generator=self.generator, device="cpu")
                chosen |= dict.fromkeys(more.tolist())
            return torch.tensor(sorted([*chosen][:count]), dtype=torch.int64)
        return torch.randperm(number, generator=self.generator, device="cpu")[:count].sort().values
