"""The region proposal network, trained as the authors train it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import rpn as torchvision_rpn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms

from repro.detection.anchors import ASPECT_RATIOS, PyramidAnchors
from repro.detection.boxes import ABSENT, clip_padded, compute_overlaps, pad
from repro.detection.grouping import LossGroups
from repro.detection.sampling import BalancedSampler, Matcher
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions, choose_conventions

NMS_THRESHOLD = 0.7
SMALLEST = 1e-3  #: pixels: a proposal that clipping leaves thinner than this is dropped
#: Overlaps of objects and anchors that are computed at once, for as many images as that allows: what a GPU has memory
#: for, and what a CPU's cache keeps.
_MOST_OVERLAPS = {True: 2**24, False: 2**21}


class RPNHead(torchvision_rpn.RPNHead):
    """One 3x3 convolution, then objectness and box deltas; float32 out, so that boxes keep their precision."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(features)
        return [level.float() for level in logits], [level.float() for level in deltas]


class RegionProposalNetwork(nn.Module):
    """A region proposal network of torchvision's parts, with `conventions`' anchors and the authors' training targets.

    Differently from torchvision's, anchors that cross the border of the image are not trained, an object keeps its
    nearest anchors only from an IoU of 0.3, and the sampling is drawn from `generator`. Both losses (cross entropy,
    smooth L1 with beta 1/9) are averaged over the sampled anchors of all images of a group.

    All images of a batch are computed on at once, and boxes are decoded and clipped after the best were chosen.
    torchvision does both image by image and for every anchor: on a GPU most of its time is launches.
    """

    def __init__(
        self, spec: Detector, generator: torch.Generator, conventions: DetectionConventions | None = None
    ) -> None:
        super().__init__()
        conventions = conventions or choose_conventions(spec)
        self.anchor_generator = PyramidAnchors(spec.anchor_scale, conventions)
        self.head = RPNHead(spec.fpn_channels, len(ASPECT_RATIOS))
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher(0.7, 0.3, least=0.3)
        self.sampler = BalancedSampler(spec.rpn_samples, 0.5, generator)
        self.inclusive = conventions.inclusive_boxes
        #: Proposals of a level before NMS and of an image after it, (in training, in evaluation).
        self.limits = [
            (training, conventions.limit_proposals(test))
            for training, test in (spec.proposals_per_level, spec.proposals)
        ]

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: Sequence[Tensor] | None = None,
        groups: LossGroups | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the proposals (k, 4) of each image, best first, and in training the losses.

        Args:
            images: what is read of it is the sizes, before padding and after it.
            features: by level, (B, C, H, W).
            targets: the boxes (n, 4) of the objects of each image; needed for the losses.
            groups: of images whose losses are means of their own. Default: all are one.
        """
        levels = list(features.values())
        logits_of_levels, deltas_of_levels = self.head(levels)
        anchors = self.anchor_generator(images, levels)[0]
        counts = [level[0].numel() for level in logits_of_levels]
        logits, deltas = torchvision_rpn.concat_box_prediction_layers(logits_of_levels, deltas_of_levels)
        logits, deltas = logits.view(-1, len(anchors)), deltas.view(-1, len(anchors), 4)
        sizes = images.image_sizes
        proposals = self.propose(anchors, logits.detach(), deltas.detach(), sizes, counts)
        if targets is None:
            return proposals, {}
        return proposals, self.compute_losses(anchors, logits, deltas, targets, sizes, groups or LossGroups(len(sizes)))

    def propose(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, sizes: list[tuple[int, int]], counts: list[int]
    ) -> list[Tensor]:
        """Choose the proposals (k, 4) of each image: the best of each level, without what NMS removes, the best of all.

        Args:
            anchors: (A, 4), of all levels.
            logits: (B, A).
            deltas: (B, A, 4), by which anchors are moved.
            sizes: per image, (height, width) before padding.
            counts: anchors of each level.
        """
        per_level, most = ((training if self.training else test) for training, test in self.limits)
        best = [min(per_level, count) for count in counts]
        begins = [sum(counts[:level]) for level in range(len(counts))]
        chosen = torch.cat(
            [
                level.topk(number, dim=1).indices + begin
                for level, number, begin in zip(logits.split(counts, dim=1), best, begins, strict=True)
            ],
            dim=1,
        )
        numbers = torch.arange(len(best)).repeat_interleave(torch.tensor(best)).to(chosen.device)
        scores = logits.gather(1, chosen).sigmoid()
        moves = deltas.gather(1, chosen[:, :, None].expand(-1, -1, 4))
        boxes = self.box_coder.decode_single(moves.flatten(0, 1), anchors[chosen.flatten()]).view_as(moves)
        boxes = clip_padded(boxes, sizes, self.inclusive)
        kept = ((boxes[:, :, 2:] - boxes[:, :, :2]) >= SMALLEST).all(dim=2) & (scores >= 0)  # not of what is no number
        index = torch.where(kept.flatten())[0]
        parts = kept.sum(dim=1).tolist()
        images = zip(
            boxes.flatten(0, 1)[index].split(parts),
            scores.flatten()[index].split(parts),
            numbers.repeat(len(sizes))[index].split(parts),
            strict=True,
        )
        return [image[batched_nms(image, score, level, NMS_THRESHOLD)[:most]] for image, score, level in images]

    def compute_losses(
        self,
        anchors: Tensor,
        logits: Tensor,
        deltas: Tensor,
        targets: Sequence[Tensor],
        sizes: list[tuple[int, int]],
        groups: LossGroups,
    ) -> dict[str, Tensor]:
        """Compute the objectness and the box loss; zeros that keep the graph where the images hold no whole anchor.

        The arguments are those of `propose` and `forward`.
        """
        matches = self.match(anchors, targets, sizes)
        sampled = self.sampler(matches + 1)
        objects, _ = pad(targets)
        positives = sampled.positives
        images, own = positives.div(len(anchors), rounding_mode="floor"), positives.remainder(len(anchors))
        wanted = self.box_coder.encode_single(objects[images, matches.flatten()[positives]], anchors[own])
        box = F.smooth_l1_loss(deltas.flatten(0, 1)[positives], wanted, beta=1 / 9, reduction="none")
        # Of each group first the positives, then the negatives.
        kinds = (
            groups.split(kind, counts)
            for kind, counts in (
                (positives, sampled.positive_counts),
                (sampled.negatives, sampled.negative_counts),
            )
        )
        both = torch.cat([part for group in zip(*kinds, strict=True) for part in group])
        objectness = F.binary_cross_entropy_with_logits(
            logits.flatten()[both], (matches.flatten()[both] >= 0).to(logits), reduction="none"
        )
        return {
            "loss_objectness": groups.average_sums(objectness, sampled.counts, sampled.counts),
            "loss_rpn_box_reg": groups.average_sums(box, sampled.positive_counts, sampled.counts),
        }

    def match(self, anchors: Tensor, targets: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Match anchors with objects: int64 (B, A), as `Matcher` has it. Those that cross the border are ignored.

        Args:
            anchors: (A, 4).
            targets: per image, (n, 4).
            sizes: per image, (height, width) before padding.
        """
        inside = lie_within(anchors, sizes)
        matches = []
        for part in _cut([len(image) * len(anchors) for image in targets], _MOST_OVERLAPS[anchors.is_cuda]):
            overlaps = compute_overlaps(*pad(targets[part]), anchors)
            matches.append(self.matcher(overlaps.masked_fill_(~inside[part, None], ABSENT)))
        return torch.cat(matches).masked_fill(~inside, Matcher.BETWEEN_THRESHOLDS)


def _cut(costs: list[int], most: int) -> Iterator[slice]:
    """Cut images into parts, in order, each as large as costs at most `most`: the dearest image's for all of them."""
    begin = 0
    while begin < len(costs):
        end = begin + 1
        while end < len(costs) and max(costs[begin : end + 1]) * (end + 1 - begin) <= most:
            end += 1
        yield slice(begin, end)
        begin = end


def lie_within(boxes: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Mark the `boxes` (n, 4), xyxy, that lie entirely in each image of `sizes` (height, width): bool (B, n)."""
    ends = boxes.new_tensor([(width, height) for height, width in sizes])
    return (boxes[:, :2] >= 0).all(dim=1) & (boxes[:, 2:] <= ends[:, None]).all(dim=2)
