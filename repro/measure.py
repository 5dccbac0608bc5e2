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

from repro import deviations, devices, mini, paper, plan
from repro.checkpoints import prepare
from repro.checkpoints.choice import Choice
from repro.data import miniature
from repro.data.coco import CocoDetection
from repro.data.layout import is_val2017
from repro.detection.detector import DetectorModule
from repro.division import Division, carried_out, divide
from repro.engine import distributed, launch
from repro.engine.launch import Processes
from repro.engine.memory import enough_memory, peak_memory, reset_peak_memory
from repro.engine.state import finished
from repro.evaluation import COCO_EVALUATOR
from repro.evaluation import coco as evaluation
from repro.experiments import Experiment
from repro.locks import locked
from repro.predict import Predictor, ProgressReport
from repro.provenance import environment
from repro.records import Complexity, Cost, DataSet, Metric, Record, Training, Weights, cache_key
from repro.settings import Settings
from repro.train import Start, starting_point, train


@dataclass(frozen=True)
class _Task:
    """One measurement, as every process that shares it sees it."""

    experiment: Experiment
    weights: Choice | None  #: to evaluate; None: to be trained
    settings: Settings
    key: str
    processes: Processes
    accelerator: str
    division: Division | None  #: of a training's batch
    progress: ProgressReport

    @property
    def directory(self) -> Path:
        kind = "checkpoint" if self.weights else f"seed{self.settings.seed}"
        name = f"{self.experiment.name}.{self.settings.profile}.{kind}.{self.key[:12]}"
        return self.settings.results / "runs" / name

    @cached_property
    def fabric(self) -> Fabric:
        return distributed.fabric(self.processes, self.accelerator, self.settings.precision)

    @property
    def root(self) -> Path:
        if self.settings.profile == "full":
            return self.settings.data_root
        return self.settings.results / "data" / f"mini-{mini.DATASET_KEY[:12]}"

    @cached_property
    def training_data(self) -> CocoDetection:
        return self._split("train2017")

    @cached_property
    def validation_data(self) -> CocoDetection:
        return self._split("val2017")

    def _split(self, split: str) -> CocoDetection:
        network = self.experiment.network
        return CocoDetection(
            self.root, split, network.num_classes, network.short_side, network.long_side,
            flip=self.experiment.recipe.flip,
        )  # fmt: skip


@dataclass(frozen=True)
class _Network:
    """What is to be evaluated, and what the record says of how it came to be."""

    model: DetectorModule
    weights: Weights
    deviations: list[str]
    departures: list[str]
    training: Training | None = None
    seconds: float = 0.0
    peak_memory_bytes: int = 0


