"""What is seen of a training while it runs: its logs, its evaluations, and the progress that a person is shown.

None of it changes a bit of what is trained, nor the key under which that is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric

from repro.engine.log_rows import Iteration
from repro.engine.log_targets import LogTargets
from repro.engine.logs import TrainingLogs
from repro.engine.state import Position, Run

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Observation:
    """What is wished to be seen of a training."""

    targets: LogTargets = field(default_factory=LogTargets)
    #: Called after each iteration, in the first process.
    progress: Callable[[Iteration], None] | None = None
    #: Called in every process with the number of completed iterations: the metrics of the network as it is then, in the
    #: first process. It may change neither the network nor its mode.
    evaluate: Callable[[int], Mapping[str, float]] | None = None
    every: int = 1  #: epochs between two evaluations; the network that the training ends in is not evaluated here


class Observer:
    """Observes one training, from `start` to `total` iterations, in each of its processes; a context."""

    def __init__(
        self, observation: Observation, run: Run, start: int, total: int, per_epoch: int, batch: int, fabric: Fabric
    ) -> None:
        self.observation, self.total, self.batch, self.fabric = observation, total, batch, fabric
        self.period = observation.every * per_epoch
        self.device = describe_device(fabric.device)
        self.logs: TrainingLogs | None = None
        if run.writes:
            self.logs = TrainingLogs(run.directory, run.identity, total, start, observation.targets)
        self._waited = self._before = 0.0
        self._last: Iteration | None = None

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.logs:
            self.logs.close(failed=error is not None)

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; how long each is waited for is noted."""
        while True:
            begin = self._begin = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited = time.monotonic() - begin
            yield batch

    def log(self, line: Mapping[str, Any], position: Position) -> None:
        """Log the iteration that was just completed, of which `log.jsonl` has this line; before a state is saved."""
        if self.logs is None:
            return
        self._last = Iteration(
            iteration=line["iteration"], total=self.total, losses=line["losses"], lr=line["lr"], norm=line["norm"],
            seconds=position.seconds, took=time.monotonic() - self._begin, waited=self._waited, images=self.batch,
            peak_memory_bytes=position.peak_memory_bytes, device=self.device,
        )  # fmt: skip
        self.logs.add(line, self._last)

    def evaluate(self, iteration: int) -> float:
        """Evaluate the network if its time has come and it was not done yet. Returns how many seconds that took.

        It comes after the state is saved: a training that is killed in it goes on from there, and evaluates first.
        """
        evaluate = self.observation.evaluate
        if evaluate is None or iteration % self.period or iteration in (0, self.total):
            return 0.0
        begin = time.monotonic()
        if not self.fabric.broadcast(self.logs.has_evaluation(iteration) if self.logs else None):
            metrics = evaluate(iteration)
            if self.logs:
                self.logs.add_evaluation(iteration, metrics)
        return time.monotonic() - begin

    def save(self) -> None:
        """Have the logs on disk, before the state that follows them.

        Raises:
            ReproError: they cannot be written.
        """
        if self.logs:
            self.logs.save()

    def show(self) -> None:
        """Report the iteration that was logged last."""
        if self._last and self.observation.progress:
            self.observation.progress(self._last)


def describe_device(device: torch.device) -> str:
    """Name a device as a person knows it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
