"""What the three tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from repro.checkpoints import initial_weights, weight_files
from repro.checkpoints.prefixes import describe_prefix
from repro.data import sources
from repro.data.miniature import content as miniature_content
from repro.data.miniature.coco import Tagger
from repro.data.miniature.content import GeneratedContent
from repro.engine.arithmetic import use_float32
from repro.engine.fitted import Fitted
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.engine.sampler import TrainingData
from repro.errors import ReproError
from repro.evaluation.predictor import Evaluation, ProgressReport
from repro.experiments import Experiment, mini
from repro.files.locks import hold_directory_lock
from repro.files.regular_files import sha256
from repro.planning.keys import pretraining_directory, pretraining_key, seed_pretraining
from repro.records import Checkpoint, DataSet, Metric
from repro.settings import Settings

Result = TypeVar("Result")
Model = TypeVar("Model", bound=nn.Module)
Data = TypeVar("Data", bound=TrainingData)


class Task(ABC, Generic[Result, Model, Data]):
    """One experiment, as its profile runs it, on its data set.

    Its type parameters are the results of its evaluation, the network that can be trained, and the data set.
    """

    evaluator: str  #: what computes the metrics, as records name it
    evaluation_batch = 1  #: items that are predicted together
    passes_are_alike = False  #: whether inputs of a training have one size, so that passes can be recorded

    def __init__(self, experiment: Experiment, settings: Settings) -> None:
        self.experiment, self.settings = experiment, settings

    @property
    def uses_graphs(self) -> bool:
        """Whether the passes of a training are recorded as CUDA graphs."""
        return self.settings.cuda_graphs and self.passes_are_alike

    @property
    def root(self) -> Path:
        """The directory of the data set."""
        if self.settings.profile == "full":
            return sources.find_root(self.settings.data_root, self.experiment.dataset)
        return self.settings.results / "data" / mini.data_directory_for(self.experiment)

    @property
    def training_items(self) -> int:
        """How many items an epoch of the recipe has."""
        if self.settings.profile == "full":
            return sources.SOURCES[self.experiment.dataset].training_items
        return len(self.training_data)

    def generate(self) -> None:
        """Write the mini profile's data set, unless it is there, and make sure that it is what was generated.

        Raises:
            ReproError: it cannot be written, or what is there is something else.
        """
        self.write_generated(self.root)
        _ = self.content

    @abstractmethod
    def write_generated(self, directory: Path) -> None:
        """Write the mini profile's data set to `directory`, unless that exists."""

    @cached_property
    def content(self) -> GeneratedContent | None:
        """What the mini profile's data set consists of, checked; None in the full profile.

        Raises:
            ReproError: it is not what was generated.
        """
        if self.settings.profile == "full":
            return None
        return miniature_content.check(self.root, mini.content_for(self.experiment))

    @contextmanager
    def explaining_generated_data(self) -> Iterator[None]:
        """Load a split within this: of generated data that went missing since, it says that they are generated again.

        The readers' own messages say where the real data set is to be had.
        """
        try:
            yield
        except ReproError:
            if self.settings.profile != "full":
                miniature_content.check(self.root, mini.content_for(self.experiment))
            raise

    @cached_property
    @abstractmethod
    def training_data(self) -> Data:
        """The training split.

        Raises:
            ReproError: something is missing or malformed; it is named, with where to get it.
        """

    @cached_property
    @abstractmethod
    def validation_data(self) -> Data:
        """The split that is evaluated.

        Raises:
            ReproError: something is missing or malformed; it is named, with where to get it.
        """

    @abstractmethod
    def build_network(self) -> Model:
        """Build a freshly initialised network that can be trained: from a batch it computes its loss terms."""

    def collate(self, samples: Sequence) -> Any:
        """Collate samples to the network's input in training."""
        return list(samples)

    def obtain_initial_weights(self, fabric: Fabric, progress: ProgressReport) -> tuple[Path, str]:
        """The weights that the recipe starts from: public ones, or a mini experiment's pre-trained ones.

        Mini experiments with the same backbone share a pre-training, executed by the first that needs it.

        Returns:
            their file, and its sha256: that of what the pre-training ended in.

        Raises:
            ReproError: the weights cannot be fetched, or trained.
        """
        if pretrainings := mini.list_pretrainings(self.experiment):
            pretrained = self._pretrain(self.experiment, pretrainings, fabric, progress)
            return pretrained.weights, pretrained.sha256
        path = initial_weights.fetch(self.experiment.recipe.initial_weights)
        return path, sha256(path)

    def _pretrain(
        self, following: Experiment, pretrainings: list[Experiment], fabric: Fabric, progress: ProgressReport
    ) -> Fitted:
        """Execute these trainings, each of which starts from what the one before ended in: the last one's result.

        Args:
            following: what starts from that.

        Raises:
            ReproError: one of them diverges, or its directory cannot be written.
        """
        *earlier, spec = pretrainings
        start = self._pretrain(spec, earlier, fabric, progress) if earlier else None
        stage = mini.PRETRAINED[following.recipe.initial_weights]
        seed = seed_pretraining(pretrainings, self.settings)
        key = pretraining_key(self.experiment, pretrainings, self.settings)
        directory = pretraining_directory(self.experiment, pretrainings, self.settings)
        with hold_directory_lock(directory), use_float32():  # whatever the experiments use
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = self.build_pretraining_network(spec)
            if start:
                tensors = weight_files.read(start.weights, f"sha256:{start.sha256}").tensors
                self.start_from(model, tensors, spec)
            return fit(
                model,
                spec.recipe,
                self.load_pretraining_data(spec),
                identity=key,
                directory=directory,
                seed=seed,
                fabric=Fabric(accelerator=fabric.device.type, devices=1),
                collate=list if isinstance(model, Tagger) else self.collate,
                save_every=self.settings.save_every,
                save_seconds=self.settings.save_seconds,
                observation=Observation(progress=lambda at: progress(stage, at.iteration, at.total, at)),
            )

    def build_pretraining_network(self, spec: Experiment) -> nn.Module:
        """Build the network of one of the trainings that lead to a mini experiment's initial weights."""
        return Tagger(spec.network.backbone, spec.network.num_classes)

    @abstractmethod
    def load_pretraining_data(self, spec: Experiment) -> TrainingData:
        """Load the data of one of the trainings that lead to a mini experiment's initial weights."""

    def load_initial(self, model: Model, path: Path, sha256: str, part: str | None) -> None:
        """Load the weights in `path`, which have this `sha256`, into `model`, as far as the recipe starts from them.

        Args:
            part: which state dict of the file, if one was named.

        Raises:
            ReproError: the file cannot be read, was exchanged, or is of another network.
        """
        tensors = weight_files.read(path, f"sha256:{sha256}", part).tensors
        try:
            self.start_from(model, tensors, self.experiment)
        except ReproError as error:
            if hint := describe_prefix(tensors):
                raise ReproError(f"{error}.{hint}") from None
            raise

    @abstractmethod
    def start_from(self, model: nn.Module, tensors: Mapping[str, Tensor], spec: Experiment) -> None:
        """Copy initial weights into the network `model` of `spec`, as far as its recipe starts from them.

        Raises:
            ReproError: the weights are of another network.
        """

    def choose_memory_format(self, fabric: Fabric) -> torch.memory_format:
        """Choose the memory format of the network."""
        return torch.contiguous_format

    @property
    def training_input(self) -> TrainingData:
        """What a training reads of `training_data`."""
        return self.training_data

    def check_inputs(self, fabric: Fabric) -> list[str]:
        """Check, before a training, what prepares its inputs; describe what in it departs from the usual way.

        Raises:
            ReproError: it prepares others.
        """
        return []

    def choose_training_memory_format(self, fabric: Fabric) -> torch.memory_format:
        """Choose the memory format of the network while it is trained."""
        return self.choose_memory_format(fabric)

    @abstractmethod
    def build_evaluation(self, model: nn.Module, checkpoint: Checkpoint | None = None) -> Evaluation[Result]:
        """Build what predicts the items of the validation split.

        Args:
            checkpoint: the weights of `model`, if others trained them: inputs are prepared as their publisher does.
        """

    @abstractmethod
    def compute_metrics(self, results: Sequence[Result], failed: Collection[str]) -> list[Metric]:
        """Compute the metrics of the results of an evaluation.

        Args:
            failed: ids of the items that could not be read.

        Raises:
            ReproError: the results are not those of exactly the validation split.
        """

    @abstractmethod
    def describe_dataset(self, evaluated: int, failed: Sequence[str]) -> DataSet:
        """Describe what was evaluated, as records do: how many items, and the ids of those that failed."""
