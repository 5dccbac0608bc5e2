"""Table 4 in the mini profile, on a generated classification set. Imports nothing heavy.

The networks keep every placement of the paper (before the last residual block of c4, all of c3 to c5, after the 1x1 or
after the addition), and the two stages: the plain network is trained once, blocks are inserted, and all are trained on.
Widths, depths, image size and schedule are smaller, and the data set is generated
(`repro.data.miniature.imagenet`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

from repro.errors import ReproError
from repro.experiments import Backbone, Classifier, Experiment, Recipe, get
from repro.experiments.mini.generated import identify_generated
from repro.experiments.preprocessing import Preprocessing


@dataclass(frozen=True)
class Pictures:
    """What the generated images hold. All lengths in pixels."""

    seed: int = 3
    version: int = 3  #: raised when the generator draws something else from the same values
    side: int = 96
    train_images: int = 4000
    val_images: int = 1600
    patterns: tuple[str, ...] = ("checks", "columns", "diagonals", "dots", "grid", "lattice", "rings", "rows")
    period: int = 6  #: of a pattern
    objects: tuple[int, int] = (18, 22)  #: sides, least and most
    pairs: float = 0.75  #: of the images have a second object
    lit: int = 12  #: columns at one edge that the light falls on
    distance: int = 54  #: columns between them and the nearest object, at least
    surrounded: float = 0.5  #: of the training images are lit all around the objects instead, and all to pre-train on
    margin: int = 8  #: around an object that is not lit then
    tile: int = 8  #: side of what the light is uneven in
    images: int = 25600  #: of the set to pre-train on


PICTURES = Pictures()
#: sha256 of what is drawn: data of another content are refused. A test draws it and says what it should be.
CONTENT = "eb92d119b4b5a948dd4f2c982a425abac985e3becadced499e775c3847db6f07"
#: Identity of the generated data set in cache keys.
DATASET_KEY = identify_generated(PICTURES, CONTENT)
#: Directories of the classes, ascending: the labels' order.
CLASSES = PICTURES.patterns

PREPROCESSING = Preprocessing(resize=PICTURES.side, crop=PICTURES.side, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class AugmentationOptions(TypedDict):
    """Arguments of `repro.data.classification.Augmentation`."""

    size: int
    area: tuple[float, float]
    ratio: tuple[float, float]
    jitter: float
    lighting: float


#: A crop keeps a part of the lit edge; the changes of colour leave the hues of the lights and of the objects apart.
AUGMENTATION: AugmentationOptions = {
    "size": PICTURES.side,
    "area": (0.9, 1.0),
    "ratio": (0.95, 1.05),
    "jitter": 0.2,
    "lighting": 0.05,
}

#: c4 needs a block before its last.
_BACKBONE = Backbone(blocks=(1, 1, 2, 1), width=8)
#: What the first stage starts from, where the paper's starts from random weights: tags are the patterns by the colour
#: of the object that has them, the lights, and the classes.
PRETRAINING = Experiment(
    name="mini-imagenet-pretraining",
    dataset="imagenet",
    network=Classifier(
        _BACKBONE, num_classes=3 * len(CLASSES) + 2, input_size=(PICTURES.side, PICTURES.side)
    ),
    recipe=Recipe(
        epochs=1, batch_size=32, learning_rate=6e-3, schedule="cosine", warmup_iterations=30, optimizer="adamw",
        weight_decay=0.01, initial_weights="random", flip=0.0,
    ),
    profile="mini",
)  # fmt: skip
_STAGE1 = Recipe(
    epochs=3, batch_size=16, learning_rate=3e-3, schedule="cosine", warmup_iterations=30, optimizer="adamw",
    weight_decay=0.05, initial_weights="pretraining",
)  # fmt: skip
#: At twice the rate of the first stage, where the paper's is a tenth: blocks that start from zero have 1000 iterations.
_STAGE2 = replace(
    _STAGE1, epochs=4, learning_rate=6e-3, warmup_iterations=200, clip_norm=1.0, initial_weights="imagenet-r50-stage1"
)


def shrink(experiment: Experiment) -> Experiment:
    """The experiment as the mini profile runs it: the same blocks at the same places of a smaller network.

    Raises:
        ReproError: its network is none of Table 4.
    """
    network = experiment.network
    full = get("imagenet-r50-stage1").network
    if (
        not isinstance(network, Classifier)
        or replace(network, backbone=replace(network.backbone, context=None)) != full
    ):
        raise ReproError(
            f"{experiment.name} has no mini version: the mini profile scales down the networks of Table 4, ResNet-50 "
            "with inputs of 224 pixels."
        )
    return replace(
        experiment,
        profile="mini",
        recipe=_STAGE1 if experiment.recipe.initial_weights == "random" else _STAGE2,
        network=Classifier(
            replace(_BACKBONE, context=network.backbone.context),
            num_classes=len(CLASSES),
            input_size=(PICTURES.side, PICTURES.side),
        ),
    )


def pretraining_for(experiment: Experiment) -> Experiment:
    """The training that the first stage starts from."""
    return PRETRAINING


def estimate_seconds(experiment: Experiment) -> float:
    """Estimate how many seconds of one core the training and the evaluation of a mini experiment take."""
    return 75.0 if experiment.recipe.initial_weights == "random" else 40.0
