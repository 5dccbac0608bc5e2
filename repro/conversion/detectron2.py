"""Mask R-CNN from Detectron2's model zoo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from repro.conversion.keys import BACKGROUND_BOX, BACKGROUND_FIRST, BACKGROUND_MASK, Cause, Converted, Rule, translate
from repro.errors import ReproError
from repro.experiments import Detector
from repro.experiments.conventions import DETECTRON2, DetectionConventions

_CASCADE = (
    "Detectron2's cascade is another network: one mask head behind its three box heads, where the paper's has three; "
    "it cannot be converted"
)
_RULES = (
    Rule(r"backbone\.conv1\.", ("backbone.bottom_up.stem.conv1.",)),
    Rule(r"backbone\.bn1\.", ("backbone.bottom_up.stem.conv1.norm.",)),
    *(
        rule
        for layer in (1, 2, 3, 4)
        for rule in (
            Rule(rf"backbone\.layer{layer}\.(\d+)\.bn(\d)\.", (rf"backbone.bottom_up.res{layer + 1}.\1.conv\2.norm.",)),
            Rule(
                rf"backbone\.layer{layer}\.(\d+)\.conv2\.conv_offset\.",
                (rf"backbone.bottom_up.res{layer + 1}.\1.conv2_offset.",),
            ),
            Rule(
                rf"backbone\.layer{layer}\.(\d+)\.downsample\.0\.",
                (rf"backbone.bottom_up.res{layer + 1}.\1.shortcut.",),
            ),
            Rule(
                rf"backbone\.layer{layer}\.(\d+)\.downsample\.1\.",
                (rf"backbone.bottom_up.res{layer + 1}.\1.shortcut.norm.",),
            ),
            Rule(rf"backbone\.layer{layer}\.", (f"backbone.bottom_up.res{layer + 1}.",)),
        )
    ),
    *(
        rule
        for level in range(4)
        for rule in (
            Rule(rf"fpn\.inner_blocks\.{level}\.0\.", (f"backbone.fpn_lateral{level + 2}.",)),
            Rule(rf"fpn\.layer_blocks\.{level}\.0\.", (f"backbone.fpn_output{level + 2}.",)),
        )
    ),
    Rule(r"rpn\.head\.conv\.0\.0\.", ("proposal_generator.rpn_head.conv.",)),
    Rule(r"rpn\.head\.cls_logits\.", ("proposal_generator.rpn_head.objectness_logits.",)),
    Rule(r"rpn\.head\.bbox_pred\.", ("proposal_generator.rpn_head.anchor_deltas.",)),
    Rule(r"roi_heads\.box_head\.fc6\.", ("roi_heads.box_head.fc1.",)),
    Rule(r"roi_heads\.box_head\.fc7\.", ("roi_heads.box_head.fc2.",)),
    Rule(r"roi_heads\.box_predictor\.cls_score\.", ("roi_heads.box_predictor.cls_score.",), BACKGROUND_FIRST),
    Rule(r"roi_heads\.box_predictor\.bbox_pred\.", ("roi_heads.box_predictor.bbox_pred.",), BACKGROUND_BOX),
    *(Rule(rf"roi_heads\.mask_head\.{i}\.0\.", (f"roi_heads.mask_head.mask_fcn{i + 1}.",)) for i in range(4)),
    Rule(r"roi_heads\.mask_predictor\.conv5_mask\.", ("roi_heads.mask_head.deconv.",)),
    Rule(r"roi_heads\.mask_predictor\.mask_fcn_logits\.", ("roi_heads.mask_head.predictor.",), BACKGROUND_MASK),
)
_CAUSES = (
    Cause("unexpected", r"box_head\.\d", _CASCADE),
    Cause("unexpected", r"box_head\.conv\d", "its box head has convolutions (4conv1fc), the paper's two linear layers"),
    Cause("missing", r"^backbone\.fpn", "the file's detector has no feature pyramid"),
    Cause("missing", r"mask_head", "the file's detector has no mask head"),
    Cause("missing", r"res\d\.\d+\.conv1\.", "the file's backbone has fewer layers"),
    Cause("unexpected", r"res\d\.\d+\.conv1\.", "the file's backbone has more layers"),
    Cause("shape", r"res\d\.\d+\.conv\d\.weight", "the file's backbone has other widths or groups (ResNet or ResNeXt)"),
    Cause("missing", r"offset", "the network has deformable convolutions, the file ordinary ones"),
    Cause("unexpected", r"offset", "the file has deformable convolutions, the network ordinary ones"),
    Cause("missing", r"context_block", "the network has context blocks, which Detectron2's have not"),
    Cause("shape", r"cls_score|bbox_pred|predictor", "the file tells other classes apart"),
)
#: What earlier versions saved besides the weights.
_UNUSED = r"^pixel_(mean|std)$|^proposal_generator\.anchor_generator\."


def convert(tensors: Mapping[str, Tensor], network: Detector) -> Converted:
    """Convert a file of the zoo, where background comes last and has neither box nor mask.

    Its ResNets are MSRA's, with the strides in the 1x1 convolutions, and `Converted.network` says so. The inputs of its
    ResNeXts are scaled.

    Raises:
        ReproError: the file is of another network, or the network is a cascade.
    """
    if network.cascade:
        raise ReproError(_CASCADE)
    msra = network.backbone.groups == 1
    network = replace(network, backbone=replace(network.backbone, stride_in="1x1" if msra else "3x3"))
    conventions = DETECTRON2 if msra else replace(DETECTRON2, name="detectron2, ResNeXt", std=(57.375, 57.12, 58.395))
    _check_normalisation(tensors, conventions)
    return translate(tensors, network, conventions, _RULES, _CAUSES, _UNUSED)


def _check_normalisation(tensors: Mapping[str, Tensor], conventions: DetectionConventions) -> None:
    """Compare the normalisation, where the file holds it."""
    for key, expected in (("pixel_mean", conventions.mean), ("pixel_std", conventions.std)):
        if key in tensors and not tensors[key].flatten().allclose(tensors[key].new_tensor(expected), atol=1e-2):
            raise ReproError(
                f"the file's images are normalised otherwise than the zoo's: {key} is {tensors[key].flatten().tolist()}"
                f" instead of {list(expected)}"
            )
