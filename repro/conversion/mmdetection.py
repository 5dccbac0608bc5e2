"""Mask R-CNN and its cascade from mmdetection: before 2.0, as the authors' files, and since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from repro.conversion.keys import BACKGROUND_BOX, BACKGROUND_FIRST, BACKGROUND_MASK, Cause, Converted, Rule, translate
from repro.experiments import Detector
from repro.experiments.conventions import MMDETECTION_1, MMDETECTION_2

#: Deformable convolutions named their offsets' otherwise until the summer of 2019.
_OFFSET = (r"\1.conv2_offset.", r"\1.conv2.conv_offset.")
_COMMON = (
    Rule(r"(backbone\.layer\d\.\d+)\.conv2\.conv_offset\.", _OFFSET),
    Rule(r"fpn\.inner_blocks\.(\d)\.0\.", (r"neck.lateral_convs.\1.conv.",)),
    Rule(r"fpn\.layer_blocks\.(\d)\.0\.", (r"neck.fpn_convs.\1.conv.",)),
    Rule(r"rpn\.head\.conv\.0\.0\.", ("rpn_head.rpn_conv.",)),
    Rule(r"rpn\.head\.cls_logits\.", ("rpn_head.rpn_cls.",)),
    Rule(r"rpn\.head\.bbox_pred\.", ("rpn_head.rpn_reg.",)),
)
_CAUSES = (
    Cause("unexpected", r"shared_convs", "its box head has convolutions (4conv1fc), the paper's two linear layers"),
    Cause("unexpected", r"\bbbox_head\.\d", "the file is of a cascade, the network is not one"),
    Cause("missing", r"\bbbox_head\.\d", "the network is a cascade, the file is not of one"),
    Cause("missing", r"^backbone\.layer\d\.\d+\.conv1\.", "the file's backbone has fewer layers"),
    Cause("unexpected", r"^backbone\.layer\d\.\d+\.conv1\.", "the file's backbone has more layers"),
    Cause(
        "shape", r"^backbone\..*conv\d\.weight", "the file's backbone has other widths or groups (ResNet or ResNeXt)"
    ),
    Cause("missing", r"offset", "the network has deformable convolutions, the file ordinary ones"),
    Cause("unexpected", r"offset", "the file has deformable convolutions, the network ordinary ones"),
    Cause("shape", r"offset", "the file's deformable convolutions are of another kind (modulated, v2)"),
    Cause("missing", r"context_block", "the network has context blocks where the file has none"),
    Cause("unexpected", r"context_block", "the file has context blocks where the network has none"),
    Cause("shape", r"context_block", "the bottleneck ratios of their context blocks differ"),
    Cause("shape", r"fc_cls|fc_reg|conv_logits", "the file tells other classes apart"),
)


def convert_version1(tensors: Mapping[str, Tensor], network: Detector) -> Converted:
    """Convert a file of mmdetection before 2.0. Its heads have background first, as the network's.

    Raises:
        ReproError: the file is of another network.
    """
    causes = (Cause("unexpected", r"^roi_head\.", "the file is of mmdetection 2 or later"), *_CAUSES)
    return translate(tensors, network, MMDETECTION_1, (*_COMMON, *_build_head_rules(network, "")), causes)


def convert_version2(tensors: Mapping[str, Tensor], network: Detector) -> Converted:
    """Convert a file of mmdetection since 2.0, where background comes last and has neither box nor mask.

    A backbone with its strides in the 1x1 convolutions is one of its "caffe" style: MSRA's, whose inputs are BGR and
    not scaled.

    Raises:
        ReproError: the file is of another network.
    """
    conventions = MMDETECTION_2
    if network.backbone.stride_in == "1x1":
        conventions = replace(
            conventions,
            name="mmdetection 2, caffe style",
            color="BGR",
            mean=conventions.mean[::-1],
            std=(1.0, 1.0, 1.0),
        )
    causes = (Cause("unexpected", r"^(bbox|mask)_head\.", "the file is of mmdetection before 2.0"), *_CAUSES)
    rules = (*_COMMON, *_build_head_rules(network, "roi_head.", background_last=True))
    return translate(tensors, network, conventions, rules, causes)


def _build_head_rules(network: Detector, prefix: str, background_last: bool = False) -> list[Rule]:
    own, index = (r"roi_heads\.stages\.(\d)\.", r"\1.") if network.cascade else (r"roi_heads\.()", r"\1")
    box, mask = f"{prefix}bbox_head.{index}", f"{prefix}mask_head.{index}"
    classes, boxes, masks = (BACKGROUND_FIRST, BACKGROUND_BOX, BACKGROUND_MASK) if background_last else (None,) * 3
    if network.cascade:
        boxes = None  # four rows for all classes
    return [
        Rule(rf"{own}box_head\.fc6\.", (f"{box}shared_fcs.0.",)),
        Rule(rf"{own}box_head\.fc7\.", (f"{box}shared_fcs.1.",)),
        Rule(rf"{own}box_predictor\.cls_score\.", (f"{box}fc_cls.",), classes),
        Rule(rf"{own}box_predictor\.bbox_pred\.", (f"{box}fc_reg.",), boxes),
        Rule(rf"{own}mask_head\.(\d)\.0\.", (rf"{mask}convs.\2.conv.",)),
        Rule(rf"{own}mask_predictor\.conv5_mask\.", (f"{mask}upsample.",)),
        Rule(rf"{own}mask_predictor\.mask_fcn_logits\.", (f"{mask}conv_logits.",), masks),
    ]
