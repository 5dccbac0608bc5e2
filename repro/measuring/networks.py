"""Networks to evaluate, with what a record says of how they came to be."""

from __future__ import annotations

from collections.abc import Sequence
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
class EvaluatedNetwork:
    """A network whose weights will not change any more. Cost is of its training, if that was here."""

    model: nn.Module
    weights: Weights
    engine: str
    deviations: Sequence[str]
    departures: Sequence[str]
    training: Training | None = None
    train_seconds: float = 0.0
    peak_memory_bytes: int = 0


def load_public_network(
    experiment: Experiment, choice: Choice, key: str, settings: Settings, progress: ProgressReport
) -> EvaluatedNetwork:
    """The network with weights that others trained: fetched, checked and converted.

    Args:
        key: of the evaluation that this is for.

    Raises:
        ReproError: as `prepare.prepare`.
    """
    prepared = prepare.prepare(experiment, choice, key, progress, settings.engine)
    departures = deviations.numeric_overrides(settings)
    return EvaluatedNetwork(
        model=prepared.model,
        weights=prepared.weights,
        engine=settings.engine,
        deviations=[*deviations.weights_deviations(choice, prepared.checkpoint), *departures],
        departures=departures,
    )
