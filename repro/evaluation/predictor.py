"""Predictions for a whole split, kept in shards so that a kill loses at most the items of one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lightning_fabric import Fabric
from torch import nn

from repro.engine.distributed import gather
from repro.errors import ReproError
from repro.paths import write_atomically

#: Called with the stage ("pre-training", "training", "evaluation"), how much of it is done and how much there is.
ProgressReport = Callable[[str, int, int], None]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """An item that cannot be read, and why: counted and named, never left out silently."""

    item_id: str
    reason: str


class Evaluation(Protocol[Result]):
    """A network on the items of a split, and how its results are kept."""

    model: nn.Module
    shard: int  #: items whose results are written together: what a kill loses at most
    suffix: str  #: of the files

    def __len__(self) -> int:
        """Items of the split."""

    def predict(self, items: range, fabric: Fabric) -> Iterator[Result | Failed]:
        """One result an item, in order. The model is on the device of `fabric`."""

    def save(self, results: list[Result], path: Path) -> str:
        """Write results; returns the sha256 of the file."""

    def load(self, path: Path, sha256: str) -> list[Result]:
        """What was saved.

        Raises:
            ReproError: the file is not there or damaged.
        """


@dataclass(frozen=True)
class Predicted(Generic[Result]):
    """Results in the order of the split, items that failed left out, and these."""

    found: list[Result]
    failed: list[Failed]


class Predictor(Generic[Result]):
    """Carries out an evaluation on the device of `fabric`; shards stand in `directory` until `clean`.

    Several processes take every so many-th shard each. Which shards there are does not depend on how many share them.
    """

    def __init__(self, evaluation: Evaluation[Result], directory: Path, fabric: Fabric):
        self.evaluation, self.fabric = evaluation, fabric
        self.directory = directory / "shards"
        self.seconds = 0.0  #: that predicting took, interruptions left out: of the process that took longest

    def predict(self, weights: str, progress: ProgressReport) -> Predicted[Result]:
        """The results of the split in the first process; nothing in the others.

        Args:
            weights: sha256 of what the model holds.
            progress: called after each item of this process with its number in the split.
        """
        self.evaluation.model.eval()
        self.fabric.to_device(self.evaluation.model)
        size, shard = len(self.evaluation), self.evaluation.shard
        shards = {}
        for start in range(self.fabric.global_rank * shard, size, self.fabric.world_size * shard):
            shards[start] = self._shard(start, min(start + shard, size), weights, progress)
        everyones = gather([(start, *done) for start, done in shards.items()], self.fabric)
        self.seconds = max((sum(seconds for *_, seconds in part) for part in everyones), default=0.0)
        ordered = sorted((done for part in everyones for done in part), key=lambda done: done[0])
        return Predicted(
            found=[one for _, found, _, _ in ordered for one in found],
            failed=[one for _, _, failed, _ in ordered for one in failed],
        )

    def _shard(
        self, start: int, stop: int, weights: str, progress: ProgressReport
    ) -> tuple[list[Result], list[Failed], float]:
        """The results of the items from `start` to `stop`, those that failed, and the seconds that they took."""
        path = self.directory / f"{start:06d}{self.evaluation.suffix}"
        done = self.directory / f"{start:06d}.done"  # written after the shard: what it is of, and how long it took
        with suppress(OSError, ValueError, KeyError, TypeError, ReproError):  # not there, or damaged: predicted again
            written = json.loads(done.read_bytes())
            if (written["weights"], written["stop"]) == (weights, stop):
                failed = [Failed(*one) for one in written["failed"]]
                return self.evaluation.load(path, written["sha256"]), failed, written["seconds"]
        begin = time.monotonic()
        found, failed = [], []
        for index, one in enumerate(self.evaluation.predict(range(start, stop), self.fabric), start=start + 1):
            (failed if isinstance(one, Failed) else found).append(one)
            progress("evaluation", index, len(self.evaluation))
        sha256 = self.evaluation.save(found, path)
        seconds = time.monotonic() - begin
        state = {"weights": weights, "stop": stop, "sha256": sha256, "seconds": seconds}
        state["failed"] = [[one.item_id, one.reason] for one in failed]
        write_atomically(done, json.dumps(state).encode())
        return found, failed, seconds

    def clean(self) -> None:
        """Drop the shards, once the whole is recorded."""
        shutil.rmtree(self.directory, ignore_errors=True)
