"""The detectors of the experiments, as Detectron2's LazyConfig: the engine builds them, an export prints them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from detectron2.config import LazyCall
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from omegaconf import DictConfig

from repro.detection.anchors import ASPECT_RATIOS, STRIDES
from repro.detection.cascade import CASCADE
from repro.detection.detectron2.backbone import FEATURES, FPN, ContextResNet
from repro.detection.detectron2.heads import BoxHead, CascadeROIHeads, MaskHead, OutputLayers, ROIHeads
from repro.detection.detectron2.proposals import RPN, Detectron2Matcher, Detectron2PyramidAnchors, Detectron2RPNHead
from repro.detection.roi import BOX_RESOLUTION, MASK_RESOLUTION, NMS_THRESHOLD, Stage
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions, choose_conventions

_LEVELS = ["p2", "p3", "p4", "p5", "p6"]


def build_config(spec: Detector, conventions: DetectionConventions | None = None) -> DictConfig:
    """Build the configuration of a `GeneralizedRCNN`. Classes that are not Detectron2's own document why.

    The default conventions are those by which the network is trained here.
    """
    conventions = conventions or choose_conventions(spec)
    return LazyCall(GeneralizedRCNN)(
        backbone=LazyCall(FPN)(
            bottom_up=LazyCall(ContextResNet)(spec=_make_lazy(spec.backbone)),
            in_features=list(FEATURES),
            out_channels=spec.fpn_channels,
            top_block=LazyCall(LastLevelMaxPool)(),
        ),
        proposal_generator=_build_proposals(spec, conventions),
        roi_heads=_build_cascade(spec, conventions) if spec.cascade else _build_heads(spec, conventions, Stage()),
        pixel_mean=list(conventions.mean),
        pixel_std=list(conventions.std),
        input_format=conventions.color,
    )


def _build_proposals(spec: Detector, conventions: DetectionConventions) -> DictConfig:
    return LazyCall(RPN)(
        in_features=_LEVELS,
        head=LazyCall(Detectron2RPNHead)(in_channels=spec.fpn_channels, num_anchors=len(ASPECT_RATIOS)),
        anchor_generator=LazyCall(Detectron2PyramidAnchors)(
            sizes=[[spec.anchor_scale * stride] for stride in STRIDES],
            aspect_ratios=list(ASPECT_RATIOS),
            strides=list(STRIDES),
            offset=conventions.anchor_offset,
            rounded=conventions.rounded_anchors,
            inferred_strides=conventions.inferred_strides,
        ),
        anchor_matcher=LazyCall(Detectron2Matcher)(thresholds=[0.3, 0.7], labels=[0, -1, 1], least=0.3),
        box2box_transform=LazyCall(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=spec.rpn_samples,
        positive_fraction=0.5,
        pre_nms_topk=_limit_proposals(spec.proposals_per_level, conventions),
        post_nms_topk=_limit_proposals(spec.proposals, conventions),
        nms_thresh=0.7,
        min_box_size=1e-3,
        smooth_l1_beta=1 / 9,
        inclusive_boxes=conventions.inclusive_boxes,
    )


def _limit_proposals(numbers: tuple[int, int], conventions: DetectionConventions) -> list[int]:
    training, test = numbers
    return [training, conventions.limit_proposals(test)]


def _build_cascade(spec: Detector, conventions: DetectionConventions) -> DictConfig:
    return LazyCall(CascadeROIHeads)(
        stages=[_build_heads(spec, conventions, stage) for stage in CASCADE],
        weights=[stage.weight for stage in CASCADE],
    )


def _build_heads(spec: Detector, conventions: DetectionConventions, stage: Stage) -> DictConfig:
    return LazyCall(ROIHeads)(
        num_classes=spec.num_classes,
        batch_size_per_image=spec.roi_samples,
        positive_fraction=0.25,
        proposal_matcher=LazyCall(Detectron2Matcher)(thresholds=[stage.iou], labels=[0, 1], least=stage.iou),
        box_in_features=_LEVELS[:4],
        box_pooler=_build_pooler(BOX_RESOLUTION, spec, conventions),
        box_head=LazyCall(BoxHead)(
            input_shape=_build_shape(spec.fpn_channels, BOX_RESOLUTION), conv_dims=[], fc_dims=[spec.box_channels] * 2
        ),
        box_predictor=LazyCall(OutputLayers)(
            input_shape=LazyCall(ShapeSpec)(channels=spec.box_channels),
            box2box_transform=LazyCall(Box2BoxTransform)(weights=[1 / deviation for deviation in stage.deviations]),
            num_classes=spec.num_classes,
            cls_agnostic_bbox_reg=stage.boxes == "class-agnostic",
            smooth_l1_beta=1.0,
            test_score_thresh=spec.score_threshold,
            test_nms_thresh=NMS_THRESHOLD,
            test_topk_per_image=spec.detections,
            inclusive_boxes=conventions.inclusive_boxes,
        ),
        mask_in_features=_LEVELS[:4],
        mask_pooler=_build_pooler(MASK_RESOLUTION, spec, conventions),
        mask_head=LazyCall(MaskHead)(
            input_shape=_build_shape(spec.fpn_channels, MASK_RESOLUTION),
            num_classes=spec.num_classes,
            conv_dims=[spec.mask_channels] * 5,
        ),
    )


def _build_pooler(resolution: int, spec: Detector, conventions: DetectionConventions) -> DictConfig:
    return LazyCall(ROIPooler)(
        output_size=resolution,
        scales=[1 / stride for stride in STRIDES[:4]],
        sampling_ratio=conventions.sampling,
        pooler_type="ROIAlignV2" if conventions.aligned else "ROIAlign",
        canonical_box_size=28 * spec.anchor_scale,  # as `repro.detection.pooling.PyramidRoIAlign`
    )


def _build_shape(channels: int, resolution: int) -> DictConfig:
    return LazyCall(ShapeSpec)(channels=channels, height=resolution, width=resolution)


def _make_lazy(value: Any) -> Any:
    """Turn a specification into the lazy call that makes it, with the fields that differ from their defaults."""
    if isinstance(value, tuple):
        return [_make_lazy(item) for item in value]
    if not is_dataclass(value):
        return value
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    defaults = {field.name: field.default for field in fields(value)}
    return LazyCall(type(value))(**{name: _make_lazy(own) for name, own in given.items() if own != defaults[name]})
