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

    seed: int = 2
    version: int = 2  #: raised when the generator draws something else from the same values
    side: int = 96
    train_images: int = 4000
    val_images: int = 1600
    patterns: tuple[str, ...] = ("checks", "columns", "diagonals", "dots", "grid", "lattice", "rings", "rows")
    grains: tuple[str, ...] = ("coarse", "fine")
    periods: tuple[int, ...] = (8, 4)  #: of a pattern, by its grain
    objects: tuple[int, int] = (16, 20)  #: sides, least and most
    pairs: float = 0.75  #: of the images have a second object
    lit: int = 16  #: columns at one edge that the light falls on
    distance: int = 44  #: columns between them and the nearest object, at least
    surrounded: float = 0.5  #: of the training images are lit all around the objects instead
    margin: int = 16  #: around an object that is not lit then
    tile: int = 8  #: side of what the light is uneven in
    images: int = 25600  #: of the set to pre-train on


PICTURES = Pictures()
#: sha256 of what is drawn: data of another content are refused. A test draws it and says what it should be.
CONTENT = "9e2a29321decfb844b297d72f817f505bac9bc01c3d9b322751f4841c62e6dc2"
#: Identity of the generated data set in cache keys.
DATASET_KEY = identify_generated(PICTURES, CONTENT)
#: Directories of the classes, ascending: the labels' order.
CLASSES = tuple(f"{grain}-{pattern}" for grain in PICTURES.grains for pattern in PICTURES.patterns)

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
    "area": (0.8, 1.0),
    "ratio": (0.9, 1.1),
    "jitter": 0.2,
    "lighting": 0.05,
}

#: c4 needs a block before its last.
_BACKBONE = Backbone(blocks=(1, 1, 2, 1), width=8)
#: What the first stage starts from, where the paper's starts from random weights: tags are the patterns by the colour
#: of the object that has them, and the lights.
PRETRAINING = Experiment(
    name="mini-imagenet-pretraining",
    dataset="imagenet",
    network=Classifier(
        _BACKBONE, num_classes=2 * (len(CLASSES) + 1), input_size=(PICTURES.side, PICTURES.side)
    ),
    recipe=Recipe(
        epochs=1, batch_size=32, learning_rate=6e-3, schedule="cosine", warmup_iterations=30, optimizer="adamw",
        weight_decay=0.01, initial_weights="random", flip=0.0,
    ),
    profile="mini",
)  # fmt: skip
_STAGE1 = Recipe(
    epochs=6, batch_size=32, learning_rate=3e-3, schedule="cosine", warmup_iterations=30, optimizer="adamw",
    weight_decay=0.05, initial_weights="pretraining",
)  # fmt: skip
#: At the rate of the first stage, where the paper's is a tenth: blocks that start from zero have 875 iterations.
_STAGE2 = replace(_STAGE1, epochs=7, initial_weights="imagenet-r50-stage1")


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
    return 60.0
