"""How the inputs of published classifiers were made when their accuracy was measured, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from repro.errors import ReproError
from repro.experiments.specification import later


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image, or a video's frames, to the inputs of a network, in this order.

    Values are divided by `maximum`, have `mean` subtracted and are divided by `std`, channel by channel.
    """

    resize: int  #: the short side becomes so many pixels, the aspect ratio is kept
    crop: int  #: side of the square crops, pixels
    crops: Literal[1, 3] = 1  #: the centre; or both ends and the centre of the long side
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    #: pillow widens its filter where it shrinks an image, opencv does not: top-1 moves by 0.1 to 0.3.
    resizer: Literal["pillow", "opencv", "torch"] = "pillow"
    color: Literal["RGB", "BGR"] = "RGB"
    maximum: Literal[1, 255] = 1  #: of the values that `mean` and `std` belong to
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    #: What the outputs 0, 1, ... stand for. wnid: synsets of ILSVRC2012, their ids ascending. label: classes of
    #: Kinetics-400, their labels ascending as printed, with parentheses. Sorted by folder names without those
    #: (torchvision.datasets.Kinetics writes such) classes 308 "skiing (not slalom or crosscountry)" and 309 "skiing
    #: crosscountry" change places: a data set must number its classes by the labels, never by sorting folders.
    class_order: Literal["wnid", "label"] = "wnid"
    frames: int = 1  #: per clip
    stride: int = 1  #: from one frame of a clip to the next, in frames of the video
    clips: int = 1  #: per video; the softmax of all clips and crops is averaged
    #: First frames of the n clips in a video of F frames, where a clip spans S = frames * stride.
    #: middles: of n equal parts of 0..F-S. ends: round(i * (F - S + stride - 1) / (n - 1)), the last clip ending with
    #: the video. fractions: i * (F - S) / n, so that the last clip begins at nine tenths of F - S where n is 10; not
    #: rounded. None: images, or not known.
    clip_starts: Literal["middles", "ends", "fractions"] | None = None
    #: Frames of a clip that begins at s. stride: s, s + stride, ...; videos that are too short are played again. span:
    #: at equal distances from s to s + S - 1, fractions cut off; the last frame of too short a video is repeated.
    clip_frames: Literal["stride", "span"] = later("stride", before="stride")
    #: bytes: values are rounded to 8 bits when an image is resized, then normalised. floats: they are not rounded.
    resizing: Literal["bytes", "floats"] = later("bytes", before="bytes")
    #: Side of the squares of the last feature map over each of which the head pools, side by side at a distance of one
    #: cell; their softmaxes are averaged. None: it pools over the whole map.
    window: int | None = later(None, before=None)

    def describe(self) -> str:
        """Say in words what is done to an image or a clip, for records."""
        image = f"short side {self.resize} by {self.resizer} ({self.interpolation}), crop {self.crop}, {self.color}"
        if self.frames == 1:
            return image
        clips = f"{self.clips} clips of {self.frames} frames at stride {self.stride}, {self.crops} crops"
        windows = "" if self.window is None else f", windows of {self.window} x {self.window} cells"
        return f"{image}, {clips}{windows}"


#: For images, in the networks that are trained here, as [33]. The paper says "single-crop" and no size.
TRAINED_HERE = Preprocessing(resize=256, crop=224)
#: For videos, in the networks that are trained here: as the code of [6] evaluates (`TEST` of SLOW_8x8_R50.yaml with its
#: defaults). Values are normalised as for the ImageNet weights that the networks start from.
CLIPS_TRAINED_HERE = Preprocessing(
    resize=256, crop=256, crops=3, resizer="torch", class_order="label", frames=8, stride=8, clips=10,
    clip_starts="fractions", clip_frames="span", resizing="floats", window=7,
)  # fmt: skip
_TIMM = Preprocessing(resize=256, crop=224, interpolation="bicubic")
_OPENMMLAB = Preprocessing(
    resize=256, crop=224, resizer="opencv", maximum=255, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
)
_MMACTION_0 = replace(
    _OPENMMLAB, crop=256, crops=3, class_order="label", frames=8, stride=8, clips=10, clip_starts="middles"
)
_MMACTION_1 = replace(_MMACTION_0, clip_starts="ends")
_PYTORCHVIDEO = Preprocessing(
    resize=256, crop=256, crops=3, resizer="torch", mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225),
    class_order="label", frames=8, stride=8, clips=10,
)  # fmt: skip

#: By the format of a weights file; `_EXCEPTIONS` go before.
FORMATS = {
    "torchvision": Preprocessing(resize=256, crop=224),
    "timm": _TIMM,
    "mmpretrain": _OPENMMLAB,
    "mmaction2": _MMACTION_1,
    "pytorchvideo": _PYTORCHVIDEO,
}
#: By the registry's ids. Inputs of 224 pixels where a publisher measured several sizes.
_EXCEPTIONS = {
    "timm/legacy_seresnet50.in1k": replace(_TIMM, interpolation="bilinear"),
    **dict.fromkeys(
        ("timm/resnet50.a1_in1k", "timm/seresnet50.a1_in1k", "timm/seresnet50.a2_in1k", "timm/seresnet50.a3_in1k"),
        replace(_TIMM, resize=235),  # timm's crop_pct of 0.95
    ),
    "mmpretrain/se-resnet50": replace(_OPENMMLAB, resizer="pillow"),
    **dict.fromkeys(
        (
            "mmaction2/slowonly_imagenet_pretrained_r50_8x8x1_150e_kinetics400_rgb",
            "mmaction2/slowonly_r50_8x8x1_256e_kinetics400_rgb",
            "mmaction2/slowonly_r50_256p_8x8x1_256e_kinetics400_rgb",
            "mmaction2/slowonly_nl_embedded_gaussian_r50_8x8x1_150e_kinetics400_rgb",
        ),
        _MMACTION_0,
    ),
    **dict.fromkeys(
        (
            "mmaction2/slowonly_imagenet_pretrained_r50_4x16x1_150e_kinetics400_rgb",
            "mmaction2/slowonly_r50_4x16x1_256e_kinetics400_rgb",
            "mmaction2/slowonly_nl_embedded_gaussian_r50_4x16x1_150e_kinetics400_rgb",
        ),
        replace(_MMACTION_0, frames=4, stride=16),
    ),
    **dict.fromkeys(
        (
            "mmaction2/slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb",
            "mmaction2/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb",
            "mmaction2/slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-4x16x1-steplr-150e_kinetics400-rgb",
        ),
        replace(_MMACTION_1, frames=4, stride=16),
    ),
    "pytorchvideo/slow_4x16_r50": replace(_PYTORCHVIDEO, frames=4, stride=16),
}


def preprocessing_for(format: str, entry: str | None = None) -> Preprocessing:
    """How to make test inputs for weights in `format`: those of the registry's `entry`, or of unknown origin.

    Raises:
        ReproError: no classifier is converted from `format`.
    """
    if format not in FORMATS:
        raise ReproError(f"it is not known how inputs for weights in the format {format} are made")
    return _EXCEPTIONS.get(entry or "", FORMATS[format])
