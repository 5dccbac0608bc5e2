"""Three box and three mask heads, each fed by the boxes of the one before it, as the authors build and train them.

Their framework is mmdetection before 2.0. Detectron2's cascade has one mask head and no stage weights, scales gradients
between the heads and averages class probabilities, not logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repro.detection.boxes import clip_joined, number_images
from repro.detection.grouping import LossGroups
from repro.detection.roi import Instances, RoIHeads, Stage, assemble_instances
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions

CASCADE = (
    Stage(0.5, (0.1, 0.1, 0.2, 0.2), "class-agnostic", weight=1.0),
    Stage(0.6, (0.05, 0.05, 0.1, 0.1), "class-agnostic", weight=0.5),
    Stage(0.7, (0.033, 0.033, 0.067, 0.067), "class-agnostic", weight=0.25),
)


class CascadeRoIHeads(nn.Module):
    """The heads of Cascade Mask R-CNN: `stages`, each a complete `RoIHeads`.

    A stage decodes boxes with its own units from the boxes of the stage before it, and judges them by its own IoU.
    """

    def __init__(
        self, spec: Detector, generator: torch.Generator, conventions: DetectionConventions | None = None
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(RoIHeads(spec, generator, conventions, stage) for stage in CASCADE)

    @property
    def stage_heads(self) -> tuple[RoIHeads, ...]:
        """The heads of the stages, in the order in which RoIs pass through them."""
        return tuple(heads for heads in self.stages if isinstance(heads, RoIHeads))

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: Sequence[Tensor],
        sizes: list[tuple[int, int]],
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
        groups: LossGroups | None = None,
    ) -> dict[str, Tensor]:
        """The weighted losses of every stage, over RoIs that it samples anew: `loss_classifier_0` and so on.

        A stage samples from the refined RoIs of the stage before it and the objects. Objects that were RoIs there are
        not refined. No gradient passes through the boxes. The arguments are those of `RoIHeads.losses`.
        """
        losses: dict[str, Tensor] = {}
        groups = groups or LossGroups(len(sizes))
        for k, heads in enumerate(self.stage_heads):
            rois = heads.sample(proposals, boxes, labels)
            terms, deltas = heads.compute_losses(rois, features, masks, groups)
            losses |= {f"{name}_{k}": heads.stage.weight * term for name, term in terms.items()}
            if heads is not self.stages[-1]:
                others = torch.where(~rois.given)[0]
                images = rois.images[others]
                refined = refine(heads, deltas[others], rois.boxes[others], images, sizes)
                proposals = refined.split(images.bincount(minlength=len(sizes)).tolist())
        return losses

    def detect(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        factors: list[tuple[float, float]],
    ) -> list[Instances]:
        """Detect the objects of each image, best first: boxes of the last stage, scores of the stages' mean logits.

        Masks are the mean of all stages' probabilities. The arguments are those of `RoIHeads.detect`.
        """
        counts = [len(image) for image in proposals]
        images = number_images(counts, proposals[0].device)
        rois, logits = proposals, []
        for heads in self.stage_heads:
            stage_logits, deltas = heads.predict_boxes(features, rois)
            logits.append(stage_logits)
            if heads is not self.stages[-1]:
                rois = refine(heads, deltas, torch.cat([*rois]), images, sizes).split(counts)
        selected = heads.select_all(torch.stack(logits).mean(dim=0), deltas, rois, sizes, factors)
        boxes, _, labels = zip(*selected, strict=True)
        masks = [heads.predict_mask_probabilities(features, boxes, labels) for heads in self.stage_heads]
        return assemble_instances(selected, torch.stack(masks).mean(dim=0))


def refine(heads: RoIHeads, deltas: Tensor, rois: Tensor, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Move all `rois` (R, 4) by their class-agnostic `deltas` (R, K + 1, 4), and clip them: (R, 4).

    Args:
        images: int64 (R,), of which of the images, with these `sizes` (height, width), each is.
    """
    return clip_joined(heads.box_coder.decode_single(deltas[:, 0].detach(), rois), images, sizes, heads.inclusive)
