"""torchvision's `maskrcnn_resnet50_fpn`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from repro.conversion.keys import Cause, Converted, Rule, TensorChange, translate
from repro.errors import ReproError
from repro.experiments import Detector
from repro.experiments.conventions import TORCHVISION

#: Its outputs are COCO's category ids, of which ten were never given to a class; 0 is the background.
NAMES = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
USED = [id_ for id_, name in enumerate(NAMES) if name != "N/A"]
#: The epsilon of batch norm. torchvision's frozen batch norm, which has no counter of batches, has none.
EPSILON = 1e-5


def _select_used(rows: int) -> TensorChange:
    """A change that leaves out what belongs to no class, where there are `rows` rows a category id."""

    def make(tensor: Tensor) -> Tensor:
        if len(tensor) != rows * len(NAMES):
            return tensor
        return tensor.unflatten(0, (len(NAMES), rows))[USED].flatten(0, 1)

    return TensorChange(
        make, f"the rows of the {len(USED) - 1} categories and the background taken of those of {len(NAMES)}"
    )


# Since torchvision 0.13 each of these convolutions is wrapped in a sequence; the published file is older.
_RULES = (
    Rule(r"backbone\.", ("backbone.body.",)),
    Rule(r"fpn\.(\w+_blocks\.\d)\.0\.", (r"backbone.fpn.\1.0.", r"backbone.fpn.\1.")),
    Rule(r"rpn\.head\.conv\.0\.0\.", ("rpn.head.conv.0.0.", "rpn.head.conv.")),
    *(
        Rule(
            rf"roi_heads\.mask_head\.{i}\.0\.", (f"roi_heads.mask_head.{i}.0.", f"roi_heads.mask_head.mask_fcn{i + 1}.")
        )
        for i in range(4)
    ),
    Rule(r"(roi_heads\.box_predictor\.cls_score\.)", (r"\1",), _select_used(1)),
    Rule(r"(roi_heads\.box_predictor\.bbox_pred\.)", (r"\1",), _select_used(4)),
    Rule(r"(roi_heads\.mask_predictor\.mask_fcn_logits\.)", (r"\1",), _select_used(1)),
)
_CAUSES = (
    Cause(
        "unexpected",
        r"box_head\.\d",
        "the file is of maskrcnn_resnet50_fpn_v2, whose box head has four convolutions and one linear layer",
    ),
    Cause("missing", r"mask_head", "the file's detector has no mask head"),
    Cause("missing", r"layer\d\.\d+\.conv1\.", "the file's backbone has fewer layers"),
    Cause("unexpected", r"layer\d\.\d+\.conv1\.", "the file's backbone has more layers"),
    Cause("shape", r"^backbone\.body\..*conv\d\.weight", "the file's backbone has other widths or groups"),
    Cause("missing", r"offset", "the network has deformable convolutions, the file ordinary ones"),
    Cause("missing", r"context_block", "the network has context blocks, which torchvision's have not"),
    Cause("shape", r"cls_score|bbox_pred|mask_fcn_logits", "the file tells other classes apart"),
)


def convert(tensors: Mapping[str, Tensor], network: Detector) -> Converted:
    """Convert `MaskRCNN_ResNet50_FPN_Weights.COCO_V1`, in the layout of any version of torchvision.

    Raises:
        ReproError: the file is of another network, or the network is a cascade.
    """
    if network.cascade:
        raise ReproError("torchvision has no cascade: its weights are those of a plain Mask R-CNN")
    converted = translate(tensors, network, TORCHVISION, _RULES, _CAUSES)
    if any(key.endswith("num_batches_tracked") for key in tensors):
        return converted  # batch norm proper, with an epsilon
    scaled = {
        key.replace("running_var", "weight"): _add_epsilon(converted.tensors, key)
        for key in converted.tensors
        if key.endswith(".running_var")
    }
    how = f"times sqrt((running_var + {EPSILON:g}) / running_var): torchvision runs these weights with an epsilon of 0"
    reshaped = [f"{key.replace('backbone.', 'backbone.body.', 1)}: {how}" for key in scaled]
    return replace(converted, tensors=converted.tensors | scaled, reshaped=(*reshaped, *converted.reshaped))


def _add_epsilon(tensors: Mapping[str, Tensor], variance: str) -> Tensor:
    """The weight of the batch norm whose running variance has the key `variance`.

    The weight is changed, not the variance: some variances of channels that are never active are below 1e-40, and a sum
    with an epsilon in float32 would lose them.
    """
    weight, value = tensors[variance.replace("running_var", "weight")], tensors[variance].to(torch.float64)
    return (weight * ((value + EPSILON) / value).sqrt()).to(weight.dtype)
