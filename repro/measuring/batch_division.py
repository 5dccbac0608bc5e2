"""The recipe as it is executed, and how its batch is divided among processes. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from repro.data.sources import SOURCES
from repro.engine.launch import Processes
from repro.errors import ReproError
from repro.experiments import Experiment, Recipe
from repro.settings import Settings


def effective_recipe(experiment: Experiment, settings: Settings) -> Recipe:
    """The experiment's recipe as the settings shorten it or, in proportion to the batch, scale its learning rate."""
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    return replace(
        recipe,
        iterations=settings.iterations or recipe.iterations,
        batch_size=batch,
        learning_rate=recipe.learning_rate * batch / recipe.batch_size,
    )


@dataclass(frozen=True)
class BatchDivision:
    """The effective batch in equal parts, one a process, and over how many images batch norm takes its statistics."""

    effective: int  #: images of one update
    processes: int
    per_node: int  #: of the processes
    micro_batch: int | None  #: items of one forward pass at most; gradients are accumulated over the passes
    norm: str  #: kind of the backbone's norm layers, see `experiments.Backbone.norm`
    accelerator: str  #: "cpu" or "cuda"

    @property
    def per_process(self) -> int:
        return self.effective // self.processes

    @property
    def per_pass(self) -> int:
        """Images of one forward pass of a process."""
        return min(self.micro_batch or self.per_process, self.per_process)

    @property
    def synchronised(self) -> bool:
        """Whether the processes share their batch statistics: `nn.SyncBatchNorm` needs GPUs."""
        return self.processes > 1 and self.norm == "sync" and self.accelerator == "cuda"

    @property
    def statistics(self) -> int:
        """Images that batch norm takes its statistics over in training."""
        return self.per_pass * (self.processes if self.synchronised else 1)

    @property
    def normalisation(self) -> str:
        """The same, in words."""
        if self.norm in ("eval", "frozen"):
            return "batch norm with frozen statistics"
        if self.synchronised:
            return f"batch norm synchronised, over {self.statistics} images of {self.processes} processes"
        alone = "batch norm" if self.processes == 1 else "batch norm in each process alone"
        reason = ", for on CPUs it is not synchronised" if self.norm == "sync" and self.processes > 1 else ""
        return f"{alone}, over {self.statistics} images{reason}"

    def describe(self, recipe: Recipe, base: Recipe) -> str:
        """What a user is told before a training by `recipe`, which is `base` as executed here."""
        scale = "the recipe's"
        if recipe.batch_size != base.batch_size:
            scale = f"the recipe's {base.learning_rate:g} x {recipe.batch_size}/{base.batch_size}"
        passes = f" in passes of {self.per_pass}" if self.per_pass < self.per_process else ""
        noun = "process" if self.processes == 1 else "processes"
        return (
            f"{self.processes} {noun} on {self.accelerator}: effective batch {self.effective}, {self.per_process} in "
            f"each process{passes}; learning rate {recipe.learning_rate:g} ({scale}); {self.normalisation}"
        )


def divide_batch(experiment: Experiment, settings: Settings, processes: Processes, accelerator: str) -> BatchDivision:
    """The division of the experiment's batch among `processes`.

    Raises:
        ReproError: the parts would not be equal.
    """
    batch = effective_recipe(experiment, settings).batch_size
    if batch % processes.count:
        fitting = [n for n in range(1, batch + 1) if batch % n == 0]
        raise ReproError(
            f"a batch of {batch} images cannot be divided among {processes.count} processes: choose --devices (of "
            f"jobs: gpus x nodes) among {', '.join(map(str, fitting))}"
            + ("" if settings.profile == "mini" else ", or another --batch-size")
        )
    return BatchDivision(
        effective=batch,
        processes=processes.count,
        per_node=processes.per_node,
        micro_batch=settings.micro_batch or _images_per_gpu(experiment),
        norm=experiment.network.backbone.norm,
        accelerator=accelerator,
    )


def _images_per_gpu(experiment: Experiment) -> int | None:
    """What a classifier of the paper had on each GPU, over which its batch norm took its statistics.

    On fewer GPUs the gradients are accumulated to the paper's batch. A detector's statistics were of the whole batch.
    """
    return None if experiment.profile == "mini" or experiment.dataset == "coco" else SOURCES[experiment.dataset].per_gpu
