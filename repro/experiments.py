"""Every experiment of the paper: one frozen configuration per distinct model and recipe.

The specifications are plain data and import nothing heavy. `models/` and `detection/` build networks from them,
`engine/` follows the recipes. An experiment is written as a `replace()` of a base, so that what distinguishes
two rows of a table is what stands on its line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from repro.errors import unknown

STAGES = ("c2", "c3", "c4", "c5")


@dataclass(frozen=True)
class NonLocal:
    """A non-local block, Eq. 1 and the four instantiations of Section 3.1."""

    instantiation: Literal["gaussian", "embedded_gaussian", "dot_product", "concat"] = "embedded_gaussian"
    reduction: int = 2  #: inner width is channels // reduction
    subsample: bool = True  #: 2x2 (1x2x2 in video) max-pool before phi and g
    output_norm: bool = False  #: batch norm after the output convolution, as in the video networks


@dataclass(frozen=True)
class GlobalContext:
    """A block of the general framework, Eq. 4. The defaults are the GC block, Eq. 5."""

    pooling: Literal["att", "avg"] = "att"
    ratio: int | None = 16  #: bottleneck ratio; None is a single 1x1 convolution ("w/o ratio")
    layer_norm: bool = True
    relu: bool = True
    fusion: Literal["add", "scale"] = "add"


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


@dataclass(frozen=True)
class Insertion:
    """Which context block stands where in a backbone (Section 5.1.1, "Positions" and "Stages")."""

    block: NonLocal | GlobalContext
    sites: tuple[Site, ...] = ALL_STAGES
    position: Literal["after1x1", "afterAdd"] = "after1x1"


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
    dcn: tuple[str, ...] = ()  #: stages whose 3x3 convolutions are deformable
    context: Insertion | None = None
    dimensions: Literal[2, 3] = 2


@dataclass(frozen=True)
class Detector:
    """Mask R-CNN with FPN, or its cascade: the authors' heads and test settings."""

    backbone: Backbone
    cascade: bool = False
    num_classes: int = 80  #: foreground classes
    fpn_channels: int = 256
    box_channels: int = 1024
    mask_channels: int = 256
    short_side: int = 800  #: pixels
    long_side: int = 1333  #: pixels
    anchor_scale: int = 8  #: anchor side in units of its level's stride
    proposals_per_level: tuple[int, int] = (2000, 1000)  #: before NMS, (training, test)
    proposals: tuple[int, int] = (2000, 1000)  #: after NMS, (training, test)
    rpn_samples: int = 256  #: anchors per image in the RPN's loss
    roi_samples: int = 512  #: RoIs per image in the box head's loss
    score_threshold: float = 0.05
    detections: int = 100  #: per image


@dataclass(frozen=True)
class Classifier:
    """An image (or, with a 3-D backbone, clip) classifier: global average pooling and one linear layer."""

    backbone: Backbone
    num_classes: int = 1000
    input_size: tuple[int, ...] = (224, 224)  #: (H, W) or (T, H, W)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Length is in epochs, or in iterations where `iterations` is set."""

    epochs: int
    batch_size: int  #: effective, over all devices
    learning_rate: float
    schedule: Literal["step", "cosine"]
    initial_weights: str  #: another experiment, an id of checkpoints.yaml, "random", or "pretraining" (mini profile)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_epochs: tuple[int, ...] = ()  #: step schedule: a tenth of the rate after each of these epochs
    warmup_iterations: int = 0
    warmup_epochs: int = 0
    warmup_factor: float = 0.0
    clip_norm: float | None = None  #: of the global gradient norm
    iterations: int | None = None
    flip: float = 0.5  #: probability of a horizontal flip


@dataclass(frozen=True)
class Experiment:
    """One distinct model with its recipe and data set."""

    name: str
    dataset: Literal["coco", "imagenet", "kinetics"]
    network: Detector | Classifier
    recipe: Recipe
    profile: Literal["full", "mini"] = "full"

    @property
    def spec_hash(self) -> str:
        """sha256 of the canonical JSON of everything that defines the experiment."""
        return digest(asdict(self))


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of `value`: the project's cache key."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# -- COCO: Mask R-CNN with FPN, 1x, SyncBN, c1 and c2 frozen (Section 5.1) ------------------------------------------

