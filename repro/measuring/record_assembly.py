"""The one place in which records are assembled, whatever was measured."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from repro.experiments import Experiment, get, is_published, overrides
from repro.paper import tolerances
from repro.paper.hypotheses import hash_hypotheses
from repro.records import (
    Complexity,
    Cost,
    DataSet,
    Metric,
    OwnExperiment,
    OwnFile,
    OwnSource,
    Record,
    Store,
    Submitted,
    Training,
    Weights,
)


@dataclass(frozen=True)
class MeasuredNetwork:
    """What a record says of the network that was measured."""

    experiment: str
    profile: Literal["full", "mini"]
    source: Literal["trained", "checkpoint"]
    engine: str
    seed: int
    spec_hash: str
    own: OwnExperiment | None
    deviations: Sequence[str]
    departures: Sequence[str]
    readings: Mapping[str, str]
    weights: Weights
    training: Training | None
    complexity: Complexity | None


@dataclass(frozen=True)
class Conditions:
    """What a record says of the items, the arithmetic and the machine that it was measured on."""

    predictions_sha256: str
    dataset: DataSet
    numerics: dict[str, str | int | bool]
    environment: dict[str, str | bool | None]
    cost: Cost
    predictions_file_sha256: str | None = None  #: None where they are in no packed file


def assemble_record(
    network: MeasuredNetwork,
    conditions: Conditions,
    metrics: Sequence[Metric],
    *,
    evaluator: str,
    command: str,
    key: str,
    submitted: Submitted | None = None,
) -> Record:
    """The record of `metrics`, with the tolerances in force: kept beside them, so that a later edit shows.

    Args:
        evaluator: name and version of what computed the metrics.
        key: the record's cache key.
        submitted: what was sent to COCO's evaluation server, where the metrics are its answer.
    """
    in_force = tolerances.load().in_force([metric.name for metric in metrics], conditions.dataset.name)
    # Several answers to one submission are told apart by their time.
    precision = "microseconds" if submitted else "seconds"
    return Record(
        experiment=network.experiment,
        profile=network.profile,
        source=network.source,
        engine=network.engine,
        seed=network.seed,
        spec_hash=network.spec_hash,
        own=network.own,
        command=command,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec=precision),
        deviations=list(network.deviations),
        departures=list(network.departures),
        readings=dict(network.readings),
        metrics=list(metrics),
        evaluator=evaluator,
        predictions_sha256=conditions.predictions_sha256,
        predictions_file_sha256=conditions.predictions_file_sha256,
        weights=network.weights,
        dataset=conditions.dataset,
        training=network.training,
        numerics=conditions.numerics,
        environment=conditions.environment,
        cost=conditions.cost,
        complexity=network.complexity,
        submitted=submitted,
        tolerances=in_force if network.profile == "full" else None,
        hypotheses=hash_hypotheses(get(network.experiment).dataset) if network.profile == "mini" else None,
        key=key,
    )


def describe_own(experiment: Experiment) -> OwnExperiment | None:
    """What a record says of an experiment that is not the paper's."""
    if is_published(experiment.name):
        return None
    source = experiment.source and OwnSource(
        name=experiment.source.name,
        sha256=experiment.source.sha256,
        files=[
            OwnFile(name=file.name, sha256=file.sha256, lines=None if file.text is None else file.text.splitlines())
            for file in experiment.source.files
        ],
    )
    changes = dict(overrides.split_name(experiment.name)[1])
    return OwnExperiment(derived_from=experiment.derived_from, overrides=changes, source=source)


def find_complexity(store: Store, spec_hash: str) -> Complexity | None:
    """Parameters and operations of a network, if it has been counted."""
    count = store.counts().get(spec_hash)
    return Complexity(params=count.params, macs=count.macs, input_shape=count.input_shape) if count else None
