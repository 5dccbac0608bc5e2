"""What an experiment is made of: a network, its context blocks and a recipe, as frozen plain data.

Nothing heavy is imported. `models/` and `detection/` build networks from these, `engine/` follows the recipes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

STAGES = ("c2", "c3", "c4", "c5")


def later(default: Any, *, before: Any) -> Any:
    """A field of a specification that was added when there were measurements already.

    Args:
        default: its value where an experiment does not set it.
        before: the value that says what was done before there was the field. An experiment that has it keeps its hash,
            and with it what was measured of it.
    """
    return field(default=default, metadata={"before": before})


def recorded(default: Any) -> Any:
    """A field of a specification that says nothing of what is measured: no part of its hash, nor of a comparison."""
    return field(default=default, compare=False, metadata={"hashed": False})


def canonical(value: object) -> Any:
    """What a specification says, in JSON's types, for its hash: fields that were added later only where they differ.

    A function is said by its name: what it does is said by the hash of its source (`SourceCode`).

    >>> canonical(Insertion(NonLocal("gaussian"), position="afterReLU"))["position"]
    'afterAdd'
    """
    if is_dataclass(value) and not isinstance(value, type):
        written = {}
        for each in fields(value):
            if not each.metadata.get("hashed", True):
                continue
            content = getattr(value, each.name)
            if "before" not in each.metadata or content != each.metadata["before"]:
                written[each.name] = each.metadata.get("written", {}).get(content, canonical(content))
        return written
    if isinstance(value, (tuple, list)):
        return [canonical(item) for item in value]
    if isinstance(value, functools.partial):
        given = {name: canonical(content) for name, content in value.keywords.items()}
        return {"function": canonical(value.func), "arguments": canonical(value.args), "keywords": given}
    return name_factory(value) if callable(value) else value


def name_factory(factory: Callable[..., Any]) -> str:
    """Name a function or a class as its source does: `CoordinateAttention`."""
    if isinstance(factory, functools.partial):
        return name_factory(factory.func)
    return getattr(factory, "__qualname__", None) or type(factory).__qualname__


@dataclass(frozen=True)
class NonLocal:
    """A non-local block, Eq. 1 and the four instantiations of Section 3.1."""

    instantiation: Literal["gaussian", "embedded_gaussian", "dot_product", "concat"] = "embedded_gaussian"
    reduction: int = 2  #: inner width is channels // reduction
    subsample: bool = True  #: 2x2 (1x2x2 in video) max-pool before phi and g
    output_norm: bool = False  #: batch norm after the output convolution, as in the video networks
    #: The logits of the softmax (gaussian, embedded_gaussian) divided by the square root of the number of their terms,
    #: as the code of [31] and [6] has it. Eq. 1 prints no scale. The other two instantiations have no softmax.
    scaled: bool = later(True, before=False)
    #: `scaled` multiplies by that root instead, as the block of the authors' later code does, whose exponent has the
    #: wrong sign.
    inverted: bool = later(False, before=False)
    #: Random weights of the convolutions. normal: a standard deviation of 0.01, as the code of [31]; msra: He's by
    #: fan-out, as that of [6]; both with biases of zero. default: those of PyTorch's layers.
    initial: Literal["normal", "msra", "default"] = later("normal", before="default")


@dataclass(frozen=True)
class GlobalContext:
    """A block of the general framework, Eq. 4. The defaults are the GC block, Eq. 5."""

    pooling: Literal["att", "avg"] = "att"
    ratio: int | None = 16  #: bottleneck ratio; None is a single 1x1 convolution ("w/o ratio")
    layer_norm: bool = True
    relu: bool = True
    fusion: Literal["add", "scale"] = "add"
    #: Of the transform's convolutions. DNL-Object-Detection's SNL block has none, but Table 2(d) prints 64.4M
    #: parameters, and there are 64,352,322 with biases and 64,337,986 without.
    bias: bool = later(True, before=True)
    #: zero: the last convolution of the transform starts from zeros, as in the authors' block. normal: all convolutions
    #: from a standard deviation of 0.01 and biases of zero, as the SNL block of DNL-Object-Detection, of 2020.
    initial: Literal["zero", "normal"] = later("zero", before="zero")


SNL = GlobalContext(ratio=None, layer_norm=False, relu=False)  #: simplified non-local block, Eq. 3
GC = GlobalContext()  #: global context block, Eq. 5
SE = GlobalContext(pooling="avg", layer_norm=False, fusion="scale")  #: squeeze-excitation as published, Fig. 4(c)

#: (stage, block): one residual block, counted from zero or from the end; (stage, None): all blocks of the stage.
Site = tuple[str, int | None]
ALL_STAGES: tuple[Site, ...] = (("c3", None), ("c4", None), ("c5", None))
#: "right before the last residual block of c4": after the last but one.
BEFORE_LAST_OF_C4: tuple[Site, ...] = (("c4", -2),)
#: Five blocks of the video networks: every other block of res3 and res4.
FIVE_OF_C3_C4: tuple[Site, ...] = (("c3", 1), ("c3", 3), ("c4", 1), ("c4", 3), ("c4", 5))


#: A block of the user's own: a function, or a class, that is given the number of channels and the number of dimensions
#: of positions (2 for images, 3 for clips), and returns a `torch.nn.Module` from feature maps to equally large ones.
BlockFactory = Callable[[int, int], Any]


@dataclass(frozen=True)
class Insertion:
    """Which context block stands where in a backbone (Section 5.1.1, "Positions" and "Stages")."""

    block: NonLocal | GlobalContext | BlockFactory
    sites: tuple[Site, ...] = ALL_STAGES
    #: after1x1: inside the residual block, before the addition. afterAdd: between the addition and the last ReLU.
    #: afterReLU: behind the residual block. Until 2026 "afterAdd" was written for what is now called afterReLU, and
    #: hashes still read so.
    position: Literal["after1x1", "afterAdd", "afterReLU"] = field(
        default="after1x1", metadata={"written": {"afterAdd": "afterAdd before ReLU", "afterReLU": "afterAdd"}}
    )


@dataclass(frozen=True)
class Backbone:
    """A ResNet or ResNeXt, in 2-D or inflated to 3-D."""

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64  #: channels of the stem; c5 has 32 times as many
    groups: int = 1
    width_per_group: int = 64
    stride_in: Literal["1x1", "3x3"] = "3x3"
    norm: Literal["bn", "sync", "frozen", "eval"] = "bn"
    frozen: tuple[str, ...] = ()  #: of c1..c5, those whose parameters are not trained
    #: What their batch norms normalise with in training: running, the statistics that they have, which stay; batch, the
    #: statistics of the batch, and the running ones follow.
    frozen_statistics: Literal["running", "batch"] = later("running", before="running")
    dcn: tuple[str, ...] = ()  #: stages whose 3x3 convolutions are deformable
    context: Insertion | None = None
    dimensions: Literal[2, 3] = 2
    #: Weights of the last batch norm of each residual block, where none are loaded. Small ones keep small what a
    #: context block sees, and its attention soft.
    last_norm: float = later(1.0, before=1.0)
    shortcut_norm: float = later(1.0, before=1.0)  #: likewise of the batch norm of each shortcut with a convolution


@dataclass(frozen=True)
class Detector:
    """Mask R-CNN with FPN, or its cascade: the authors' heads and test settings.

    The paper's numbers were made with 2000 proposals at test, too (`test_cfg` of all configurations of the authors'
    repository at 38b0b8e); mmdetection since May 2019 and the authors' later code take 1000. The paper's operations
    are of 1000.
    """

    backbone: Backbone
    cascade: bool = False
    num_classes: int = 80  #: foreground classes
    fpn_channels: int = 256
    box_channels: int = 1024
    mask_channels: int = 256
    short_side: int = 800  #: pixels
    long_side: int = 1333  #: pixels
    anchor_scale: int = 8  #: anchor side in units of its level's stride
    proposals_per_level: tuple[int, int] = (2000, 2000)  #: before NMS, (training, test)
    proposals: tuple[int, int] = (2000, 2000)  #: after NMS, of all levels, (training, test)
    rpn_samples: int = 256  #: anchors per image in the RPN's loss
    roi_samples: int = 512  #: RoIs per image in the box head's loss
    score_threshold: float = 0.05
    detections: int = 100  #: per image
    #: What a box is when the network is trained and tested here. inclusive: it ends on its last pixel, and masks are
    #: cut to whole pixels, as in the authors' framework (`conventions.AUTHORS`); continuous: it is given by its edges
    #: (`conventions.CONTINUOUS`).
    pixels: Literal["inclusive", "continuous"] = later("inclusive", before="continuous")
    #: Losses are means over as many images of a forward pass: those that one of the authors' GPUs has. None: over all.
    images_per_loss: int | None = later(2, before=None)


@dataclass(frozen=True)
class Classifier:
    """An image (or, with a 3-D backbone, clip) classifier: global average pooling and one linear layer."""

    backbone: Backbone
    num_classes: int = 1000
    input_size: tuple[int, ...] = (224, 224)  #: (H, W) or (T, H, W)
    #: Frames of a clip of T at stride s, in training and at test. stride: every s-th, as the text of [6]. span: T at
    #: equal distances from the first to the last of T * s frames, as its code: one in 9 for 8 at stride 8.
    clip_frames: Literal["stride", "span"] = later("stride", before="stride")
    #: Standard deviation of the last layer's random weights, its biases then zero; None: PyTorch's default.
    fc_std: float | None = later(None, before=None)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Length is in epochs, or in iterations where `iterations` is set."""

    epochs: int
    batch_size: int  #: effective, over all devices
    learning_rate: float
    schedule: Literal["step", "cosine"]
    #: Another experiment, an id of checkpoints.yaml, "random", or, in the mini profile, the "pretraining", the
    #: "shared detector" or the "shared network" (`repro.experiments.mini`).
    initial_weights: str
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = later(False, before=False)  #: the momentum of SGD
    weight_decay: float = 1e-4
    decay_epochs: tuple[int, ...] = ()  #: step schedule: a tenth of the rate after each of these epochs
    warmup_iterations: int = 0
    warmup_epochs: int = 0
    warmup_factor: float = 0.0  #: what the warm-up begins at, in learning rates
    #: product: the scheduled rate times a factor that grows to 1. line: straight to the rate scheduled at its end.
    warmup: Literal["product", "line"] = later("product", before="product")
    clip_norm: float | None = None  #: of the global gradient norm
    iterations: int | None = None
    flip: float = 0.5  #: probability of a horizontal flip
    norm_weight_decay: float | None = later(None, before=None)  #: of batch norm's parameters; None: `weight_decay`
    #: Batches from which batch norm's statistics are computed anew when training has ended; 0: moving averages.
    precise_norm: int = later(0, before=0)
    #: Of a 3-D kernel's taps, which take a 2-D network's initial weights (`repro.models.resnet3d`).
    inflation: Literal["centre", "mean"] = later("centre", before="centre")
    #: How ImageNet's colours are changed at random (`repro.data.classification.Augmentation`). factors: as the code of
    #: [33]; pixels: as the README of [14], with rotations; none.
    colours: Literal["factors", "pixels", "none"] = later("factors", before="factors")


