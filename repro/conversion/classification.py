"""Image classifiers from torchvision, timm and mmpretrain: ResNet and SE-ResNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from repro.conversion.keys import Cause, Converted, Rule, translate
from repro.errors import ReproError
from repro.experiments import SE, Classifier
from repro.models.conventions import CAFFE, PAPER

_CAUSES = (
    Cause(
        "unexpected", r"^(backbone\.)?conv1\.\d|^stem", "the file's stem has several convolutions (ResNet-C, -D, -T)"
    ),
    Cause("missing", r"layer\d\.\d+\.conv1\.", "the file's network has fewer layers"),
    Cause("unexpected", r"layer\d\.\d+\.conv1\.", "the file's network has more layers"),
    Cause("shape", r"conv\d\.weight$", "the file's network has other widths or groups (ResNet or ResNeXt)"),
    Cause(
        "missing", r"context_block|\.se(_module|_layer)?\.", "the network has context blocks where the file has none"
    ),
    Cause("unexpected", r"\.se(_module|_layer)?\.", "the file has SE blocks where the network has no context blocks"),
    Cause("shape", r"\.se(_module|_layer)?\.", "the bottleneck ratios of their context blocks differ"),
    Cause("shape", r"(^|\.)(fc|last_linear)\.", "the file tells other classes apart"),
)
_BLOCK = r"(layer\d\.\d+)\.context_block\.channel_mul_conv"


def convert_torchvision(tensors: Mapping[str, Tensor], network: Classifier) -> Converted:
    """Convert torchvision's ResNets and ResNeXts, whose names are this project's.

    Raises:
        ReproError: the file is of another network.
    """
    require_fields(network.backbone, "torchvision", dimensions=2, stride_in="3x3")
    return translate(tensors, network, PAPER, (), _CAUSES)


def convert_timm(tensors: Mapping[str, Tensor], network: Classifier) -> Converted:
    """Convert timm's ResNets and SE-ResNets, new (`seresnet50`) and from Caffe (`legacy_seresnet50`).

    The SE block is the network's `SE`, after the last 1x1 convolution of every residual block. The legacy networks
    have their strides in the first 1x1 convolution and do not pad before the stem's max-pool.

    Raises:
        ReproError: the file is of another network, or of one that this project does not have.
    """
    if any(".attn." in key or key.startswith("stages.") for key in tensors):
        raise ReproError(
            "weights of timm's gcresnet, gcresnext and their like are not converted: their GC blocks stand after the "
            "3x3 convolution of the residual blocks, on fewer channels, and their stems have several convolutions. No "
            "network of the paper is like that."
        )
    legacy = "layer0.conv1.weight" in tensors
    require_fields(network.backbone, "timm", dimensions=2, stride_in="1x1" if legacy else "3x3")
    name = "se_module" if legacy else "se"
    rules = _build_se_rules(tensors, network, "timm", rf"\1.{name}.fc1.", rf"\1.{name}.fc2.")
    if not legacy:
        return translate(tensors, network, PAPER, rules, _CAUSES)
    stem_and_classifier = (Rule(r"(conv1|bn1)\.", (r"layer0.\1.",)), Rule(r"fc\.", ("last_linear.",)))
    return translate(tensors, network, CAFFE, (*stem_and_classifier, *rules), _CAUSES)


def convert_mmpretrain(tensors: Mapping[str, Tensor], network: Classifier) -> Converted:
    """Convert mmpretrain's (formerly mmclassification's) ResNets and SE-ResNets of its "pytorch" style.

    Raises:
        ReproError: the file is of another network.
    """
    require_fields(network.backbone, "mmpretrain", dimensions=2, stride_in="3x3")
    block = r"backbone.\1.se_layer."
    rules = _build_se_rules(tensors, network, "mmpretrain", f"{block}conv1.conv.", f"{block}conv2.conv.")
    return translate(tensors, network, PAPER, (Rule(r"fc\.", ("head.fc.",)), *rules, Rule("", ("backbone.",))), _CAUSES)


def require_fields(spec: Any, source: str, **values: Any) -> None:
    """Require field `values` of a specification that weights from `source` need and their keys do not show.

    Raises:
        ReproError: a field has another value.
    """
    for name, value in values.items():
        if (own := getattr(spec, name)) != value:
            raise ReproError(
                f"these weights from {source} belong to a network with {name} {value!r}, not {own!r}. If they stand in "
                "for a like experiment, their entry in checkpoints.yaml has to override it."
            )


def _build_se_rules(
    tensors: Mapping[str, Tensor], network: Classifier, source: str, first: str, second: str
) -> tuple[Rule, ...]:
    """Rules for the two convolutions of the file's SE blocks; none if it has no such block.

    Raises:
        ReproError: the network's blocks are not SE blocks, or stand elsewhere in the residual block.
    """
    if not any(part in key for key in tensors for part in (".se.fc", ".se_module.", ".se_layer.")):
        return ()
    if network.backbone.context is not None:
        require_fields(network.backbone.context, source, position="after1x1")
        for name in SE.__dataclass_fields__:
            require_fields(network.backbone.context.block, source, **{name: getattr(SE, name)})
    return Rule(rf"{_BLOCK}\.0\.", (first,)), Rule(rf"{_BLOCK}\.3\.", (second,))
