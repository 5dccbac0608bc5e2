"""What the two tasks have in common that measure top-1 and top-5 accuracy."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from repro.checkpoints import OWN_FORMAT
from repro.data.sources import SOURCES, Split
from repro.evaluation import topk
from repro.evaluation.predictor import Evaluation
from repro.experiments import preprocessing
from repro.records import Checkpoint, DataSet, Metric
from repro.tasks.task import Model, Result, Task

if TYPE_CHECKING:
    from repro.data.imagenet import ImageNet
    from repro.data.kinetics import Kinetics


#: Named, not imported: neither task needs what the other reads its data with.
ClassificationData = TypeVar("ClassificationData", bound="ImageNet | Kinetics")


class Accuracy(Task[Result, Model, ClassificationData]):
    """A classifier on a data set whose items may be missing or unreadable."""

    passes_are_alike = True

    @cached_property
    def training_data(self) -> ClassificationData:
        with self.explaining_generated_data():
            return self.load_split("train")

    @cached_property
    def validation_data(self) -> ClassificationData:
        with self.explaining_generated_data():
            return self.load_split("val")

    @abstractmethod
    def load_split(self, split: Split) -> ClassificationData:
        """Load a split of the profile's data set."""

    @property
    @abstractmethod
    def inputs(self) -> preprocessing.Preprocessing:
        """How items are prepared for a network that is trained here."""

    @abstractmethod
    def _build_evaluation(self, model: nn.Module) -> Evaluation[Result]:
        """Build the evaluation of `model` on the validation split as it is."""

    def build_evaluation(self, model: nn.Module, checkpoint: Checkpoint | None = None) -> Evaluation[Result]:
        if checkpoint is not None and checkpoint.format != OWN_FORMAT:
            self.validation_data = copy.copy(self.validation_data)
            self.validation_data.preprocessing = preprocessing.preprocessing_for(checkpoint.format, checkpoint.id)
        return self._build_evaluation(model)

    def describe_dataset(self, evaluated: int, failed: Sequence[str]) -> DataSet:
        data = self.validation_data
        name = SOURCES[self.experiment.dataset].validation
        return DataSet(
            name=name if self.settings.profile == "full" else f"mini-{name}",
            annotations_sha256=data.annotations_sha256,
            ids_sha256=data.ids_sha256,
            required=data.required,
            expected=len(data) + len(data.missing),
            evaluated=evaluated,
            failed=list(failed),
            drawn_sha256=self.content.drawn if self.content else None,
            files_sha256=self.content.files if self.content else None,
        )


def build_accuracy_metrics(values: Mapping[str, float], n: int) -> list[Metric]:
    """Turn accuracies in percent over `n` items into metrics, each with the binomial's standard error."""
    return [
        Metric(name=name, value=value, unit="%", n=n, standard_error=topk.compute_standard_error(value, n))
        for name, value in values.items()
    ]