def measure(
    name: str,
    settings: Settings,
    *,
    command: str,
    progress: ProgressReport,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """The record of an experiment: an existing one of the same cache key, or a new measurement.

    Of several processes every one calls this and gets the record; the first alone writes, and calls the reports.

    Args:
        progress: called as the work advances.
        say: called with how the batch is divided, before a training.

    Raises:
        ReproError: bad or missing input, a training that diverged, an output directory that cannot be written, a GPU
            with too little memory, or a process that was lost.
    """
    processes = launch.processes(settings.devices)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # cuDNN's default is True
    torch.set_num_threads(settings.threads)
    with distributed.together(processes):
        task = _task(name, settings, processes, progress if processes.rank == 0 else lambda stage, done, total: None)
        with locked(task.directory) if task.fabric.is_global_zero else nullcontext():
            return _shared(task, command, say)


def check(name: str, settings: Settings) -> None:
    """Meet what any process would refuse at once, before several are started.

    Raises:
        ReproError: as of `measure`, for what the settings and the data set's annotations show.
    """
    _task(name, settings, launch.processes(settings.devices), progress=lambda stage, done, total: None)


def _task(name: str, settings: Settings, processes: Processes, progress: ProgressReport) -> _Task:
    processes.confirm(settings.devices)
    experiment = plan.at_profile(name, settings.profile)
    weights = plan.chosen(experiment, settings)
    key = plan.evaluation_key(experiment, settings, weights) if weights else plan.training_key(experiment, settings)
    accelerator = distributed.accelerator(settings.device, processes)
    plan.check_precision(experiment, settings.precision, accelerator)
    division = None if weights else divide(experiment, settings, processes, accelerator)
    return _Task(experiment, weights, settings, key, processes, accelerator, division, progress)


def _shared(task: _Task, command: str, say: Callable[[str], None]) -> Record:
    """The record, in every process."""
    fabric, settings = task.fabric, task.settings
    first = fabric.is_global_zero
    record = plan.find(settings.store.all(), task.key) if first else None
    # What one process does for all is done before it joins the others, who wait for it in `launch`.
    start = _prepared(task) if first and not record else None
    fabric.launch()
    torch.set_num_threads(settings.threads)  # `launch` may set another number
    record, start = fabric.broadcast((record, start))
    if record is None:
        if task.division and first and not finished(task.directory):
            say(task.division.describe(carried_out(task.experiment, settings), task.experiment.recipe))
        record = fabric.broadcast(_measured(task, start, command))
    return record


def _prepared(task: _Task) -> Start | None:
    """Generate or open the data, and fetch or train the weights, that all will read. What a training starts from."""
    reset_peak_memory()
    if task.settings.profile == "mini":
        miniature.generate(task.root, mini.MINI_DATA_SEED)
    _ = task.validation_data
    if task.weights:
        if task.fabric.world_size > 1:
            prepare.obtain(task.weights, task.progress)
        return None
    _ = task.training_data
    return starting_point(task.experiment, task.settings, task.fabric, task.progress)


def _measured(task: _Task, start: Start | None, command: str) -> Record | None:
    """Train, predict and evaluate; the record in the first process, nothing in the others."""
    experiment, settings, fabric = task.experiment, task.settings, task.fabric
    validation = task.validation_data
    network = _fetched(task) if task.weights else _trained(task, start)
    predictor = Predictor(network.model, validation, task.directory, fabric)
    with enough_memory("evaluation", "One image at a time is the least: free the GPU, or evaluate with --device cpu."):
        detections = predictor.predict(network.weights.sha256, task.progress)
    if not fabric.is_global_zero:
        return None
    predictions = evaluation.save_predictions(detections, task.directory / "predictions.json.gz")
    metrics = evaluation.evaluate(detections, validation)
    n = len(validation)
    record = Record(
        experiment=experiment.name,
        profile=settings.profile,
        source="trained" if network.training else "checkpoint",
        engine=settings.engine,
        seed=settings.seed,
        spec_hash=experiment.spec_hash,
        command=command,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        deviations=network.deviations,
        departures=network.departures,
        metrics=[Metric(name=metric, value=value, unit="%", n=n) for metric, value in metrics.items()],
        evaluator=COCO_EVALUATOR,
        predictions_sha256=predictions,
        weights=network.weights,
        dataset=DataSet(
            name=_name(validation, settings),
            annotations_sha256=validation.annotations_sha256,
            ids_sha256=validation.ids_sha256,
            required=paper.DATASETS["coco-val2017"].size if settings.profile == "full" else n,
            expected=n,
            evaluated=len(detections),
        ),
        training=network.training,
        numerics=devices.numerics(settings),
        environment=environment(devices.hardware(fabric)),
        cost=Cost(
            train_seconds=network.seconds,
            evaluate_seconds=predictor.seconds,
            peak_memory_bytes=max(network.peak_memory_bytes, peak_memory(fabric.device)),
            images_per_second=n / predictor.seconds,
        ),
        complexity=_complexity(experiment, settings),
        key=cache_key(predictions=predictions, evaluator=COCO_EVALUATOR, training=task.key),
    )
    settings.store.add(record)
    predictor.clean()
    return record


def _trained(task: _Task, start: Start) -> _Network:
    experiment, settings = task.experiment, task.settings
    with enough_memory("training", _less_memory(settings, task.division)):
        trained = train(
            experiment, settings, task.training_data, start, task.division, task.key, task.directory, task.fabric,
            task.progress,
        )  # fmt: skip
    departures = deviations.asked_for(experiment, settings, trained.division)
    return _Network(
        model=trained.model,
        weights=trained.weights,
        deviations=[
            *deviations.inherent(experiment, settings, trained.division),
            *deviations.resumed(trained.training.segments),
            *departures,
        ],
        departures=departures,
        training=trained.training,
        seconds=trained.seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
    )


def _less_memory(settings: Settings, division: Division) -> str:
    if settings.profile == "mini":
        return "Free the GPU, or train with --device cpu."
    return (
        f"Lower --micro-batch (now {division.per_pass} images a pass), use --precision bf16-mixed, or more --devices."
    )


def _fetched(task: _Task) -> _Network:
    prepared = prepare.prepare(task.experiment, task.weights, task.key, task.progress, task.settings.engine)
    departures = deviations.asked_for_numerics(task.settings)
    return _Network(
        model=prepared.model,
        weights=prepared.weights,
        deviations=deviations.of_weights(task.weights, prepared.weights.checkpoint) + departures,
        departures=departures,
    )


def _name(validation: CocoDetection, settings: Settings) -> str:
    """What the evaluated data are, as records and tables name it."""
    if settings.profile == "mini":
        return "mini-val2017"
    return (
        "coco-val2017" if is_val2017(validation.category_ids, len(validation), validation.objects) else "not COCO 2017"
    )


def _complexity(experiment: Experiment, settings: Settings) -> Complexity | None:
    """Of the evaluated network, if it has been counted."""
    count = settings.store.counts().get(experiment.spec_hash)
    return count and Complexity(params=count.params, macs=count.macs, input_shape=count.input_shape)
