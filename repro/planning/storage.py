"""How many bytes trainings of the full profile leave and need. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repro.data.sources import SOURCES
from repro.engine.schedule import count_iterations, count_iterations_per_epoch
from repro.experiments import Experiment
from repro.planning.rates import count_like

#: Bytes of a parameter in float32, and in a state: its weight and its momentum.
_WEIGHT, _STATE = 4, 8
#: States of a training at work: the last one and the one before it.
_STATES = 2
#: Bytes of a line of `log.jsonl`, as the mini profile's trainings wrote them: five losses, or one.
_DETECTOR_LINE, _CLASSIFIER_LINE = 250, 75


@dataclass(frozen=True)
class Storage:
    """Bytes in a directory of results. Predictions are not among them: of photographs none have been written yet."""

    weights: int  #: of what was trained
    logs: int  #: a line for each iteration
    states: int  #: of the largest network, while its training is at work


def estimate_storage(experiments: Iterable[Experiment]) -> Storage:
    """Estimate the bytes of trainings, each experiment as often as it is given."""
    weights = logs = states = 0
    for experiment in experiments:
        params = count_like(experiment).params
        weights += _WEIGHT * params
        states = max(states, _STATES * _STATE * params)
        line = _DETECTOR_LINE if experiment.dataset == "coco" else _CLASSIFIER_LINE
        per_epoch = count_iterations_per_epoch(SOURCES[experiment.dataset].training_items, experiment.recipe.batch_size)
        logs += line * count_iterations(experiment.recipe, per_epoch)
    return Storage(weights, logs, states)
