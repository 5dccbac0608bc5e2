"""Mask R-CNN and its cascade on Detectron2's parts: the engine `detectron2`. Importing it needs Detectron2.

Detectron2 calls the parts (`GeneralizedRCNN`, `FPN`, `RPN`, the RoI heads, its structures); subclasses change what
differs from the authors' recipe. The names of the state dict are those of the engine `torchvision`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

from repro.data.coco import DetectionSample
from repro.detection import roi
from repro.detection.detector import DetectorModule
from repro.detection.detectron2.heads import ObjectMasks
from repro.detection.detectron2.initial_weights import InitialWeights
from repro.detection.detectron2.names import to_detectron2, to_own
from repro.detection.detectron2.network import build_config
from repro.detection.grouping import LossGroups
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions
from repro.models.resnet import ResNet

_PREFIX = "rcnn."
#: Detectron2's names of the losses and this project's, in the order in which they are logged.
_LOSSES = {
    "loss_rpn_cls": "loss_rpn_objectness",
    "loss_rpn_loc": "loss_rpn_box",
    "loss_cls": "loss_classifier",
    "loss_box_reg": "loss_box",
    "loss_mask": "loss_mask",
}

PathManager.register_handler(InitialWeights())


class Detectron2MaskRCNN(DetectorModule):
    """The network of `repro.detection.torchvision.MaskRCNN` on Detectron2's parts: `rcnn` is a `GeneralizedRCNN`.

    Its state dict has the names and shapes of that class, so the weights of one fit the other.
    """

    def __init__(self, spec: Detector, conventions: DetectionConventions | None = None) -> None:
        super().__init__(spec, conventions)
        self.rcnn = instantiate(build_config(spec, self.conventions))
        for module in (self.rcnn.proposal_generator, *getattr(self.rcnn.roi_heads, "stages", [self.rcnn.roi_heads])):
            module.generator = self.generator
        self.register_state_dict_post_hook(_rename_saved)
        self.register_load_state_dict_pre_hook(_rename_loaded)
        self.register_load_state_dict_post_hook(_rename_incompatible)

    @property
    def backbone(self) -> ResNet:
        return self.rcnn.backbone.bottom_up

    def losses(self, samples: list[DetectionSample]) -> dict[str, Tensor]:
        inputs = [self._to_input(sample, with_objects=True) for sample in samples]
        images = self.rcnn.preprocess_image(inputs)
        objects = [image["instances"].to(self.rcnn.device) for image in inputs]
        features = self.rcnn.backbone(images.tensor)
        terms: dict[str, Tensor] = {}
        groups = LossGroups(len(samples), self.spec.images_per_loss)
        for part, share in zip(groups.slices, groups.shares, strict=True):
            own = ImageList(images.tensor[part], images.image_sizes[part])
            levels = {name: level[part] for name, level in features.items()}
            with EventStorage():  # Detectron2's parts log to it
                proposals, rpn = self.rcnn.proposal_generator(own, levels, objects[part])
                _, heads = self.rcnn.roi_heads(own, levels, proposals, objects[part])
            terms = {name: terms.get(name, 0) + share * term for name, term in {**heads, **rpn}.items()}
        return {
            f"{_LOSSES[name]}{stage}": terms[f"{name}{suffix}"]
            for suffix, stage in (("", ""), *((f"_stage{k}", f"_{k}") for k in range(3)))
            for name in _LOSSES
            if f"{name}{suffix}" in terms
        }

    @torch.no_grad()
    def find_instances(self, samples: list[DetectionSample]) -> list[roi.Instances]:
        images = self.rcnn.preprocess_image([self._to_input(sample) for sample in samples])
        features = self.rcnn.backbone(images.tensor)
        proposals, _ = self.rcnn.proposal_generator(images, features)
        detections = self.rcnn.roi_heads.detect(
            features, proposals, [self.compute_factors(sample) for sample in samples]
        )
        return [
            roi.Instances(image.pred_boxes.tensor, image.scores, image.pred_classes, image.pred_masks[:, 0])
            for image in detections
        ]

    def _to_input(self, sample: DetectionSample, with_objects: bool = False) -> dict[str, Tensor | Instances]:
        """Convert a sample to the dict that Detectron2's networks take for an image."""
        image = sample.image.flip(0) if self.conventions.color == "BGR" else sample.image
        if not with_objects:
            return {"image": image}
        objects = Instances(
            tuple(image.shape[1:]),
            gt_boxes=Boxes(sample.boxes),
            gt_classes=sample.labels,
            gt_masks=ObjectMasks(sample.masks, self.conventions.inclusive_boxes),
        )
        return {"image": image, "instances": objects}


def _rename_saved(model: nn.Module, weights: dict[str, Tensor], prefix: str, metadata: dict) -> None:
    for name in [name for name in weights if name.startswith(prefix + _PREFIX)]:
        weights[prefix + to_own(name.removeprefix(prefix + _PREFIX))] = weights.pop(name)


def _rename_loaded(model: nn.Module, weights: dict[str, Tensor], prefix: str, *others: object) -> None:
    for name in [name for name in weights if name.startswith(prefix)]:
        weights[prefix + _PREFIX + to_detectron2(name.removeprefix(prefix))] = weights.pop(name)


def _rename_incompatible(model: nn.Module, keys: NamedTuple) -> None:
    for names in keys:  # missing and unexpected ones; the detector is no part of another module
        names[:] = [to_own(name.removeprefix(_PREFIX)) for name in names]
