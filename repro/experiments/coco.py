"""The experiments on COCO: Mask R-CNN with FPN, 1x, SyncBN, c1 and c2 frozen (Section 5.1).

An experiment is written as a `replace()` of a base, so that what distinguishes two rows of a table is what stands on
its line.
"""

from __future__ import annotations

from dataclasses import replace

from repro.experiments.specification import (
    ALL_STAGES,
    BEFORE_LAST_OF_C4,
    GC,
    SNL,
    Backbone,
    Detector,
    Experiment,
    GlobalContext,
    Insertion,
    NonLocal,
    Recipe,
)

#: The authors' code of the paper's days freezes parameters, not statistics; their later code both.
_R50 = Backbone(norm="sync", frozen=("c1", "c2"), frozen_statistics="batch")
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


def _define(name: str, block: NonLocal | GlobalContext | None = None, sites=ALL_STAGES, position="after1x1",
          backbone: Backbone = _R50, cascade: bool = False) -> Experiment:  # fmt: skip
    context = None if block is None else Insertion(block, sites, position)
    initial = _INITIAL["x101" if backbone.groups > 1 else 101 if backbone.blocks[2] == 23 else 50]
    return Experiment(
        name=f"coco-{name}",
        dataset="coco",
        network=Detector(replace(backbone, context=context), cascade=cascade),
        recipe=replace(_COCO_1X, initial_weights=initial),
    )


def _insert_before_last(block: NonLocal | GlobalContext) -> dict:
    return {"block": block, "sites": BEFORE_LAST_OF_C4, "position": "afterAdd"}


def _define_stronger(name: str, backbone: Backbone, cascade: bool = False) -> list[Experiment]:
    return [
        _define(f"{name}-baseline", backbone=backbone, cascade=cascade),
        _define(f"{name}-gc-r16", GC, backbone=backbone, cascade=cascade),
        _define(f"{name}-gc-r4", replace(GC, ratio=4), backbone=backbone, cascade=cascade),
    ]


EXPERIMENTS = [
    _define("r50-baseline"),
    _define("r50-1nl", **_insert_before_last(NonLocal())),
    _define("r50-1snl", **_insert_before_last(SNL)),
    _define("r50-1gc", **_insert_before_last(GC)),
    _define("r50-gc-r16", GC),
    _define("r50-gc-r16-after-add", GC, position="afterAdd"),
    _define("r50-gc-r16-c3", GC, sites=(("c3", None),)),
    _define("r50-gc-r16-c4", GC, sites=(("c4", None),)),
    _define("r50-gc-r16-c5", GC, sites=(("c5", None),)),
    _define("r50-snl", SNL),
    _define("r50-gc-r16-plain", replace(GC, layer_norm=False, relu=False)),
    _define("r50-gc-r16-relu", replace(GC, layer_norm=False)),
    _define("r50-gc-r4", replace(GC, ratio=4)),
    _define("r50-gc-r8", replace(GC, ratio=8)),
    _define("r50-gc-r32", replace(GC, ratio=32)),
    # All four keep the layer norm of the bottleneck, as the authors' block does: only pooling and fusion differ.
    _define("r50-avg-scale", replace(GC, pooling="avg", fusion="scale")),
    _define("r50-avg-add", replace(GC, pooling="avg")),
    _define("r50-att-scale", replace(GC, fusion="scale")),
    *_define_stronger("r101", _R101),
    *_define_stronger("x101", _X101),
    *_define_stronger("x101-cascade", _X101, cascade=True),
    *_define_stronger("x101-dcn-cascade", replace(_X101, dcn=_DCN), cascade=True),
    _define("r50-1nl-gaussian", **_insert_before_last(NonLocal("gaussian"))),
    _define("r50-1nl-dot-product", **_insert_before_last(NonLocal("dot_product"))),
    _define("r50-1nl-concat", **_insert_before_last(NonLocal("concat"))),
]
