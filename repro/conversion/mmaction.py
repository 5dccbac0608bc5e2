"""Slow-only networks for clips, from mmaction2 and pytorchvideo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from repro.conversion.classification import require_fields
from repro.conversion.keys import Cause, Converted, Rule, translate
from repro.errors import ReproError
from repro.experiments import Backbone, Classifier, NonLocal
from repro.models.conventions import MMCV, PAPER
from repro.models.resnet import locate_context_blocks

_CAUSES = (
    Cause("missing", r"\.layer\d\.\d+\.conv1\.|branch2\.conv_a\.", "the file's network has fewer layers"),
    Cause("unexpected", r"\.layer\d\.\d+\.conv1\.|branch2\.conv_a\.", "the file's network has more layers"),
    Cause("shape", r"conv1\.conv\.weight|conv_a\.weight", "the file's convolutions span other numbers of frames"),
    Cause("missing", r"non_local_block|context_block", "the network has context blocks where the file has none"),
    Cause("shape", r"fc_cls|proj", "the file tells other classes apart"),
)
_BLOCK = r"(layer\d\.\d+)\."
_NON_LOCAL = rf"{_BLOCK}context_block\."
_THEIRS = r"backbone.\1.non_local_block."
_MMACTION = (
    Rule(r"fc\.", ("cls_head.fc_cls.",)),
    Rule(r"conv1\.", ("backbone.conv1.conv.",)),
    Rule(r"bn1\.", ("backbone.conv1.bn.",)),
    Rule(rf"{_BLOCK}conv(\d)\.", (r"backbone.\1.conv\2.conv.",)),
    Rule(rf"{_BLOCK}bn(\d)\.", (r"backbone.\1.conv\2.bn.",)),
    Rule(rf"{_BLOCK}downsample\.0\.", (r"backbone.\1.downsample.conv.",)),
    Rule(rf"{_BLOCK}downsample\.1\.", (r"backbone.\1.downsample.bn.",)),
    Rule(rf"{_NON_LOCAL}theta\.", (f"{_THEIRS}theta.conv.",)),
    Rule(rf"{_NON_LOCAL}(phi|g)\.", (r"backbone.\1.non_local_block.\2.0.conv.",)),
    Rule(rf"{_NON_LOCAL}conv_out\.", (f"{_THEIRS}conv_out.conv.",)),
    Rule(rf"{_NON_LOCAL}norm\.", (f"{_THEIRS}conv_out.bn.",)),
)
_PYTORCHVIDEO = (
    Rule(r"fc\.", ("blocks.5.proj.",)),
    Rule(r"conv1\.", ("blocks.0.conv.",)),
    Rule(r"bn1\.", ("blocks.0.norm.",)),
    *(
        Rule(rf"layer(\d)\.(\d+)\.{own}\.", (rf"blocks.\1.res_blocks.\2.{theirs}.",))
        for own, theirs in {
            **{f"conv{i}": f"branch2.conv_{letter}" for i, letter in enumerate("abc", 1)},
            **{f"bn{i}": f"branch2.norm_{letter}" for i, letter in enumerate("abc", 1)},
            r"downsample\.0": "branch1_conv",
            r"downsample\.1": "branch1_norm",
        }.items()
    ),
)


def convert_mmaction2(tensors: Mapping[str, Tensor], network: Classifier) -> Converted:
    """Convert mmaction2's SlowOnly ResNets, plain or with embedded-Gaussian non-local blocks.

    Those are mmaction2's with `use_scale` and `sub_sample`: both stand in the configurations of its SlowOnly networks.
    (Those of its I3D and TSM do without the scale; they are not converted.)
    The network must say where those blocks stand: in mmaction2's files after the residual blocks 0 and 2 of c3 and 0, 2
    and 4 of c4; in the paper after 1 and 3, and 1, 3 and 5. They sub-sample behind phi and g (the conventions `MMCV`),
    and their last convolution has no bias, which the batch norm behind it would take back in training.

    Raises:
        ReproError: the file is of another network; or of TSM, I3D or SlowFast, which this project does not have.
    """
    _refuse_others(tensors)
    require_fields(network.backbone, "mmaction2", dimensions=3, stride_in="3x3")
    if not any(".non_local_block." in key for key in tensors):
        return translate(tensors, network, PAPER, _MMACTION, _CAUSES)
    _check_blocks(tensors, network.backbone)
    absent = {
        key.replace("conv_out.bn.bias", "conv_out.conv.bias"): tensors[key].new_zeros(tensors[key].shape)
        for key in tensors
        if re.search(r"\.non_local_block\.conv_out\.bn\.bias$", key)
    }
    converted = translate({**absent, **tensors}, network, MMCV, _MMACTION, _CAUSES)
    zeros = (f"{key}: zeros, the file has none" for key in absent if key not in tensors)
    return replace(converted, reshaped=(*converted.reshaped, *zeros))


def convert_pytorchvideo(tensors: Mapping[str, Tensor], network: Classifier) -> Converted:
    """Convert pytorchvideo's `slow_r50`.

    Its head averages windows of 7x7 positions, then the classes' logits of the windows: the same as this project's
    global average for crops of 224, not for the crops of 256 that its authors tested.

    Raises:
        ReproError: the file is of another network.
    """
    require_fields(network.backbone, "pytorchvideo", dimensions=3, stride_in="3x3")
    return translate(tensors, network, PAPER, _PYTORCHVIDEO, _CAUSES)


def _check_blocks(tensors: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Check that the network has the file's non-local blocks, and where the file has them."""
    if backbone.context is None or not isinstance(backbone.context.block, NonLocal):
        raise ReproError("the file has non-local blocks, the network has none")
    require_fields(
        backbone.context.block,
        "mmaction2",
        instantiation="embedded_gaussian",
        reduction=2,
        subsample=True,
        output_norm=True,
        scaled=True,
    )
    require_fields(backbone.context, "mmaction2", position="afterReLU")
    matches = (re.match(r"backbone\.layer(\d)\.(\d+)\.non_local_block\.", key) for key in tensors)
    theirs = sorted({(f"c{int(match[1]) + 1}", int(match[2])) for match in matches if match})
    if theirs != (own := sorted(locate_context_blocks(backbone.context, backbone.blocks))):
        raise ReproError(
            f"the file's non-local blocks stand behind the residual blocks {_list_sites(theirs)}, the network's behind "
            f"{_list_sites(own)}: their entry in checkpoints.yaml has to override the network's sites."
        )


def _list_sites(sites: list[tuple[str, int]]) -> str:
    return ", ".join(f"{block} of {stage}" for stage, block in sites)


def _refuse_others(tensors: Mapping[str, Tensor]) -> None:
    stem = tensors.get("backbone.conv1.conv.weight")
    if any(key.startswith("backbone.slow_path.") for key in tensors):
        other = "SlowFast has a second pathway"
    elif stem is not None and stem.dim() == 4:
        other = "its network is one for images whose channels are shifted in time (TSM)"
    elif stem is not None and stem.dim() == 5 and stem.shape[2] != 1:
        other = f"the first convolution of its network spans {stem.shape[2]} frames (I3D)"
    else:
        return
    raise ReproError(f"the file is not of a slow-only network: {other}. The paper has none like it.")
