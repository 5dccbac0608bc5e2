"""Tables 2 and 3 in the mini profile, on a generated detection set. Imports nothing heavy.

The networks keep every placement of the paper (before the last residual block of c4, all of c3 to c5, after the 1x1 or
after the addition, all ratios, deformable convolutions in c3 to c5), the frozen stages, the cascade, the pre-training
and the fine-tuning; widths, depths, image size and schedule are smaller, and the data set is generated
(`repro.data.miniature.coco`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from repro.errors import ReproError
from repro.experiments import Backbone, Classifier, Detector, Experiment, Recipe, get
from repro.experiments.mini.generated import identify_generated

MINI_DATA_SEED = 5


@dataclass(frozen=True)
class Scenes:
    """What the generated images hold. All lengths in pixels."""

    seed: int = MINI_DATA_SEED
    version: int = 2  #: raised when the generator draws something else from the same values
    height: int = 64
    width: int = 160
    train_images: int = 1536
    val_images: int = 512
    #: Lit from end to end, for the detector that all experiments with one network start from.
    lit_images: int = 1536
    shapes: tuple[str, ...] = ("disc", "cross", "triangle")
    lights: tuple[str, ...] = ("green", "violet")  #: equal sectors of the wheel of hues
    spread: float = 0.5  #: of its sector, around the middle, in which the hue of a light lies
    jitter: int = 94  #: of a tile's hue, in 1536ths of the wheel: the sum of two draws up to it, to either side
    amplitude: int = 90  #: of the colour of a light, grey levels
    tile: int = 8  #: side
    sides: tuple[int, int] = (16, 36)  #: of an object, log-uniform
    objects: tuple[int, int] = (1, 3)  #: per image
    lit: int = 48  #: columns at one end that the light falls on
    distance: int = 48  #: columns between them and the nearest object, at least
    crowds: float = 0.1  #: of the images should have one, and have it where there is room
    classification_images: int = 6400
    classification_width: int = 104
    classification_distance: int = 8


SCENES = Scenes()
#: Of the training images, those with an object to learn: for some no place is found. A test counts them.
TRAINED_IMAGES = 1525
#: sha256 of what is drawn: data of another content are refused. A test draws it and says what it should be.
CONTENT = "b50170f4318c8615670b063893cd75c89c6a8976474c1c9523e158cde6c85666"
#: Identity of the generated data set in cache keys.
DATASET_KEY = identify_generated(SCENES, CONTENT)

#: c4 needs a block before its last; a shallow network also sees little of the strip at once: a cell of c5 depends on
#: 107 columns, of which those at the edges matter little. Weights of norms that start from 1 stay near 1 in so short a
#: training: features are then so large that fresh attention picks few positions, where no light may fall.
_R50 = Backbone(blocks=(1, 1, 2, 1), width=8, norm="sync", last_norm=0.1, shortcut_norm=0.5)
#: As in the paper, only c4 is deeper. A cell of c5 depends on 139 columns.
_R101 = replace(_R50, blocks=(1, 1, 3, 1))
#: In four groups; not twice as wide as R101's, as the paper's are: deformable ones would take too long on a CPU.
_X101 = replace(_R101, groups=4, width_per_group=16)

#: The mini profile's counterpart of ImageNet pre-training, for R50: tags are the shapes and the colours of the light.
PRETRAINING = Experiment(
    name="mini-pretraining",
    dataset="imagenet",
    network=Classifier(
        _R50,
        num_classes=len(SCENES.shapes) + len(SCENES.lights),
        input_size=(SCENES.height, SCENES.classification_width),
    ),
    recipe=Recipe(
        epochs=2, batch_size=32, learning_rate=6e-3, schedule="cosine", warmup_iterations=30, optimizer="adamw",
        weight_decay=0.01, initial_weights="random", flip=0.0,
    ),
    profile="mini",
)  # fmt: skip

#: Of the detector that all experiments with one network start from: trained where the light falls everywhere, so that
#: it knows what an object is called in which light, and that blocks have only to carry the light to the object.
SHARED_RECIPE = Recipe(
    epochs=3, batch_size=8, learning_rate=3e-3, schedule="cosine", warmup_iterations=20, optimizer="adamw",
    weight_decay=0.01, clip_norm=10.0, initial_weights="pretraining",
)  # fmt: skip
_RECIPE = replace(SHARED_RECIPE, epochs=1, batch_size=4, learning_rate=2e-3, initial_weights="shared detector")


def shrink(experiment: Experiment) -> Experiment:
    """The experiment as the mini profile runs it: the same blocks at the same places of a smaller network.

    Raises:
        ReproError: its network is none of Tables 2 and 3.
    """
    network = experiment.network
    if (
        not isinstance(network, Detector)
        or network != Detector(network.backbone, network.cascade)
        or (small := _SMALL.get(_strip_backbone(network.backbone))) is None
    ):
        raise ReproError(
            f"{experiment.name} has no mini version: the mini profile scales down the networks of Tables 2 and 3, "
            "Mask R-CNN and its cascade with ResNet-50, ResNet-101 and ResNeXt-101 32x4d."
        )
    backbone = network.backbone
    return replace(
        experiment,
        profile="mini",
        recipe=_RECIPE,
        network=replace(
            network,
            backbone=replace(small, frozen=backbone.frozen, dcn=backbone.dcn, context=backbone.context),
            num_classes=len(SCENES.shapes) * len(SCENES.lights),
            fpn_channels=16,
            box_channels=64,
            mask_channels=16,
            short_side=SCENES.height,
            long_side=SCENES.width,
            anchor_scale=4,
            proposals_per_level=(40, 40),
            proposals=(16, 16),
            rpn_samples=32,
            roi_samples=12,
            detections=20,
            # As the committed records were measured.
            pixels="continuous",
            images_per_loss=None,
        ),
    )


def estimate_seconds(experiment: Experiment) -> float:
    """Estimate how many seconds of one core the training and the evaluation of a mini experiment take."""
    start = experiment.recipe.initial_weights
    if start == "random":  # the classifier
        return 30.0
    network = experiment.detector
    seconds = 55.0 if network.backbone.dcn else 40.0 if network.cascade else 22.0  # no fast deformable one on a CPU
    return 2.5 * seconds if start == "pretraining" else seconds


def pretraining_for(experiment: Experiment) -> Experiment:
    """The training that a mini experiment starts from.

    The experiments with one network share a detector without context blocks, and the detectors whose backbones have
    the same shape share a classifier.
    """
    if experiment.recipe.initial_weights == "shared detector":
        network = replace(experiment.detector, backbone=replace(experiment.detector.backbone, context=None))
        return replace(experiment, name="mini-detector", network=network, recipe=SHARED_RECIPE)
    backbone = _strip_backbone(experiment.network.backbone)
    return replace(PRETRAINING, network=replace(PRETRAINING.network, backbone=backbone))


def _strip_backbone(backbone: Backbone) -> Backbone:
    """The backbone as it is pre-trained: without context blocks and offsets, nothing frozen."""
    return replace(backbone, context=None, dcn=(), frozen=(), frozen_statistics="running")


#: By the full-size backbone.
_SMALL = {
    _strip_backbone(get(f"coco-{name}-baseline").network.backbone): small
    for name, small in (("r50", _R50), ("r101", _R101), ("x101", _X101))
}
