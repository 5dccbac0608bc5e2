"""Where a measurement departs from the paper's protocol, as records and tables say it. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repro.checkpoints.choice import Choice
from repro.data.sources import SOURCES
from repro.experiments import Experiment, overrides, preprocessing, readings
from repro.experiments.conventions import AUTHORS, MMDETECTION_1
from repro.measuring.batch_division import BatchDivision
from repro.planning import keys
from repro.records import Checkpoint, Segment
from repro.settings import Settings

#: "We trained on 8 GPUs with 2 images per GPU" (Section 5.1), "on 8 GPUs with 64 images per GPU" (Section 5.2).
_GPUS = 8
#: `models.conventions.PAPER.name`; that module imports torch.
_PAPER = "paper"


def protocol_deviations(experiment: Experiment, settings: Settings, division: BatchDivision) -> list[str]:
    """What every training of this kind does otherwise, or what the paper leaves open of it."""
    if settings.profile == "mini":
        return [
            "mini profile: generated data and a scaled-down network, not comparable with any published number",
            f"{experiment.recipe.optimizer}, {experiment.recipe.schedule} schedule, batch of "
            f"{experiment.recipe.batch_size}, {_describe_batch_norm(division)}",
        ]
    if experiment.dataset == "coco":
        return _list_detector_points(experiment, division)
    return _list_classifier_points(experiment, settings, division)


def _list_detector_points(experiment: Experiment, division: BatchDivision) -> list[str]:
    points = [
        "learning rate drops after epochs 8 and 11, as in the authors' configurations; the paper says 'at the 9th "
        "and 11th epochs'",
        "gradient norm clipped at 35, as in the authors' configurations; the paper does not mention it",
        "images are not grouped by aspect ratio in a batch, as the authors' framework does: the padding of a pass to "
        "its largest image enters batch norm and the global context",
    ]
    gpus = _count_gpus(experiment)
    if division.processes == 1:
        points.append(
            f"1 process instead of {gpus} GPUs with synchronised batch norm: its statistics are over "
            f"{division.statistics} images"
        )
    elif (division.processes, division.statistics) != (gpus, experiment.recipe.batch_size):
        points.append(
            f"{division.processes} processes instead of {gpus} GPUs with synchronised batch norm: "
            f"{division.normalisation}"
        )
    group = experiment.detector.images_per_loss
    if group and division.per_pass % group:
        rest = f"groups of {group} images and one of {division.per_pass % group}" if division.per_pass > group else ""
        points.append(f"losses are means over {rest or division.per_pass}, not over the {group} images of a GPU")
    return points


def _count_gpus(experiment: Experiment) -> int:
    """How many GPUs share the batch, by the reading of the protocol that the experiment follows."""
    images = experiment.detector.images_per_loss
    return experiment.recipe.batch_size // images if images else _GPUS


_IMAGES = [
    "test images: short side of 256 pixels, crop of 224 in the centre, as in [33]; the paper says 'single-crop'",
    "images are resized by antialiased bilinear filters, Pillow's in the test and, at most 2 of 255 from it, PyTorch's "
    "in training; [33]'s code does not widen its filter where an image shrinks; colours are changed without clipping "
    "in between",
    "plain momentum and the initialisation of [10]; [33] has Nesterov's and, in its text, Xavier's, in its code a "
    "normal one by the mean of the fans",
]
_COLOURS = {
    "factors": "brightness, contrast (the text of [33] says hue) and saturation by 0.6 to 1.4, noise along the "
    "principal components of RGB, as in the code of [33]; the text of [14] has no change of colour, its authors' code "
    "a jitter of the pixels by 20 and rotations by 10 degrees",
    "pixels": "up to 20 of 255 added to each channel of an image and rotations by up to 10 degrees, as the README of "
    "[14] may be understood; [33] changes brightness, contrast, saturation and lighting",
    "none": "no change of colour, as in the text of [14]; [33] changes brightness, contrast, saturation and lighting",
}
_STAGE1 = (
    "stage 1: learning rate of 0.2, in proportion to the 0.1 for 256 images of [10]; the paper does not state it. "
    "Warm-up multiplies the cosine of the whole stage"
)
_STAGE2 = "stage 2 starts from one stage-1 network (seed 0) for all experiments and seeds; without warm-up"
_VIDEOS = [
    "dropout of 0.5 before the last layer, short sides of 256 to 320 pixels and crops of 224 in training, 10 clips of "
    "3 crops of 256 in testing, as in [6]; videos are read at their own frame rate and size, where the code of [6] "
    "takes 64/30 seconds of a short side of 256, and normalised as for the initial weights, not by its 0.45 and 0.225",
]


_INFLATED = (
    "inflated: the 2-D kernel in the middle tap of each 3-D one; the paper refers to [2], which divides by the taps"
)


def _list_classifier_points(experiment: Experiment, settings: Settings, division: BatchDivision) -> list[str]:
    """What the paper leaves open, and what is different here."""
    if experiment.dataset == "imagenet":
        colours = _COLOURS[experiment.recipe.colours]
        points = [*_IMAGES, f"augmentation: crops of 8 to 100 % of the area, flips, {colours}"]
        if experiment.recipe.initial_weights == "random":
            points.append(_STAGE1)
        elif not settings.initial:
            points.append(_STAGE2)
    else:
        centred = experiment.recipe.inflation == "centre" and settings.initial != "random"
        points = [_describe_schedule(experiment), *_VIDEOS, *([_INFLATED] if centred else [])]
    paper = SOURCES[experiment.dataset].per_gpu
    if division.statistics != paper:
        points.append(f"{division.normalisation} instead of the {paper} of one of {_GPUS} GPUs")
    if division.processes != _GPUS:
        points.append(
            f"{division.processes} {'process' if division.processes == 1 else 'processes'} instead of {_GPUS} GPUs, "
            f"batch of {division.effective} in passes of {division.per_pass}"
        )
    return points


def _describe_schedule(experiment: Experiment) -> str:
    recipe = experiment.recipe
    if recipe.schedule == "cosine":
        return (
            f"schedule of [6] for training from scratch with clips of 8 frames: {recipe.epochs} epochs, "
            f"{recipe.warmup_epochs} of them warm-up, learning rate of {recipe.learning_rate:g} for "
            f"{recipe.batch_size} clips in proportion to its 1.6 for 1024; the paper states none"
        )
    drops = " and ".join(map(str, recipe.decay_epochs))
    return (
        f"schedule of the code of [6] for networks that start from ImageNet weights: {recipe.epochs} epochs, learning "
        f"rate of {recipe.learning_rate:g} for {recipe.batch_size} clips, a tenth of it after epochs {drops}; the "
        "paper states none, and the text of [6] one for training from scratch"
    )


def _describe_batch_norm(division: BatchDivision) -> str:
    if division.processes == 1:
        return "batch norm over the batch of one process"
    return f"{division.normalisation}; losses normalised over the {division.per_pass} images of each process"


def resumption_deviations(segments: Sequence[Segment]) -> list[str]:
    """What a training is that was resumed with another number of processes than before."""
    if len({segment.world_size for segment in segments}) < 2:
        return []
    parts = [f"{segment.world_size} from iteration {segment.start}" for segment in segments]
    return [f"trained by a changing number of processes: {', '.join(parts)}"]


def describe_overrides(experiment: Experiment) -> list[str]:
    """What was set with --set of the recipe: it is another experiment than the paper's, and no departure of its own."""
    base, changes = overrides.split_name(experiment.name)
    if not any(path.startswith("recipe.") for path, _ in changes):  # another network is no other protocol
        return []
    before = readings.get_experiment(base, experiment.profile, experiment.readings)
    return [text for text in overrides.describe(experiment, before) if text.startswith("recipe.")]


