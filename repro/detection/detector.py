"""What the detectors of all engines have in common: from samples to losses or detections."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from repro.data.coco import Detections, DetectionSample, compute_scale
from repro.detection.boxes import clip, rescale
from repro.detection.masks import encode, prepare
from repro.detection.roi import Instances
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions, choose_conventions

if TYPE_CHECKING:
    from repro.models.resnet import ResNet


class DetectorModule(nn.Module):
    """A detector, however it is assembled.

    In training mode a call gives the losses of a batch, in evaluation mode its detections. Boxes are continuous
    coordinates: a pixel is the square from x to x + 1, and a box around it is (x, y, x + 1, y + 1).

    Args:
        spec: widths, sizes and thresholds.
        conventions: those that the weights were trained with. Default: those by which the network is trained here.
    """

    if TYPE_CHECKING:  # a property for type checkers alone: nn.Module finds submodules where the class has no attribute

        @property
        def backbone(self) -> ResNet:
            """The network whose features the pyramid takes."""

    def __init__(self, spec: Detector, conventions: DetectionConventions | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.conventions = conventions or choose_conventions(spec)
        self._generator = torch.Generator(device="cpu")

    @property
    def generator(self) -> torch.Generator:
        """Source of all randomness of training: which anchors and RoIs enter the losses. Seed it, or set its state."""
        return self._generator

    def forward(self, samples: list[DetectionSample]) -> dict[str, Tensor] | list[Detections]:
        """Return `losses` in training mode, and what `predict` does in evaluation mode."""
        return self.losses(samples) if self.training else self.predict(samples)

    def compile(self, **options: Any) -> None:
        """Have the backbone's features compiled by torch.compile, once for all sizes of images, and no more of it.

        Proposals and RoIs differ in number from image to image.

        Args:
            options: of torch.compile.
        """
        backbone = self.backbone
        compiled = torch.compile(backbone.features, dynamic=True, **options)
        backbone.features = compiled  # type: ignore[method-assign]  # of this network alone

    @abstractmethod
    def losses(self, samples: list[DetectionSample]) -> dict[str, Tensor]:
        """The terms whose sum is minimised, each a scalar averaged over the batch. Images without objects are fine.

        With `spec.images_per_loss`, each is the mean of those of groups of so many images (the last may be smaller),
        weighted by the number of images. Needs training mode.
        """

    @abstractmethod
    def find_instances(self, samples: list[DetectionSample]) -> list[Instances]:
        """Find the objects of each image, best first, in the pixels of the resized images. Needs evaluation mode."""

    @torch.no_grad()
    def predict(self, samples: list[DetectionSample]) -> list[Detections]:
        """Find the objects of each image, best first, in the pixels of the original images. Needs evaluation mode."""
        images = zip(self.find_instances(samples), samples, strict=True)
        return [self.to_original(instances, sample) for instances, sample in images]

    def compute_factors(self, sample: DetectionSample) -> tuple[float, float]:
        """How many times as (high, wide) the original image is as the resized one.

        The two differ a little, because sizes are whole pixels. Where boxes are inclusive, both are the exact factor.
        """
        if self.conventions.inclusive_boxes:
            factor = 1 / compute_scale(*sample.size, self.spec.short_side, self.spec.long_side)
            return factor, factor
        height, width = sample.image.shape[1:]
        return sample.size[0] / height, sample.size[1] / width

    def to_original(self, instances: Instances, sample: DetectionSample) -> Detections:
        """Move `instances` of the resized image of `sample` to the pixels of the original one."""
        inclusive = self.conventions.inclusive_boxes
        boxes = rescale(instances.boxes, self.compute_factors(sample), inclusive)
        if not inclusive:
            boxes = clip(boxes, sample.size, inclusive=False)
        return Detections(
            image_id=sample.image_id,
            boxes=boxes.cpu().numpy(),
            scores=instances.scores.cpu().numpy(),
            labels=instances.labels.cpu().numpy(),
            masks=encode(
                *prepare(instances.masks, boxes, self.conventions),
                sample.size,
                above=self.conventions.whole_pixel_masks,
            ),
        )