_R50 = Backbone(norm="sync", frozen=("c1", "c2"))
_R101 = replace(_R50, blocks=(3, 4, 23, 3))
_X101 = replace(_R101, groups=32, width_per_group=4)
_DCN = ("c3", "c4", "c5")
#: The authors' configurations decay after epochs 8 and 11, clip at 35 and warm up from a third over 500 iterations.
_COCO_1X = Recipe(
    epochs=12, batch_size=16, learning_rate=0.02, schedule="step", decay_epochs=(8, 11), warmup_iterations=500,
    warmup_factor=1 / 3, clip_norm=35.0, initial_weights="torchvision/resnet50-19c8e357",
)  # fmt: skip
_INITIAL = {
    50: "torchvision/resnet50-19c8e357",
    101: "torchvision/resnet101-5d3b4d8f",
    "x101": "openmmlab/resnext101_32x4d-a5af3160",
}


def _coco(name: str, block: NonLocal | GlobalContext | None = None, sites=ALL_STAGES, position="after1x1",
          backbone: Backbone = _R50, cascade: bool = False) -> Experiment:  # fmt: skip
    context = None if block is None else Insertion(block, sites, position)
    initial = _INITIAL["x101" if backbone.groups > 1 else 101 if backbone.blocks[2] == 23 else 50]
    return Experiment(
        name=f"coco-{name}",
        dataset="coco",
        network=Detector(replace(backbone, context=context), cascade=cascade),
        recipe=replace(_COCO_1X, initial_weights=initial),
    )


def _one(block: NonLocal | GlobalContext) -> dict:
    return {"block": block, "sites": BEFORE_LAST_OF_C4, "position": "afterAdd"}


def _stronger(name: str, backbone: Backbone, cascade: bool = False) -> list[Experiment]:
    return [
        _coco(f"{name}-baseline", backbone=backbone, cascade=cascade),
        _coco(f"{name}-gc-r16", GC, backbone=backbone, cascade=cascade),
        _coco(f"{name}-gc-r4", replace(GC, ratio=4), backbone=backbone, cascade=cascade),
    ]


_COCO = [
    _coco("r50-baseline"),
    _coco("r50-1nl", **_one(NonLocal())),
    _coco("r50-1snl", **_one(SNL)),
    _coco("r50-1gc", **_one(GC)),
    _coco("r50-gc-r16", GC),
    _coco("r50-gc-r16-after-add", GC, position="afterAdd"),
    _coco("r50-gc-r16-c3", GC, sites=(("c3", None),)),
    _coco("r50-gc-r16-c4", GC, sites=(("c4", None),)),
    _coco("r50-gc-r16-c5", GC, sites=(("c5", None),)),
    _coco("r50-snl", SNL),
    _coco("r50-gc-r16-plain", replace(GC, layer_norm=False, relu=False)),
    _coco("r50-gc-r16-relu", replace(GC, layer_norm=False)),
    _coco("r50-gc-r4", replace(GC, ratio=4)),
    _coco("r50-gc-r8", replace(GC, ratio=8)),
    _coco("r50-gc-r32", replace(GC, ratio=32)),
    # All four keep the layer norm of the bottleneck, as the authors' block does: only pooling and fusion differ.
    _coco("r50-avg-scale", replace(GC, pooling="avg", fusion="scale")),
    _coco("r50-avg-add", replace(GC, pooling="avg")),
    _coco("r50-att-scale", replace(GC, fusion="scale")),
    *_stronger("r101", _R101),
    *_stronger("x101", _X101),
    *_stronger("x101-cascade", _X101, cascade=True),
    *_stronger("x101-dcn-cascade", replace(_X101, dcn=_DCN), cascade=True),
    _coco("r50-1nl-gaussian", **_one(NonLocal("gaussian"))),
    _coco("r50-1nl-dot-product", **_one(NonLocal("dot_product"))),
    _coco("r50-1nl-concat", **_one(NonLocal("concat"))),
]

