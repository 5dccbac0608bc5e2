"""Table 4 in the mini profile, on a generated classification set. Imports nothing heavy.

The networks keep every placement of the paper (before the last residual block of c4, all of c3 to c5, after the 1x1 or
after the addition), and the two stages: the plain network is trained once, blocks are inserted, and all are trained on
at a lower rate. Widths, depths, image size and schedule are smaller, and the data set is generated
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

    seed: int = 0
    version: int = 1  #: raised when the generator draws something else from the same values
    side: int = 64
    train_images: int = 4000
    val_images: int = 800
    patterns: tuple[str, ...] = ("checks", "columns", "diagonals", "dots", "grid", "lattice", "rings", "rows")
    grains: tuple[str, ...] = ("coarse", "fine")
    periods: tuple[int, ...] = (8, 4)  #: of a pattern, by its grain
    objects: tuple[int, int] = (22, 28)  #: sides, least and most
    pairs: float = 0.75  #: of the images have a second object
    marks: tuple[int, int] = (28, 4)  #: of the colour that calls for the subject, of the other
    mark: int = 3  #: side of a mark


PICTURES = Pictures()
#: sha256 of what is drawn: data of another content are refused. A test draws it and says what it should be.
CONTENT = "3aa7153c53cc099c3764009045c2b08cdb38f6b1907dd4272642a3118310a4ed"
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


#: A crop keeps the majority among the marks; the changes of colour leave their hues apart.
AUGMENTATION: AugmentationOptions = {
    "size": PICTURES.side,
    "area": (0.7, 1.0),
    "ratio": (0.9, 1.1),
    "jitter": 0.2,
    "lighting": 0.05,
}

#: c4 needs a block before its last.
_BACKBONE = Backbone(blocks=(1, 1, 2, 1), width=8)
#: The learning rate falls to a third between the stages, in the paper to a tenth: AdamW's differ less than SGD's.
_STAGE1 = Recipe(
    epochs=12, batch_size=32, learning_rate=3e-3, schedule="cosine", warmup_epochs=1, optimizer="adamw",
    weight_decay=0.05, initial_weights="random",
)  # fmt: skip
_STAGE2 = replace(
    _STAGE1, epochs=8, learning_rate=1e-3, warmup_epochs=0, initial_weights="imagenet-r50-stage1"
)  # fmt: skip


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


def estimate_seconds(experiment: Experiment) -> float:
    """Estimate how many seconds of one core the training and the evaluation of a mini experiment take."""
    return 105.0 if experiment.recipe.initial_weights == "random" else 85.0
