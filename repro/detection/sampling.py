"""Assigns boxes to objects for training, and samples them at random."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import _utils as torchvision_detection


class Matcher(torchvision_detection.Matcher):
    """Assigns boxes (anchors or proposals) to objects by intersection over union, as the authors do.

    A box belongs to the object that it overlaps most: as a positive from an IoU of `positive`, as a negative below
    `negative`, and ignored between the two. Besides, every object keeps the boxes that overlap it more than all others
    do (ties included) if that is at least `least`, even where another object overlaps the box more; torchvision
    has no such minimum, and gives the box to that other object.
    """

    def __init__(self, positive: float, negative: float, least: float) -> None:
        super().__init__(positive, negative, allow_low_quality_matches=True)
        self.least = least

    def __call__(self, iou: Tensor) -> Tensor:
        """IoU (objects, boxes) -> int64 (boxes,): an object's index, BELOW_LOW_THRESHOLD or BETWEEN_THRESHOLDS."""
        if iou.numel() == 0:
            return torch.full((iou.shape[1],), self.BELOW_LOW_THRESHOLD, device=iou.device)
        return super().__call__(iou)

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, iou: Tensor) -> None:
        """Called by the base class, with the thresholds applied to `matches`."""
        highest = iou.amax(dim=1, keepdim=True)
        objects, boxes = torch.where((iou == highest) & (highest >= self.least))
        # Where several objects claim one box, the last has it.
        claims = torch.full_like(matches, -1).scatter_reduce_(0, boxes, objects, "amax")
        matches.copy_(torch.where(claims >= 0, claims, matches))


class BalancedSampler:
    """Samples `count` boxes per image at random, at most `positive_fraction` of them positive.

    It draws from `generator` (on the CPU, so that a seed means the same on every device) and never from the global
    state, unless the generator is None.
    """

    def __init__(self, count: int, positive_fraction: float, generator: torch.Generator | None) -> None:
        self.count = count
        self.positive_fraction = positive_fraction
        self.generator = generator

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return masks of the sampled positives and negatives of every image.

        Args:
            labels: per image (boxes,): positive from 1, negative 0, ignored below 0.
        """
        positives, negatives = [], []
        for image in labels:
            positive = self._choose(image >= 1, int(self.count * self.positive_fraction))
            negative = self._choose(image == 0, self.count - int(positive.sum()))
            positives.append(positive)
            negatives.append(negative)
        return positives, negatives

    def _choose(self, mask: Tensor, count: int) -> Tensor:
        candidates = torch.where(mask)[0]
        if len(candidates) <= count:
            return mask
        order = torch.randperm(len(candidates), generator=self.generator, device="cpu")
        chosen = torch.zeros_like(mask)
        chosen[candidates[order[:count].to(mask.device)]] = True
        return chosen