# -- ImageNet: two stages, with cosine decay in both (Section 5.2) ----------------------------------------------------

#: 120 epochs of the plain network, five of them warm-up. The paper leaves its learning rate open: this is the 0.1 for
#: 256 images of [10], in proportion to the batch, as [33] has it.
_IMAGENET_STAGE1 = Recipe(
    epochs=120, batch_size=512, learning_rate=0.2, schedule="cosine", warmup_epochs=5, initial_weights="random"
)
#: 40 epochs from 0.02, blocks inserted; the baseline, too, without.
_IMAGENET_FINETUNE = Recipe(
    epochs=40, batch_size=512, learning_rate=0.02, schedule="cosine", initial_weights="imagenet-r50-stage1"
)


def _imagenet(name: str, block=None, sites=ALL_STAGES, position="after1x1") -> Experiment:
    context = None if block is None else Insertion(block, sites, position)
    return Experiment(f"imagenet-r50-{name}", "imagenet", Classifier(Backbone(context=context)), _IMAGENET_FINETUNE)


_IMAGENET = [
    Experiment("imagenet-r50-stage1", "imagenet", Classifier(Backbone()), _IMAGENET_STAGE1),
    _imagenet("baseline"),
    _imagenet("1nl", **_one(NonLocal())),
    _imagenet("1snl", **_one(SNL)),
    _imagenet("1gc", **_one(GC)),
    _imagenet("gc-r16", GC),
    _imagenet("avg-scale", replace(GC, pooling="avg", fusion="scale")),
    _imagenet("avg-add", replace(GC, pooling="avg")),
    _imagenet("att-scale", replace(GC, fusion="scale")),
]

# -- Kinetics: slow-only R50 8x8, ratio 4 (Section 5.3) ---------------------------------------------------------------

#: "All the experiment settings explicitly follow [6]", which trains clips of more than four frames for 196 epochs, 34
#: of them warm-up, at a rate of 1.6 for 1024 clips; here for the 64 clips of eight GPUs, in proportion.
_KINETICS_RECIPE = Recipe(
    epochs=196, batch_size=64, learning_rate=0.1, schedule="cosine", warmup_epochs=34, warmup_factor=0.1,
    initial_weights="torchvision/resnet50-19c8e357",
)  # fmt: skip
_VIDEO_NL = NonLocal(output_norm=True)
_VIDEO_GC = replace(GC, ratio=4)


def _kinetics(name: str, block=None, sites=FIVE_OF_C3_C4, position="afterAdd") -> Experiment:
    context = None if block is None else Insertion(block, sites, position)
    network = Classifier(Backbone(dimensions=3, context=context), num_classes=400, input_size=(8, 224, 224))
    return Experiment(f"kinetics-r50-{name}", "kinetics", network, _KINETICS_RECIPE)


_KINETICS = [
    _kinetics("baseline"),
    _kinetics("5nl", _VIDEO_NL),
    _kinetics("5snl", SNL),
    _kinetics("5gc", _VIDEO_GC),
    _kinetics("gc-r4", _VIDEO_GC, sites=ALL_STAGES, position="after1x1"),
    _kinetics("5nl-gaussian", replace(_VIDEO_NL, instantiation="gaussian")),
    _kinetics("5nl-dot-product", replace(_VIDEO_NL, instantiation="dot_product")),
    _kinetics("5nl-concat", replace(_VIDEO_NL, instantiation="concat")),
]

EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in (*_COCO, *_IMAGENET, *_KINETICS)}


def get(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ReproError: there is none; the nearest names are offered.
    """
    try:
        return EXPERIMENTS[name]
    except KeyError:
        raise unknown("experiment", name, EXPERIMENTS) from None
