"""What the three tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from repro.checkpoints import initial_weights, weight_files
from repro.data import sources
from repro.data.miniature.coco import Tagger
from repro.engine.loop import fit
from repro.evaluation.predictor import Evaluation, ProgressReport
from repro.experiments import Experiment, mini
from repro.files.locks import hold_directory_lock
from repro.planning.keys import TRAINING_VERSION
from repro.records import Checkpoint, DataSet, Metric, cache_key
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
            return sources.find_root(self.settings.data_root, self.experiment.dataset)
        return self.settings.results / "data" / mini.data_directory_for(self.experiment)

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
    def build_network(self) -> nn.Module:
        """A freshly initialised network that can be trained: a batch gives its loss terms."""

    def collate(self, samples: Sequence) -> Any:
        """The network's input in training."""
        return list(samples)

    def obtain_initial_weights(self, fabric: Fabric, progress: ProgressReport) -> Path:
        """The file that the recipe starts from: public weights, or what a mini experiment is pre-trained to.

        All mini experiments with such a backbone share a pre-training, done by who needs it first.

        Raises:
            ReproError: it cannot be fetched, or trained.
        """
        wanted = self.experiment.recipe.initial_weights
        if wanted != "pretraining":
            return initial_weights.fetch(wanted)
        spec = mini.pretraining_for(self.experiment)
        data = mini.dataset_key_for(self.experiment)
        key = cache_key(stage="pre-training", version=TRAINING_VERSION, spec=spec.spec_hash, data=data)
        directory = self.settings.results / "runs" / f"{spec.name}.{key[:12]}"
        with hold_directory_lock(directory):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = Tagger(spec.network.backbone, spec.network.num_classes)
            fitted = fit(
                model,
                spec.recipe,
                self.load_pretraining_data(),
                identity=key,
                directory=directory,
                seed=0,
                fabric=Fabric(accelerator=fabric.device.type, devices=1),  # float32 whatever the experiments use
                progress=lambda at: progress("pre-training", at.iteration, at.total),
            )
        return fitted.weights

    def load_pretraining_data(self) -> TrainingData:
        """Images with their tags, for a mini experiment whose initial weights are "pretraining"."""
        raise NotImplementedError

    def load_initial(self, model: nn.Module, path: Path) -> None:
        """Begin from the weights in `path`.

        Raises:
            ReproError: it cannot be read, or is of another network.
        """
        self.start_from(model, weight_files.read(path).tensors)

    @abstractmethod
    def start_from(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None: ...

    def choose_memory_format(self, fabric: Fabric) -> torch.memory_format:
        """How the network's tensors lie in memory."""
        return torch.contiguous_format

    @abstractmethod
    def build_evaluation(self, model: nn.Module, checkpoint: Checkpoint | None = None) -> Evaluation[Result]:
        """What predicts the validation split's items.

        Args:
            checkpoint: the weights of `model`, where others trained them; their publisher's inputs are theirs.
        """

    @abstractmethod
    def compute_metrics(self, found: Sequence[Result], failed: Collection[str]) -> list[Metric]:
        """The metrics of what was predicted.

        Raises:
            ReproError: the predictions are not of exactly the validation split.
        """

    @abstractmethod
    def describe_dataset(self, evaluated: int, failed: Sequence[str]) -> DataSet:
        """What was evaluated, as records say it."""