@dataclass(frozen=True)
class AttentionAverage:
    """What Table 1's statistics of attention are averaged over."""

    images: Literal["all", "six"] = "all"  #: of the validation set; six: its first ones
    padding: bool = True  #: whether query positions in the padding of an image count
    block: Literal["mean", "first", "last"] = "mean"  #: of a network with several


@dataclass(frozen=True)
class SourceFile:
    """A Python file that an experiment of the user's own is defined in."""

    name: str  #: below the directory of the file that was named
    sha256: str
    text: str | None  #: None of one that is too large to be kept in every record


@dataclass(frozen=True)
class SourceCode:
    """Where an experiment of the user's own is defined: in a file, and in what that imports from beside it."""

    sha256: str  #: of all files
    reference: str = recorded("")  #: the absolute path of the file, or the name of an entry point
    files: tuple[SourceFile, ...] = recorded(())  #: that which was named first

    @property
    def name(self) -> str:
        """The name of the file, or of the entry point, without directories."""
        return self.reference.rpartition("/")[2]

    @property
    def directory(self) -> str | None:
        """The directory of the file, which messages name lines of; None of an entry point."""
        return self.reference.rpartition("/")[0] or None


@dataclass(frozen=True)
class Experiment:
    """One distinct model with its recipe and data set."""

    name: str
    dataset: Literal["coco", "imagenet", "kinetics"]
    network: Detector | Classifier
    recipe: Recipe
    profile: Literal["full", "mini"] = "full"
    #: (point, choice) of every reading of the protocol that is not the default one, by point (`readings`).
    readings: tuple[tuple[str, str], ...] = later((), before=())
    attention: AttentionAverage = later(AttentionAverage(), before=AttentionAverage())  # noqa: RUF009 - it is a field
    #: None of the paper's experiments.
    source: SourceCode | None = later(None, before=None)  # noqa: RUF009 - it is a field
    #: The paper's experiment beside which it stands in a table; of one of the paper's, its own name, so that whatever
    #: `replace` makes of it has it.
    derived_from: str = recorded("")
    #: Of an experiment of the user's own, "2/d": the table and the group in which it stands, if not in the first one
    #: that has `derived_from`.
    stands_in: str = recorded("")

    @property
    def detector(self) -> Detector:
        """The network of an experiment on COCO."""
        if not isinstance(self.network, Detector):
            raise TypeError(f"{self.name} is no detector")
        return self.network

    @property
    def classifier(self) -> Classifier:
        """The network of an experiment on ImageNet or Kinetics."""
        if not isinstance(self.network, Classifier):
            raise TypeError(f"{self.name} is no classifier")
        return self.network

    @property
    def own_block(self) -> BlockFactory | None:
        """The factory of its context block, if that is one of the user's own."""
        context = self.network.backbone.context
        if context is None or isinstance(context.block, (NonLocal, GlobalContext)):
            return None
        return context.block

    @property
    def spec_hash(self) -> str:
        """sha256 of the canonical JSON of everything that defines the experiment."""
        return digest(canonical(self))


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of `value`: the project's cache key."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
