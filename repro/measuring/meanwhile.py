"""Evaluating the network of a training while it goes on, which changes nothing of the training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from repro.engine.devices import convert_memory_format
from repro.engine.distributed import share_weights
from repro.engine.memory import explain_memory_errors
from repro.evaluation.predictor import Predictor, ProgressReport
from repro.tasks import Task


class EvaluationMeanwhile:
    """Evaluates a second network that gets the weights of the one that is trained, so that this one is not touched: not
    its mode, its running statistics or its random generators. Batch norm has its moving averages, which a recipe with
    `precise_norm` recomputes at the end of the training.

    Args:
        model: the network that is trained.
        directory: of the training; an interrupted evaluation leaves its shards there.
        key: of the training.
    """

    def __init__(
        self, task: Task, model: nn.Module, directory: Path, key: str, fabric: Fabric, progress: ProgressReport
    ) -> None:
        self.task, self.model, self.fabric, self.progress = task, model, fabric, progress
        self.directory, self.key = directory / "meanwhile", key

    @cached_property
    def network(self) -> nn.Module:
        """The network that is evaluated."""
        with torch.random.fork_rng(devices=[]):
            network = self.task.build_network()
        convert_memory_format(network, self.task.choose_memory_format(self.fabric))
        return network

    def __call__(self, iteration: int) -> Mapping[str, float]:
        """Evaluate the network as it is after `iteration`; to be called in every process.

        Returns:
            the metrics by name, in percent; nothing but in the first process.
        """
        self.network.load_state_dict(self.model.state_dict())
        share_weights(self.network, self.fabric)  # running statistics are each process's own
        predictor = Predictor(self.task.build_evaluation(self.network), self.directory, self.fabric)
        stage = f"evaluation after iteration {iteration}"
        with explain_memory_errors(stage, "Train without --evaluate-every, or with a smaller --micro-batch."):
            predicted = predictor.predict(
                f"{self.key} after {iteration}", lambda _, done, total, at=None: self.progress(stage, done, total, at)
            )
        if not self.fabric.is_global_zero:
            return {}
        metrics = self.task.compute_metrics(predicted.results, [item.item_id for item in predicted.failed])
        predictor.clean()
        return {metric.name: metric.value for metric in metrics}
