"""The stages in which a work order is executed: acquire, load or train, predict, evaluate, assemble the record."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import cached_property

from lightning_fabric import Fabric

from repro import tasks
from repro.conversion import prepare
from repro.engine import devices, distributed, instructions
from repro.engine.compilation import compile_model
from repro.engine.launch import Processes
from repro.engine.logs import append_evaluation
from repro.engine.memory import (
    explain_memory_errors,
    measure_peak_memory,
    reset_peak_memory,
    suggest_for_evaluation,
)
from repro.evaluation.predictor import Predicted, Predictor, ProgressReport
from repro.files.regular_files import sha256
from repro.measuring import deviations
from repro.measuring.batch_division import BatchDivision, divide_batch, effective_recipe
from repro.measuring.networks import EvaluatedNetwork, load_public_network
from repro.measuring.record_assembly import Conditions, MeasuredNetwork, assemble_record, describe_own, find_complexity
from repro.measuring.training import StartingPoint, choose_targets, find_starting_point, train
from repro.paths import write_atomically
from repro.planning.arithmetic import check_arithmetic
from repro.planning.work_order import CheckpointWork, TrainedWork, WorkOrder, confirm_unchanged
from repro.records import Cost, Metric, Record, cache_key
from repro.records.environment import describe_environment
from repro.tasks import Task
from repro.verification.effects.evidence import keep_evidence


class Execution(ABC):
    """One work order as every process that shares it sees it.

    Raises:
        ReproError: PyTorch cannot execute it, or not on so many processes.
    """

    def __init__(self, order: WorkOrder, processes: Processes, progress: ProgressReport) -> None:
        processes.confirm(order.settings.devices)
        self.order, self.processes, self.progress = order, processes, progress
        self.settings = order.settings
        self.accelerator = distributed.choose_accelerator(order.settings.device, processes)
        check_arithmetic(order.experiment, order.settings, self.accelerator)
        self.task: Task = tasks.task_for(order.experiment, order.settings)

    @cached_property
    def fabric(self) -> Fabric:
        return distributed.build_fabric(self.processes, self.accelerator, self.settings.precision)

    @property
    @abstractmethod
    def description(self) -> str:
        """What the user is told before the work begins; empty where there is nothing to say."""

    def acquire(self) -> StartingPoint | None:
        """Generate or open the data, and fetch or train the weights that all processes will read.

        Returns:
            what a training begins from.

        Raises:
            ReproError: something cannot be had, or changed since the work was planned.
        """
        confirm_unchanged(self.order)
        reset_peak_memory()
        if self.settings.profile == "mini":
            self.task.generate()
        _ = self.task.validation_data
        return None

    @abstractmethod
    def load_network(self, start: StartingPoint | None) -> EvaluatedNetwork:
        """The network to evaluate: trained here from `start`, or with weights that others trained."""

    def predict(self, network: EvaluatedNetwork) -> tuple[Predictor, Predicted]:
        """The network's results on the validation split."""
        evaluation = self.task.build_evaluation(network.model, network.weights.checkpoint)
        predictor = Predictor(evaluation, self.order.directory, self.fabric)
        batch = self.settings.evaluation_batch if self.order.experiment.dataset == "coco" else None
        with explain_memory_errors("evaluation", suggest_for_evaluation(batch)):
            return predictor, predictor.predict(network.weights.sha256, self.progress)

    def _log_metrics(self, network: EvaluatedNetwork, metrics: list[Metric]) -> None:
        """Log the metrics with the training that this order is for, if it is for one."""
        order = self.order
        if isinstance(order, TrainedWork) and order.training is order and network.training:
            values = {metric.name: metric.value for metric in metrics}
            targets = choose_targets(self.settings)
            append_evaluation(order.directory, order.key, network.training.iterations, values, targets)

    def _describe_training_format(self, network: EvaluatedNetwork) -> dict[str, str | int | bool]:
        """What `numerics`, which is of the evaluation, has of the training."""
        if network.training is None:
            return {}
        trained = self.task.choose_training_memory_format(self.fabric)
        points = {
            "trained_channels_last": trained != self.task.choose_memory_format(self.fabric),
            "trained_with_cuda_graphs": self.task.uses_graphs,
        }
        return {name: True for name, holds in points.items() if holds}

    def _explain_failures(self, predicted: Predicted) -> None:
        """Write why items could not be read, of which the record has the names, beside the predictions."""
        path = self.order.directory / "unreadable.json"
        if predicted.failed:
            reasons = {item.item_id: item.reason for item in predicted.failed}
            write_atomically(path, (json.dumps(reasons, indent=1) + "\n").encode())
        else:
            path.unlink(missing_ok=True)

    def record(self, network: EvaluatedNetwork, predictor: Predictor, predicted: Predicted, command: str) -> Record:
        """Evaluate what was predicted, and store the record; in the first process alone."""
        task, settings = self.task, self.settings
        results, failed = predicted.results, [item.item_id for item in predicted.failed]
        self._explain_failures(predicted)
        kept = self.order.directory / f"predictions{predictor.evaluation.suffix}"
        predictions_sha256 = predictor.evaluation.save(results, kept)
        metrics = task.compute_metrics(results, failed)
        self._log_metrics(network, metrics)
        record = assemble_record(
            MeasuredNetwork(
                experiment=self.order.experiment.name,
                profile=settings.profile,
                source="trained" if network.training else "checkpoint",
                engine=network.engine,
                seed=settings.seed if network.training else 0,  # weights that others trained have none
                spec_hash=self.order.experiment.spec_hash,
                own=describe_own(self.order.experiment),
                deviations=network.deviations,
                departures=network.departures,
                readings=dict(self.order.experiment.readings),
                weights=network.weights,
                training=network.training,
                complexity=find_complexity(settings.store, self.order.experiment.spec_hash),
            ),
            Conditions(
                predictions_sha256=predictions_sha256,
                predictions_file_sha256=sha256(kept),
                dataset=task.describe_dataset(len(results), failed),
                numerics=devices.describe_numerics(
                    settings, task.evaluation_batch, task.choose_memory_format(self.fabric), self.accelerator
                )
                | self._describe_training_format(network),
                environment=describe_environment(
                    devices.describe_hardware(self.fabric), instructions.describe_processor()
                ),
                cost=Cost(
                    train_seconds=network.train_seconds,
                    evaluate_seconds=predictor.seconds,
                    peak_memory_bytes=max(network.peak_memory_bytes, measure_peak_memory(self.fabric.device)),
                    images_per_second=len(results) / predictor.seconds,
                ),
            ),
            metrics,
            evaluator=task.evaluator,
            command=command,
            key=cache_key(predictions=predictions_sha256, evaluator=task.evaluator, training=self.order.key),
        )
        settings.store.add(record)
        keep_evidence(settings.results, record, self.order.experiment.dataset, lambda: task.validation_data)
        predictor.clean()
        return record


