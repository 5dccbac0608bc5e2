"""What the three tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from lightning_fabric import Fabric
from torch import Tensor, nn

from repro import mini
from repro.checkpoints import initial, reading
from repro.data import sources
from repro.experiments import Experiment
from repro.predict import Evaluation, ProgressReport
from repro.records import Checkpoint, DataSet, Metric
from repro.settings import Settings

Result = TypeVar("Result")


class TrainingData(Protocol):
    """What `engine.fit` takes."""

    def __len__(self) -> int: ...

    def sample(self, index: int, *, seed: int, epoch: int, train: bool) -> Any: ...


class Task(ABC, Generic[Result]):
    """One experiment, as its profile runs it, on its data set."""

    evaluator: str  #: what computes the metrics, as records name it
    evaluation_batch = 1  #: items that are predicted together

    def __init__(self, experiment: Experiment, settings: Settings) -> None:
        self.experiment, self.settings = experiment, settings

    @property
    def root(self) -> Path:
        """The directory of the data set."""
        if self.settings.profile == "full":
            return sources.root(self.settings.data_root, self.experiment.dataset)
        return self.settings.results / "data" / mini.data_directory(self.experiment)

    @property
    def training_items(self) -> int:
        """What an epoch of the recipe has."""
        if self.settings.profile == "full":
            return sources.SOURCES[self.experiment.dataset].training_items
        return len(self.training_data)

    @abstractmethod
    def generate(self) -> None:
        """Write the mini profile's data set, unless it is there."""

    @cached_property
    @abstractmethod
    def training_data(self) -> TrainingData: ...

    @abstractmethod
    def network(self) -> nn.Module:
        """A freshly initialised network that can be trained: a batch gives its loss terms."""

    def collate(self, samples: Sequence) -> Any:
        """The network's input in training."""
        return list(samples)

    def initial_weights(self, fabric: Fabric, progress: ProgressReport) -> Path:
        """The file that the recipe starts from: public weights, or what a mini experiment is pre-trained to.

        Raises:
            ReproError: it cannot be fetched, or trained.
        """
        return initial.fetch(self.experiment.recipe.initial_weights)

    def load_initial(self, model: nn.Module, path: Path) -> None:
        """Begin from the weights in `path`.

        Raises:
            ReproError: it cannot be read, or is of another network.
        """
        self.start_from(model, reading.read(path).tensors)

    @abstractmethod
    def start_from(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None: ...

    def channels_last(self, fabric: Fabric) -> bool:
        """Whether tensors lie in memory with their channels last."""
        return False

    @abstractmethod
    def evaluation(self, model: nn.Module, checkpoint: Checkpoint | None = None) -> Evaluation[Result]:
        """What predicts the validation split's items.

        Args:
            checkpoint: the weights of `model`, where others trained them; their publisher's inputs are theirs.
        """

    @abstractmethod
    def metrics(self, found: Sequence[Result], failed: Collection[str]) -> list[Metric]:
        """The metrics of what was predicted.

        Raises:
            ReproError: the predictions are not of exactly the validation split.
        """

    @abstractmethod
    def dataset(self, evaluated: int, failed: Sequence[str]) -> DataSet:
        """What was evaluated, as records say it."""
