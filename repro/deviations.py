"""Where a measurement departs from the paper's protocol, as records and tables say it. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from repro import plan
from repro.checkpoints.choice import Choice
from repro.detection.conventions import AUTHORS
from repro.division import Division
from repro.experiments import Experiment
from repro.records import Checkpoint, Segment
from repro.settings import Settings

#: "We trained on 8 GPUs with 2 images per GPU", "we use Synchronized BatchNorm" (Section 5.1).
_GPUS = 8


def inherent(experiment: Experiment, settings: Settings, division: Division) -> list[str]:
    """Of every training of this kind, or of what the paper says of it."""
    if settings.profile == "mini":
        return [
            "mini profile: generated data and a scaled-down network, not comparable with any published number",
            f"{experiment.recipe.optimizer}, {experiment.recipe.schedule} schedule, batch of "
            f"{experiment.recipe.batch_size}, {_batch_norm(division)}",
        ]
    found = [
        "learning rate drops after epochs 8 and 11, as in the authors' configurations; the paper says 'at the 9th "
        "and 11th epochs'",
        "gradient norm clipped at 35, as in the authors' configurations; the paper does not mention it",
        "images are not grouped by aspect ratio in a batch, as the authors' framework does to save padding",
    ]
    if division.processes == 1:
        found.append(
            f"1 process instead of {_GPUS} GPUs with synchronised batch norm: its statistics are over "
            f"{division.statistics} images"
        )
    elif (division.processes, division.statistics) != (_GPUS, experiment.recipe.batch_size):
        found.append(
            f"{division.processes} processes instead of {_GPUS} GPUs with synchronised batch norm: "
            f"{division.normalisation}; losses normalised over the {division.per_pass} images of each"
        )
    return found


def _batch_norm(division: Division) -> str:
    if division.processes == 1:
        return "batch norm over the batch of one process"
    return f"{division.normalisation}; losses normalised over the {division.per_pass} images of each process"


def resumed(segments: Sequence[Segment]) -> list[str]:
    """Of a training that was taken up with another number of processes than before."""
    if len({segment.world_size for segment in segments}) < 2:
        return []
    parts = [f"{segment.world_size} from iteration {segment.start}" for segment in segments]
    return [f"trained by a changing number of processes: {', '.join(parts)}"]


def asked_for(experiment: Experiment, settings: Settings, division: Division) -> list[str]:
    """What was asked for that makes it another recipe than the paper's; no verdict follows from such a training."""
    found = []
    batch = settings.batch_size or experiment.recipe.batch_size
    if settings.initial == "random":
        found.append("random initial weights instead of ImageNet's")
    elif settings.initial and plan.start(experiment, settings) != experiment.recipe.initial_weights:
        found.append(f"initial weights from a file given by hand instead of {experiment.recipe.initial_weights}")
    if batch != experiment.recipe.batch_size:
        found.append(
            f"effective batch of {batch} instead of {experiment.recipe.batch_size}, learning rate in proportion"
        )
    if settings.iterations is not None:
        found.append(f"trained for {settings.iterations} iterations instead of {experiment.recipe.epochs} epochs")
    if division.per_pass < division.per_process:
        found.append(f"batch norm over {division.statistics} images, gradients accumulated to the batch")
    return found + asked_for_numerics(settings)


def asked_for_numerics(settings: Settings) -> list[str]:
    """What was asked for of any measurement that makes its numbers others; no verdict follows from it either."""
    if settings.precision != "32-true":
        return [f"precision {settings.precision} instead of float32"]
    return []


def of_weights(choice: Choice, checkpoint: Checkpoint) -> list[str]:
    """Of evaluating weights that others trained: what they are, and by whose conventions they are evaluated."""
    found = []
    if choice.match == "exact":
        found.append("the authors' released weights; that they are the paper's own run is not stated")
    else:
        found.append(f"not the paper's training: {choice.id}: {choice.differs}")
    if not checkpoint.verified:
        found.append("the file was checked against no published hash")
    if checkpoint.conventions != AUTHORS.name:
        found.append(
            f"legacy: images, anchors, RoIAlign, boxes and masks as in {checkpoint.conventions}, in which the weights "
            "were trained"
        )
    return found
