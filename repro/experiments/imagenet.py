"""The experiments on ImageNet: two stages, with cosine decay in both (Section 5.2)."""

from __future__ import annotations

from dataclasses import replace

from repro.experiments.specification import (
    ALL_STAGES,
    BEFORE_LAST_OF_C4,
    GC,
    SNL,
    Backbone,
    Classifier,
    Experiment,
    GlobalContext,
    Insertion,
    NonLocal,
    Recipe,
)

#: 120 epochs of the plain network, five of them warm-up. The paper leaves its learning rate open: this is the 0.1 for
#: 256 images of [10], in proportion to the batch, as [33] has it.
_IMAGENET_STAGE1 = Recipe(
    epochs=120, batch_size=512, learning_rate=0.2, schedule="cosine", warmup_epochs=5, initial_weights="random"
)
#: 40 epochs from 0.02, blocks inserted; the baseline, too, without.
_IMAGENET_FINETUNE = Recipe(
    epochs=40, batch_size=512, learning_rate=0.02, schedule="cosine", initial_weights="imagenet-r50-stage1"
)


def _insert_before_last(block: NonLocal | GlobalContext) -> dict:
    return {"block": block, "sites": BEFORE_LAST_OF_C4, "position": "afterAdd"}


def _define(name: str, block=None, sites=ALL_STAGES, position="after1x1") -> Experiment:
    context = None if block is None else Insertion(block, sites, position)
    return Experiment(f"imagenet-r50-{name}", "imagenet", Classifier(Backbone(context=context)), _IMAGENET_FINETUNE)


EXPERIMENTS = [
    Experiment("imagenet-r50-stage1", "imagenet", Classifier(Backbone()), _IMAGENET_STAGE1),
    _define("baseline"),
    _define("1nl", **_insert_before_last(NonLocal())),
    _define("1snl", **_insert_before_last(SNL)),
    _define("1gc", **_insert_before_last(GC)),
    _define("gc-r16", GC),
    _define("avg-scale", replace(GC, pooling="avg", fusion="scale")),
    _define("avg-add", replace(GC, pooling="avg")),
    _define("att-scale", replace(GC, fusion="scale")),
]
