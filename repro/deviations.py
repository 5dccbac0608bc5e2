"""Where a measurement departs from the paper's protocol, as records and tables say it. Imports no torch."""

from __future__ import annotations

from repro import plan
from repro.checkpoints.choice import Choice
from repro.detection.conventions import AUTHORS
from repro.experiments import Experiment
from repro.records import Checkpoint
from repro.settings import Settings


def inherent(experiment: Experiment, settings: Settings, processes: int) -> list[str]:
    """Of every training of this kind, or of what the paper says of it."""
    if settings.profile == "mini":
        return [
            "mini profile: generated data and a scaled-down network, not comparable with any published number",
            f"{experiment.recipe.optimizer}, {experiment.recipe.schedule} schedule, batch of "
            f"{experiment.recipe.batch_size}, batch norm over the batch of one process",
        ]
    batch = settings.batch_size or experiment.recipe.batch_size
    return [
        "learning rate drops after epochs 8 and 11, as in the authors' configurations; the paper says 'at the 9th "
        "and 11th epochs'",
        "gradient norm clipped at 35, as in the authors' configurations; the paper does not mention it",
        f"{processes} process instead of 8 GPUs with synchronised batch norm: its statistics are over "
        f"{settings.micro_batch or batch} images",
        "images are not grouped by aspect ratio in a batch, as the authors' framework does to save padding",
    ]


def asked_for(experiment: Experiment, settings: Settings) -> list[str]:
    """What was asked for that makes it another recipe than the paper's; no verdict follows from such a training."""
    found = []
    batch = settings.batch_size or experiment.recipe.batch_size
    if settings.initial == "random":
        found.append("random initial weights instead of ImageNet's")
    elif plan.start(experiment, settings) != experiment.recipe.initial_weights:
        found.append(f"initial weights from a file given by hand instead of {experiment.recipe.initial_weights}")
    if batch != experiment.recipe.batch_size:
        found.append(
            f"effective batch of {batch} instead of {experiment.recipe.batch_size}, learning rate in proportion"
        )
    if settings.iterations is not None:
        found.append(f"trained for {settings.iterations} iterations instead of {experiment.recipe.epochs} epochs")
    if settings.micro_batch is not None:
        found.append(f"batch norm over {settings.micro_batch} images, gradients accumulated to the batch")
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
        found.append(f"the authors' released weights ({choice.id}); that they are the paper's own run is not stated")
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
