"""The experiments on Kinetics-400: slow-only R50 8x8, ratio 4 (Section 5.3)."""

from __future__ import annotations

from dataclasses import replace

from repro.experiments.specification import (
    ALL_STAGES,
    FIVE_OF_C3_C4,
    GC,
    SNL,
    Backbone,
    Classifier,
    Experiment,
    Insertion,
    NonLocal,
    Recipe,
)

#: "All the experiment settings explicitly follow [6]", which trains clips of more than four frames for 196 epochs, 34
#: of them warm-up, at a rate of 1.6 for 1024 clips; here for the 64 clips of eight GPUs, in proportion.
_KINETICS_RECIPE = Recipe(
    epochs=196, batch_size=64, learning_rate=0.1, schedule="cosine", warmup_epochs=34, warmup_factor=0.1,
    initial_weights="torchvision/resnet50-19c8e357",
)  # fmt: skip
_VIDEO_NL = NonLocal(output_norm=True, initial="msra")
_VIDEO_GC = replace(GC, ratio=4)


def _define(name: str, block=None, sites=FIVE_OF_C3_C4, position="afterReLU") -> Experiment:
    context = None if block is None else Insertion(block, sites, position)
    network = Classifier(
        Backbone(dimensions=3, context=context), num_classes=400, input_size=(8, 224, 224), fc_std=0.01
    )
    return Experiment(f"kinetics-r50-{name}", "kinetics", network, _KINETICS_RECIPE)


EXPERIMENTS = [
    _define("baseline"),
    _define("5nl", _VIDEO_NL),
    _define("5snl", SNL),
    _define("5gc", _VIDEO_GC),
    _define("gc-r4", _VIDEO_GC, sites=ALL_STAGES, position="after1x1"),
    _define("5nl-gaussian", replace(_VIDEO_NL, instantiation="gaussian")),
    _define("5nl-dot-product", replace(_VIDEO_NL, instantiation="dot_product")),
    _define("5nl-concat", replace(_VIDEO_NL, instantiation="concat")),
]
