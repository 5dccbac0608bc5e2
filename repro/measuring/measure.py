"""One experiment from its data set to its record: train or fetch, predict, evaluate. Each is kept, none done twice."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric

from repro import tasks
from repro.checkpoints.choice import Choice
from repro.conversion import prepare
from repro.engine import devices, distributed, launch
from repro.engine.launch import Processes
from repro.engine.memory import enough_memory, peak_memory, reset_peak_memory
from repro.engine.state import finished
from repro.evaluation.predictor import Predictor, ProgressReport
from repro.experiments import Experiment
from repro.files.locks import locked
from repro.measuring import deviations
from repro.measuring.batch_division import Division, carried_out, divide
from repro.measuring.network import Evaluated, of_others
from repro.measuring.training import Start, starting_point, train
from repro.paper import tolerances
from repro.planning import plan
from repro.records import Complexity, Cost, DataSet, Metric, Record, cache_key
from repro.records.environment import environment
from repro.settings import Settings
from repro.tasks import Task


@dataclass(frozen=True)
class _Measurement:
    """One measurement, as every process that shares it sees it."""

    task: Task
    weights: Choice | None  #: to evaluate; None: to be trained
    key: str
    directory: Path
    processes: Processes
    accelerator: str
    division: Division | None  #: of a training's batch
    progress: ProgressReport

    @property
    def experiment(self) -> Experiment:
        return self.task.experiment

    @property
    def settings(self) -> Settings:
        return self.task.settings

    @cached_property
    def fabric(self) -> Fabric:
        return distributed.fabric(self.processes, self.accelerator, self.settings.precision)


def measure(
    name: str,
    settings: Settings,
    *,
    command: str,
    progress: ProgressReport,
    say: Callable[[str], None] = lambda text: None,
    keep_weights: bool = False,
) -> Record:
    """The record of an experiment: an existing one of the same cache key, or a new measurement.

    Of several processes every one calls this and gets the record; the first alone writes, and calls the reports.

    Args:
        progress: called as the work advances.
        say: called with how the batch is divided, before a training.
        keep_weights: a record will not do, if the weights that were trained for it are not here any more.

    Raises:
        ReproError: bad or missing input, a training that diverged, an output directory that cannot be written, a GPU
            with too little memory, or a process that was lost.
    """
    processes = launch.processes(settings.devices)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # cuDNN's default is True
    torch.set_num_threads(settings.threads)
    report = progress if processes.rank == 0 else lambda stage, done, total: None
    with distributed.together(processes):
        measurement = _measurement(name, settings, processes, report)
        earlier = plan.prerequisite(measurement.experiment, settings) if measurement.division else None
        lost = keep_weights and not finished(measurement.directory)
        if earlier and (lost or not _recorded(measurement)):
            _alone(_measurement(earlier[0].name, earlier[1], processes, report), command, say, keep_weights=True)
        return _alone(measurement, command, say, keep_weights=keep_weights and measurement.weights is None)


def check(name: str, settings: Settings) -> None:
    """Meet what any process would refuse at once, before several are started.

    Raises:
        ReproError: as of `measure`, for what the settings and the data set's annotations show.
    """
    _measurement(name, settings, launch.processes(settings.devices), progress=lambda stage, done, total: None)


def _measurement(name: str, settings: Settings, processes: Processes, progress: ProgressReport) -> _Measurement:
    processes.confirm(settings.devices)
    experiment = plan.at_profile(name, settings.profile)
    weights = plan.chosen(experiment, settings)
    key = plan.evaluation_key(experiment, settings, weights) if weights else plan.training_key(experiment, settings)
    accelerator = distributed.accelerator(settings.device, processes)
    plan.check_arithmetic(experiment, settings, accelerator)
    division = None if weights else divide(experiment, settings, processes, accelerator)
    directory = plan.run_directory(experiment, settings, weights)
    return _Measurement(
        tasks.task_for(experiment, settings), weights, key, directory, processes, accelerator, division, progress
    )


def _recorded(measurement: _Measurement) -> Record | None:
    return plan.find(measurement.settings.store.all(), measurement.key, measurement.experiment)


def _alone(measurement: _Measurement, command: str, say: Callable[[str], None], keep_weights: bool = False) -> Record:
    """The record, in every process; nobody else measures the same meanwhile.

    Args:
        keep_weights: a record will not do, if the trained weights are not there any more.
    """
    first = measurement.fabric.is_global_zero
    with locked(measurement.directory) if first else nullcontext():
        return _shared(measurement, command, say, keep_weights)


def _shared(measurement: _Measurement, command: str, say: Callable[[str], None], keep_weights: bool) -> Record:
    fabric, settings, task = measurement.fabric, measurement.settings, measurement.task
    first = fabric.is_global_zero
    record = _recorded(measurement) if first else None
    if keep_weights and not finished(measurement.directory):
        record = None
    # What one process does for all is done before it joins the others, who wait for it in `launch`.
    start = _prepared(measurement) if first and not record else None
    fabric.launch()
    torch.set_num_threads(settings.threads)  # `launch` may set another number
    record, start = fabric.broadcast((record, start))
    if record is None:
        if measurement.division and first and not finished(measurement.directory):
            how = measurement.division.describe(carried_out(task.experiment, settings), task.experiment.recipe)
            say(f"{task.experiment.name}: {how}")
        record = fabric.broadcast(_measured(measurement, start, command))
    return record


def _prepared(measurement: _Measurement) -> Start | None:
    """Generate or open the data, and fetch or train the weights, that all will read. What a training starts from."""
    reset_peak_memory()
    task = measurement.task
    if task.settings.profile == "mini":
        task.generate()
    _ = task.validation_data
    if measurement.weights:
        if measurement.fabric.world_size > 1:
            prepare.fetch_chosen(measurement.weights, measurement.progress)
        return None
    _ = task.training_data
    return starting_point(task, measurement.fabric, measurement.progress)


def _measured(measurement: _Measurement, start: Start | None, command: str) -> Record | None:
    """Train, predict and evaluate; the record in the first process, nothing in the others."""
    task, fabric = measurement.task, measurement.fabric
    experiment, settings = task.experiment, task.settings
    network = _fetched(measurement) if measurement.weights else _trained(measurement, start)
    evaluation = task.build_evaluation(network.model, network.weights.checkpoint)
    predictor = Predictor(evaluation, measurement.directory, fabric)
    with enough_memory("evaluation", "It is as small as it gets: free the GPU, or evaluate with --device cpu."):
        predicted = predictor.predict(network.weights.sha256, measurement.progress)
    if not fabric.is_global_zero:
        return None
    found, failed = predicted.found, [one.item_id for one in predicted.failed]
    predictions = evaluation.save(found, measurement.directory / f"predictions{evaluation.suffix}")
    metrics, dataset = task.compute_metrics(found, failed), task.describe_dataset(len(found), failed)
    record = Record(
        experiment=experiment.name,
        profile=settings.profile,
        source="trained" if network.training else "checkpoint",
        engine=network.engine,
        seed=settings.seed,
        spec_hash=experiment.spec_hash,
        command=command,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        deviations=network.deviations,
        departures=network.departures,
        metrics=metrics,
        evaluator=task.evaluator,
        predictions_sha256=predictions,
        weights=network.weights,
        dataset=dataset,
        training=network.training,
        numerics=devices.numerics(settings, task.evaluation_batch, task.choose_memory_format(fabric)),
        environment=environment(devices.hardware(fabric)),
        cost=Cost(
            train_seconds=network.train_seconds,
            evaluate_seconds=predictor.seconds,
            peak_memory_bytes=max(network.peak_memory_bytes, peak_memory(fabric.device)),
            images_per_second=len(found) / predictor.seconds,
        ),
        complexity=_complexity(experiment, settings),
        tolerances=_in_force(metrics, dataset) if settings.profile == "full" else None,
        key=cache_key(predictions=predictions, evaluator=task.evaluator, training=measurement.key),
    )
    settings.store.add(record)
    predictor.clean()
    return record


def _trained(measurement: _Measurement, start: Start) -> Evaluated:
    experiment, settings = measurement.experiment, measurement.settings
    with enough_memory("training", _less_memory(settings, measurement.division)):
        trained = train(
            measurement.task, start, measurement.division, measurement.key, measurement.directory, measurement.fabric,
            measurement.progress,
        )  # fmt: skip
    departures = deviations.asked_for(experiment, settings, trained.division)
    return Evaluated(
        model=trained.model,
        weights=trained.weights,
        engine=settings.engine,
        deviations=[
            *deviations.inherent(experiment, settings, trained.division),
            *deviations.resumed(trained.training.segments),
            *departures,
        ],
        departures=departures,
        training=trained.training,
        train_seconds=trained.seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
    )


def _less_memory(settings: Settings, division: Division) -> str:
    if settings.profile == "mini":
        return "Free the GPU, or train with --device cpu."
    return f"Lower --micro-batch (now {division.per_pass} a pass), use --precision bf16-mixed, or more --devices."


def _fetched(measurement: _Measurement) -> Evaluated:
    settings = measurement.settings
    network = of_others(measurement.experiment, measurement.weights, measurement.key, settings, measurement.progress)
    devices.lay_out(network.model, measurement.task.choose_memory_format(measurement.fabric))
    if settings.compile:
        devices.compiled(network.model)
    return network


def _in_force(metrics: list[Metric], dataset: DataSet) -> dict[str, dict[str, float]]:
    """The tolerances before the metrics were known, so that a later edit shows."""
    return tolerances.load().in_force([metric.name for metric in metrics], dataset.name)


def _complexity(experiment: Experiment, settings: Settings) -> Complexity | None:
    """Of the evaluated network, if it has been counted."""
    count = settings.store.counts().get(experiment.spec_hash)
    return count and Complexity(params=count.params, macs=count.macs, input_shape=count.input_shape)
