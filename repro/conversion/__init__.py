"""Weights that other frameworks saved, as the state dicts of this project's networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from repro.checkpoints import CONVERTER as CONVERTER
from repro.checkpoints.pickle_standins import Refused
from repro.checkpoints.prefixes import describe_prefix
from repro.checkpoints.tensors import require_sound
from repro.conversion import classification, detectron2, mmaction, mmdetection, own, torchvision
from repro.conversion.keys import Converted
from repro.conversion.networks import construct
from repro.errors import ReproError, unknown
from repro.experiments import Classifier, Detector


@dataclass(frozen=True)
class Format:
    """A framework's way to name and lay out the tensors of its networks."""

    mark: str | None  #: regular expression that keys of such files alone match; None: nothing tells them from others
    detector: Callable[[Mapping[str, Tensor], Detector], Converted] | None = None  #: converts those of detectors
    classifier: Callable[[Mapping[str, Tensor], Classifier], Converted] | None = None  #: and those of classifiers


FORMATS = {
    "gcnet-repro": Format(
        r"fpn\.inner_blocks\.|layer\d\.\d+\.context_block\.", detector=own.convert, classifier=own.convert
    ),
    "mmdetection1": Format(r"bbox_head\.", detector=mmdetection.convert_version1),
    "mmdetection2": Format(r"roi_head\.bbox_head\.", detector=mmdetection.convert_version2),
    "detectron2": Format(r"backbone\.bottom_up\.", detector=detectron2.convert),
    "torchvision-detection": Format(r"backbone\.body\.", detector=torchvision.convert),
    "torchvision": Format(None, classifier=classification.convert_torchvision),
    "timm": Format(r"layer0\.conv1\.weight$|layer\d\.\d+\.se\.", classifier=classification.convert_timm),
    "mmpretrain": Format(r"head\.fc\.", classifier=classification.convert_mmpretrain),
    "mmaction2": Format(r"cls_head\.fc_cls\.", classifier=mmaction.convert_mmaction2),
    "pytorchvideo": Format(r"blocks\.\d\.res_blocks\.", classifier=mmaction.convert_pytorchvideo),
}

#: Formats of public files that are left out, and why.
NOT_CONVERTED = {
    "paddle": "Paddle's files are not read here, and the backbone of its networks (ResNet-vd) is not built",
    "maskrcnn-benchmark": "none of its files has a published hash, nor a row that others do not serve",
    "cgnl": "compact generalised non-local blocks group channels with positions; no network of the paper has them",
    "caffe2": "the channel order of the networks that Caffe2 trained is not established",
    "pyslowfast": "none of its files is of a row that others do not serve, and none has a published hash",
    "mmaction": "the names in files of mmaction (2020) are not known here, and the host that had them is gone",
}


def recognise(tensors: Mapping[str, Tensor]) -> str:
    """Recognise the format of a file of unknown origin by its keys.

    Raises:
        ReproError: they fit no format, or more than one.
    """
    names = [
        name for name, format in FORMATS.items() if format.mark and any(re.match(format.mark, key) for key in tensors)
    ]
    if not names and "layer1.0.conv1.weight" in tensors:
        raise ReproError(
            "a plain ResNet has the same keys from torchvision, timm and this project, and each wants other inputs: "
            "say which with --weights torchvision=FILE, timm=FILE or gcnet-repro=FILE"
        )
    if len(names) != 1:
        raise ReproError(
            f"the framework of these weights cannot be told from keys such as {next(iter(tensors), '(none at all)')}; "
            f"these formats are understood: {', '.join(FORMATS)}.{describe_prefix(tensors)}"
        )
    return names[0]


def convert(tensors: Mapping[str, Tensor], format: str, network: Detector | Classifier) -> Converted:
    """Convert the `tensors` of a file in `format` for `network`. What need not change is not copied.

    Raises:
        ReproError: the format is unknown, not converted here or of another kind of network; or a key is missing,
            unexpected or of another shape for no known reason: the file is of another network.
    """
    if format in NOT_CONVERTED:
        raise ReproError(f"weights in the format {format} are not converted: {NOT_CONVERTED[format]}")
    if format not in FORMATS:
        raise unknown("format of weights", format, FORMATS)
    known = FORMATS[format]
    if isinstance(network, Detector) and known.detector:
        converted = known.detector(tensors, network)
    elif isinstance(network, Classifier) and known.classifier:
        converted = known.classifier(tensors, network)
    else:
        raise ReproError(f"weights in the format {format} are not those of a {type(network).__name__.lower()}")
    return replace(converted, format=format)


def build(converted: Converted, engine: str = "torchvision") -> nn.Module:
    """Build the network with its weights, in evaluation mode; `engine` assembles a detector.

    Raises:
        ReproError: a tensor is one that no network can have: a negative variance under whichever name the file has it,
            or what converting made infinite.
    """
    for key, tensor in converted.tensors.items():
        try:
            require_sound(key, tensor)
        except Refused as error:
            raise ReproError(f"weights in the format {converted.format}, converted: {error}. {error.advice}") from None
    model = construct(converted.network, converted.conventions, engine)
    missing, unexpected = model.load_state_dict(converted.tensors, strict=False)
    if unexplained := {*missing, *unexpected} - {*converted.missing}:
        raise ReproError(f"the converted weights are not those of their network: {min(unexplained)}")
    return model.eval()
