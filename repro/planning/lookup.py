"""Which record answers a work order. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from repro.evaluation import ATTENTION_EVALUATOR, EVALUATORS
from repro.experiments import Experiment
from repro.records import Record


def find_record(records: Iterable[Record], key: str, experiment: Experiment) -> Record | None:
    """The record of a training, or of an evaluation of weights, with this key, evaluated as it would be now."""
    evaluator = EVALUATORS[experiment.dataset]
    return next((r for r in records if r.measured_by == key and r.evaluator == evaluator), None)


def find_attention_record(records: Iterable[Record], accuracy: Record) -> Record | None:
    """The record of the statistics of attention, as they would be computed now, in the network of another record."""
    return next((r for r in records if r.evaluator == ATTENTION_EVALUATOR and r.network == accuracy.network), None)
