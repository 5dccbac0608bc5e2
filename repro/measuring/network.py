"""Networks to evaluate, with what a record says of how they came to be."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from repro.checkpoints.choice import Choice
from repro.conversion import prepare
from repro.evaluation.predictor import ProgressReport
from repro.experiments import Experiment
from repro.measuring import deviations
from repro.records import Training, Weights
from repro.settings import Settings


@dataclass(frozen=True)
class Evaluated:
    """A network whose weights will not change any more. Cost is of its training, if that was here."""

    model: nn.Module
    weights: Weights
    engine: str
    deviations: list[str]
    departures: list[str]
    training: Training | None = None
    train_seconds: float = 0.0
    peak_memory_bytes: int = 0


def of_others(
    experiment: Experiment, choice: Choice, key: str, settings: Settings, progress: ProgressReport
) -> Evaluated:
    """The network with weights that others trained: fetched, checked and converted.

    Args:
        key: of the evaluation that this is for.

    Raises:
        ReproError: as of `prepare.prepare`.
    """
    prepared = prepare.prepare(experiment, choice, key, progress, settings.engine)
    departures = deviations.asked_for_numerics(settings)
    return Evaluated(
        model=prepared.model,
        weights=prepared.weights,
        engine=settings.engine,
        deviations=deviations.of_weights(choice, prepared.weights.checkpoint) + departures,
        departures=departures,
    )
