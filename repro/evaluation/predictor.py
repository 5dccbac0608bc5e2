"""Predictions for a whole split, kept in shards so that an interruption loses at most the items of one shard."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

from lightning_fabric import Fabric
from torch import nn

from repro.engine.distributed import gather
from repro.engine.log_rows import Iteration
from repro.errors import ReproError
from repro.files.notices import tell
from repro.files.places import is_there
from repro.files.schema import FiniteModel
from repro.files.seals import read_sealed, seal
from repro.paths import write_atomically


class ProgressReport(Protocol):
    """What is told how far the work is."""

    def __call__(self, stage: str, done: int, total: int, at: Iteration | None = None) -> None:
        """Report how much of a stage ("pre-training", "training", "evaluation") is done and how much there is.

        Args:
            at: the iteration, of the stages that train.
        """


Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """An item that cannot be read, and why: counted and named, never left out silently."""

    item_id: str
    reason: str


class Evaluation(Protocol[Result]):
    """A network that predicts the items of a split, and the way in which its results are stored."""

    @property
    def model(self) -> nn.Module:
        """The network."""

    shard: int  #: number of items whose results are written together: an interruption loses no more
    suffix: str  #: of the files of results
    batch: int  #: items that are predicted together, at most

    def __len__(self) -> int:
        """The number of items of the split."""

    def predict(self, parts: Sequence[range], fabric: Fabric) -> Generator[Result | Failed, None, None]:
        """Predict the items of all parts: one result for each, in order. The model is on the device of `fabric`.

        What is predicted together is of one part.
        """

    def save(self, results: list[Result], path: Path) -> str:
        """Write results and return the sha256 of their content, whatever packs them."""

    def load(self, path: Path, sha256: str) -> list[Result]:
        """Read what `save` wrote.

        Raises:
            ReproError: the file is missing or damaged.
        """


@dataclass(frozen=True)
class Predicted(Generic[Result]):
    """Results in the order of the split, without the items that failed, and the items that failed."""

    results: list[Result]
    failed: list[Failed]


class _Shard(FiniteModel):
    """What a shard was predicted with, and how long it took."""

    weights: str  #: sha256
    stop: int  #: number of the first item that is not in it any more
    batch: int = 1  #: of the evaluation
    sha256: str  #: of its results, as `Evaluation.save` gives it
    seconds: float
    failed: list[tuple[str, str]]  #: id and reason


#: The results of a shard, the items that failed, and how many seconds it took.
_Contents: TypeAlias = tuple[list[Result], list[Failed], float]

_REMEDY = "It is a part of an interrupted evaluation."


class Predictor(Generic[Result]):
    """Predicts the items of an evaluation on the device of `fabric`; shards stay in `directory` until `clean`.

    Several processes take the shards in turns. The shards are the same however many processes share them.
    """

    def __init__(self, evaluation: Evaluation[Result], directory: Path, fabric: Fabric):
        self.evaluation, self.fabric = evaluation, fabric
        self.directory = directory / "shards"
        self.seconds = 0.0  #: how long the slowest process predicted, without interruptions

    def predict(self, weights: str, progress: ProgressReport) -> Predicted[Result]:
        """Predict the split: all results in the first process, nothing in the others.

        Args:
            weights: sha256 of what the model holds.
            progress: called after each item of this process with its number in the split.
        """
        self.evaluation.model.eval()
        self.fabric.to_device(self.evaluation.model)
        size, shard = len(self.evaluation), self.evaluation.shard
        starts = range(self.fabric.global_rank * shard, size, self.fabric.world_size * shard)
        parts = {start: range(start, min(start + shard, size)) for start in starts}
        shards = {start: self._load_shard(part, weights) for start, part in parts.items()}
        missing = [part for start, part in parts.items() if shards[start] is None]
        with closing(self.evaluation.predict(missing, self.fabric)) as predicted:
            for part in missing:
                shards[part.start] = self._predict_shard(part, predicted, weights, progress)
        everyones = gather([(start, *done) for start, done in shards.items() if done], self.fabric)
        self.seconds = max((sum(seconds for *_, seconds in part) for part in everyones), default=0.0)
        ordered = sorted((done for part in everyones for done in part), key=lambda done: done[0])
        return Predicted(
            results=[result for _, results, _, _ in ordered for result in results],
            failed=[item for _, _, failed, _ in ordered for item in failed],
        )

    def _load_shard(self, part: range, weights: str) -> _Contents[Result] | None:
        """What an interrupted evaluation left of these items; None where that is nothing that can be used."""
        path, done = self._name_files(part)
        try:
            if is_there(done):
                shard = read_sealed(done, _Shard, "shard", _REMEDY)
                if (shard.weights, shard.stop, shard.batch) == (weights, part.stop, self.evaluation.batch):
                    failed = [Failed(*item) for item in shard.failed]
                    return self.evaluation.load(path, shard.sha256), failed, shard.seconds
        except ReproError as error:
            tell(f"{error} The items {part.start} to {part.stop - 1} are predicted again.")
        return None

    def _predict_shard(
        self, part: range, predicted: Iterator[Result | Failed], weights: str, progress: ProgressReport
    ) -> _Contents[Result]:
        """Take the results of these items, which come next, and write them."""
        path, done = self._name_files(part)
        begin = time.monotonic()
        results: list[Result] = []
        failed = []
        for index, result in zip(part, predicted, strict=False):  # which takes nothing of the next part
            if isinstance(result, Failed):
                failed.append(result)
            else:
                results.append(result)
            progress("evaluation", index + 1, len(self.evaluation))
        sha256 = self.evaluation.save(results, path)
        seconds = time.monotonic() - begin
        named = [(item.item_id, item.reason) for item in failed]
        shard = _Shard(
            weights=weights, stop=part.stop, batch=self.evaluation.batch, sha256=sha256, seconds=seconds, failed=named
        )  # fmt: skip
        write_atomically(done, seal(shard))
        return results, failed, seconds

    def _name_files(self, part: range) -> tuple[Path, Path]:
        """The file of a shard's results, and the one that is written after it."""
        name = f"{part.start:06d}"
        return self.directory / f"{name}{self.evaluation.suffix}", self.directory / f"{name}.done"

    def clean(self) -> None:
        """Delete the shards; to be called when the whole is recorded."""
        shutil.rmtree(self.directory, ignore_errors=True)