def recipe_overrides(experiment: Experiment, settings: Settings, division: BatchDivision) -> list[str]:
    """What was asked for that makes it another recipe than the paper's; no verdict follows from such a training."""
    departures = []
    batch = settings.batch_size or experiment.recipe.batch_size
    wanted = experiment.recipe.initial_weights
    if settings.initial == "random" and wanted != "random":
        departures.append(f"random initial weights instead of {wanted}")
    elif settings.initial and keys.initial_weights_key(experiment, settings) != wanted:
        departures.append(f"initial weights given by hand, {Path(settings.initial).name}, instead of {wanted}")
    if batch != experiment.recipe.batch_size:
        departures.append(
            f"effective batch of {batch} instead of {experiment.recipe.batch_size}, learning rate in proportion"
        )
    if settings.iterations is not None:
        length = "1 iteration" if settings.iterations == 1 else f"{settings.iterations} iterations"
        departures.append(f"trained for {length} instead of {experiment.recipe.epochs} epochs")
    if experiment.dataset == "coco" and division.per_pass < division.per_process:
        departures.append(f"batch norm over {division.statistics} images, gradients accumulated to the batch")
    return departures + numeric_overrides(settings)


def numeric_overrides(settings: Settings) -> list[str]:
    """What was asked for of any measurement that makes its numbers others; no verdict follows from it either."""
    if settings.precision != "32-true":
        return [f"precision {settings.precision} instead of float32"]
    return []


def weights_deviations(choice: Choice, checkpoint: Checkpoint) -> list[str]:
    """What weights that others trained are, and by whose conventions they are evaluated."""
    points = []
    if choice.match == "exact":
        points.append("the authors' released weights; that they are the paper's own run is not stated")
    else:
        points.append(f"not the paper's training: {choice.id}: {choice.differs}")
    if not checkpoint.verified:
        points.append("the file was checked against no published hash")
    if checkpoint.format in preprocessing.FORMATS:
        inputs = preprocessing.preprocessing_for(checkpoint.format, checkpoint.id)
        points.append(f"inputs as their publisher's: {inputs.describe()}")
        if checkpoint.conventions != _PAPER:
            points.append(f"legacy: computed as in {checkpoint.conventions}, in which the weights were trained")
    elif checkpoint.conventions not in (AUTHORS.name, MMDETECTION_1.name):
        points.append(
            f"legacy: images, anchors, proposals, RoIAlign, boxes and masks as in {checkpoint.conventions}, in which "
            "the weights were trained"
        )
    return points
