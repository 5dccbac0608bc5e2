"""Table 5 in the mini profile, on generated videos. Imports nothing heavy.

The networks keep every placement of the paper (after every other residual block of c3 and c4, or all of c3 to c5), the
ratio, the four instantiations of the non-local block, the 3x1x1 convolutions of c4 and c5, the 8 frames of a clip and a
test of several clips; widths, frame size, schedule and the depths of c2 and c5 are smaller, and the data set is
generated (`repro.data.miniature.kinetics`). Blocks are inserted into one network for all, which started from inflated
weights and was trained on the same videos.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from repro.errors import ReproError
from repro.experiments import Backbone, Classifier, Experiment, Recipe, get
from repro.experiments.mini.generated import identify_generated
from repro.experiments.preprocessing import Preprocessing


@dataclass(frozen=True)
class GeneratedVideos:
    """What the generated videos hold. Lengths in pixels, times in frames."""

    seed: int = 4
    version: int = 2  #: raised when the generator draws something else from the same values, or encodes it differently
    side: int = 56  #: of the square frames
    frames: int = 20
    rate: int = 10  #: frames per second
    train_videos: int = 1200
    val_videos: int = 480
    patterns: tuple[str, ...] = ("checks", "columns", "diagonals", "dots", "grid", "lattice", "rings", "rows")
    period: int = 6  #: of a pattern
    hues: tuple[float, ...] = (0.0, 0.5)  #: red and cyan, of the two objects
    sides: tuple[int, int] = (14, 18)  #: of an object, least and most
    speed: int = 8  #: sixteenths of a pixel per frame that an object moves at most, along either axis
    pairs: float = 0.75  #: of the videos have a second object
    lit: int = 14  #: columns at one edge that the light falls on
    distance: int = 3  #: columns between them and the nearest object, at least
    lasting: int = 8  #: frames that the light falls in
    dark: int = 4  #: before and after it, at least
    surrounded: float = 0.5  #: of the training videos are lit all around the objects, in every frame, instead
    margin: int = 8  #: around an object that is not lit then
    codec: str = "libx264"
    quantizer: int = 10  #: constant, of the codec
    images: int = 32000  #: of the set to pre-train on


VIDEOS = GeneratedVideos()
#: sha256 of what is drawn: data of another content are refused. A test draws it and says what it should be.
CONTENT = "26f31943906a38c5505278400ed5db3d8b0ee5b3a0ea6a3b2e13bdf09ae3180c"
#: Identity of the generated data set in cache keys.
DATASET_KEY = identify_generated(VIDEOS, CONTENT)
#: Names of the classes and of their directories, by label: the pattern of the object that the light calls for.
CLASSES = VIDEOS.patterns

#: Three clips of eight frames: all of a video between them, and each sees the light. Frames are square: one crop.
PREPROCESSING = Preprocessing(
    resize=VIDEOS.side, crop=VIDEOS.side, resizer="torch", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    class_order="label", frames=8, stride=2, clips=3, clip_starts="ends",
)  # fmt: skip


class ClipAugmentationOptions(TypedDict):
    """Arguments of `repro.data.clips.ClipAugmentation`."""

    size: int
    short_side: tuple[int, int]
    flip: float
    frames: int
    stride: int
    clip_frames: Literal["stride", "span"]
    resizing: Literal["bytes", "floats"]


#: A clip's start is at random; clips are not mirrored, as those of the test are not.
AUGMENTATION: ClipAugmentationOptions = {
    "size": VIDEOS.side,
    "short_side": (VIDEOS.side, VIDEOS.side),
    "flip": 0.0,
    "frames": PREPROCESSING.frames,
    "stride": PREPROCESSING.stride,
    "clip_frames": PREPROCESSING.clip_frames,
    "resizing": PREPROCESSING.resizing,
}

#: Probability with which features are left out before the last layer: training is too short to want that.
DROPOUT = 0.0

#: As deep as the paper's where its five blocks stand, every other block of c3 and c4.
_BACKBONE = Backbone(blocks=(1, 4, 6, 1), width=8, dimensions=3)

#: The mini profile's counterpart of ImageNet pre-training, of the 2-D network: tags are the patterns by the hue of the
#: object that has them, and the lights.
PRETRAINING = Experiment(
    name="mini-kinetics-pretraining",
    dataset="imagenet",
    network=Classifier(
        replace(_BACKBONE, dimensions=2),
        num_classes=(len(VIDEOS.patterns) + 1) * len(VIDEOS.hues),
        input_size=(VIDEOS.side, VIDEOS.side),
    ),
    recipe=Recipe(
        epochs=1, batch_size=32, learning_rate=6e-3, schedule="cosine", warmup_iterations=30, optimizer="adamw",
        weight_decay=0.01, initial_weights="random", flip=0.0,
    ),
    profile="mini",
)  # fmt: skip

#: Of the network without blocks that all experiments start from.
_SHARED_RECIPE = Recipe(
    epochs=3, batch_size=8, learning_rate=3e-3, schedule="cosine", warmup_iterations=20, optimizer="adamw",
    weight_decay=0.01, clip_norm=10.0, initial_weights="pretraining", flip=0.0, warmup="line", norm_weight_decay=0.0,
    precise_norm=20,
)  # fmt: skip
_RECIPE = replace(_SHARED_RECIPE, epochs=8, batch_size=16, initial_weights="shared network")


def shrink(experiment: Experiment) -> Experiment:
    """The experiment as the mini profile runs it: the same blocks at the same places of a smaller network.

    Raises:
        ReproError: its network is none of Table 5.
    """
    network = experiment.network
    full = get("kinetics-r50-baseline").network
    if not isinstance(network, Classifier) or replace(network, backbone=_strip_context(network.backbone)) != full:
        raise ReproError(
            f"{experiment.name} has no mini version: the mini profile scales down the networks of Table 5, slow-only "
            "ResNet-50 with clips of 8 frames."
        )
    return replace(
        experiment,
        profile="mini",
        recipe=_RECIPE,
        network=Classifier(
            replace(_BACKBONE, context=network.backbone.context),
            num_classes=len(CLASSES),
            input_size=(PREPROCESSING.frames, VIDEOS.side, VIDEOS.side),
            fc_std=network.fc_std,
        ),
    )


def pretraining_for(experiment: Experiment) -> Experiment:
    """The training that a mini experiment starts from: a network without blocks, before which a 2-D one is trained."""
    if experiment.recipe.initial_weights == "shared network":
        network = replace(experiment.classifier, backbone=_strip_context(experiment.network.backbone))
        return replace(experiment, name="mini-video-network", network=network, recipe=_SHARED_RECIPE)
    return PRETRAINING


def estimate_seconds(experiment: Experiment) -> float:
    """Estimate how many seconds of one core the training and the evaluation of a mini experiment take."""
    pretraining = {"random": 80.0, "pretraining": 60.0}  # of the 2-D network, of the one without blocks
    usual = 100.0 if experiment.network.backbone.context else 80.0
    return pretraining.get(experiment.recipe.initial_weights, usual)


def _strip_context(backbone: Backbone) -> Backbone:
    return replace(backbone, context=None)
