"""Three box and three mask heads, each fed by the boxes of the one before it, as the authors build and train them.

Their framework is mmdetection before 2.0. Detectron2's cascade has one mask head and no stage weights, scales gradients
between the heads and averages class probabilities, not logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.detection.roi import Instances, RoIHeads, Stage, assemble_instances
from repro.experiments import Detector
from repro.experiments.conventions import AUTHORS, DetectionConventions

CASCADE = (
    Stage(0.5, (0.1, 0.1, 0.2, 0.2), "class-agnostic", weight=1.0),
    Stage(0.6, (0.05, 0.05, 0.1, 0.1), "class-agnostic", weight=0.5),
    Stage(0.7, (0.033, 0.033, 0.067, 0.067), "class-agnostic", weight=0.25),
)


class CascadeRoIHeads(nn.Module):
    """The heads of Cascade Mask R-CNN: `stages`, each a complete `RoIHeads`.

    A stage decodes boxes with its own units from the boxes of the stage before it, and judges them by its own IoU.
    """

    def __init__(self, spec: Detector, generator: torch.Generator, conventions: DetectionConventions = AUTHORS) -> None:
        super().__init__()
        self.stages = nn.ModuleList(RoIHeads(spec, generator, conventions, stage) for stage in CASCADE)

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """The weighted losses of every stage, over RoIs that it samples anew: `loss_classifier_0` and so on.

        A stage samples from the refined RoIs of the stage before it and the objects. Objects that were RoIs there are
        not refined. No gradient passes through the boxes. Arguments as of `RoIHeads.losses`.
        """
        losses = {}
        for k, heads in enumerate(self.stages):
            rois = heads.sample(proposals, boxes, labels)
            terms, deltas = heads.compute_losses(rois, features, boxes, masks)
            losses |= {f"{name}_{k}": heads.stage.weight * term for name, term in terms.items()}
            refined = refine(heads, deltas, [image.boxes for image in rois], sizes)
            proposals = [image[~before.given] for image, before in zip(refined, rois, strict=True)]
        return losses

    def detect(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        factors: list[tuple[float, float]],
    ) -> list[Instances]:
        """What stands in each image, best first: boxes of the last stage, scores of the stages' mean logits.

        Masks are the mean of all stages' probabilities. Arguments as of `RoIHeads.detect`.
        """
        rois, logits = proposals, []
        for heads in self.stages:
            stage_logits, deltas = heads.predict_boxes(features, rois)
            logits.append(stage_logits)
            if heads is not self.stages[-1]:
                rois = refine(heads, deltas, rois, sizes)
        found = heads.select_all(torch.stack(logits).mean(dim=0), deltas, rois, sizes, factors)
        where, _, labels = zip(*found, strict=True)
        masks = [heads.predict_mask_probabilities(features, where, labels) for heads in self.stages]
        return assemble_instances(found, torch.stack(masks).mean(dim=0))


def refine(heads: RoIHeads, deltas: Tensor, rois: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Per image: the boxes (k, 4) that class-agnostic `deltas` (R, K + 1, 4) of all `rois` (k, 4) lead to."""
    parts = deltas[:, 0].detach().split([len(image) for image in rois])
    return [heads.decode(*image) for image in zip(parts, rois, sizes, strict=True)]