class TrainingExecution(Execution):
    """A training here, and the evaluation of the network that it ends in."""

    def __init__(self, order: TrainedWork, processes: Processes, progress: ProgressReport) -> None:
        super().__init__(order, processes, progress)
        self.starts_from, self.training = order.starts_from, order.training
        self.division: BatchDivision = divide_batch(order.experiment, order.settings, processes, self.accelerator)

    @property
    def description(self) -> str:
        experiment = self.order.experiment
        how = self.division.describe(effective_recipe(experiment, self.settings), experiment.recipe)
        return f"{experiment.name}: {how}"

    def acquire(self) -> StartingPoint:
        super().acquire()
        _ = self.task.training_data
        return find_starting_point(self.task, self.starts_from, self.fabric, self.progress)

    def load_network(self, start: StartingPoint | None) -> EvaluatedNetwork:
        assert start is not None, "a training begins from what `acquire` found"
        experiment, settings, order = self.order.experiment, self.settings, self.training
        with explain_memory_errors("training", self._less_memory()):
            trained = train(self.task, start, self.division, order.key, order.directory, self.fabric, self.progress)
        overrides = deviations.recipe_overrides(experiment, settings, trained.division) + trained.departures
        return EvaluatedNetwork(
            model=trained.model,
            weights=trained.weights,
            engine=settings.engine,
            deviations=[
                *deviations.describe_overrides(experiment),
                *deviations.protocol_deviations(experiment, settings, trained.division),
                *deviations.resumption_deviations(trained.training.segments),
                *overrides,
            ],
            departures=overrides,
            training=trained.training.model_copy(update={"key": self.order.key}),
            train_seconds=trained.seconds,
            peak_memory_bytes=trained.peak_memory_bytes,
        )

    def _less_memory(self) -> str:
        if self.settings.profile == "mini":
            return "Free the GPU, or train with --device cpu."
        return (
            f"Lower --micro-batch (now {self.division.per_pass} a pass), use --precision bf16-mixed, or more --devices."
        )


class CheckpointExecution(Execution):
    """The evaluation of weights that others trained."""

    def __init__(self, order: CheckpointWork, processes: Processes, progress: ProgressReport) -> None:
        super().__init__(order, processes, progress)
        self.weights = order.weights

    @property
    def description(self) -> str:
        return ""

    def acquire(self) -> None:
        super().acquire()
        if self.fabric.world_size > 1:
            prepare.fetch_chosen(self.weights, self.progress)

    def load_network(self, start: StartingPoint | None) -> EvaluatedNetwork:
        network = load_public_network(self.order.experiment, self.weights, self.order.key, self.settings, self.progress)
        devices.convert_memory_format(network.model, self.task.choose_memory_format(self.fabric))
        if self.settings.compile:
            compile_model(network.model)
        return network


def start_execution(order: WorkOrder, processes: Processes, progress: ProgressReport) -> Execution:
    """The execution that an order takes, before anything is done.

    Raises:
        ReproError: as `Execution`, or a batch that cannot be divided among the processes.
    """
    if isinstance(order, TrainedWork):
        return TrainingExecution(order, processes, progress)
    return CheckpointExecution(order, processes, progress)
