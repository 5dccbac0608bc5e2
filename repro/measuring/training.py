"""From an experiment's recipe to its trained network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from repro.checkpoints import initial_weights
from repro.checkpoints.weight_names import add_part
from repro.engine.compilation import compile_model
from repro.engine.devices import convert_memory_format, count_loading_processes
from repro.engine.fitted import WEIGHTS, find_finished
from repro.engine.log_targets import LogTargets
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.engine.schedule import count_iterations, count_iterations_per_epoch
from repro.errors import ReproError
from repro.evaluation.predictor import ProgressReport
from repro.experiments import mini
from repro.files.regular_files import sha256
from repro.measuring.batch_division import BatchDivision, effective_recipe
from repro.measuring.meanwhile import EvaluationMeanwhile
from repro.models import norm
from repro.planning.work_order import TrainedWork
from repro.records import Segment, Training, Weights
from repro.settings import Settings
from repro.tasks import Task

#: How records name weights that are trained here for several experiments.
_PRETRAINED = dict(zip(mini.PRETRAINED, ("shared pre-training", "shared detector", "shared network"), strict=True))


@dataclass(frozen=True)
class Trained:
    """A network with the weights that training ended in, and what a record says of it."""

    model: nn.Module
    weights: Weights
    training: Training
    division: BatchDivision  #: with which the training ended; another one may have been asked for only to evaluate it
    departures: list[str]  #: of its inputs from the usual ones
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class StartingPoint:
    """What a training begins from."""

    path: Path | None  #: of the initial weights; None: random ones
    origin: str  #: in words
    sha256: str | None
    part: str | None = None  #: which state dict of the file, if one was named


def train(
    task: Task,
    start: StartingPoint,
    division: BatchDivision,
    key: str,
    directory: Path,
    fabric: Fabric,
    progress: ProgressReport,
) -> Trained:
    """The task's network, trained; goes on from what `directory` holds of an interrupted run.

    Raises:
        ReproError: bad initial weights, a training that diverged, a directory that cannot be written.
    """
    experiment, settings = task.experiment, task.settings
    model = _initialise_network(task)
    recipe = effective_recipe(experiment, settings)
    per_epoch = count_iterations_per_epoch(task.training_items, recipe.batch_size)
    if start.path and start.sha256:
        task.load_initial(model, start.path, start.sha256, start.part)
    if division.synchronised:
        model = norm.synchronise(model)
    convert_memory_format(model, task.choose_training_memory_format(fabric))
    if settings.compile:
        compile_model(model)
    departures = task.check_inputs(fabric)
    fitted = fit(
        model,
        recipe,
        task.training_input,
        identity=key,
        directory=directory,
        seed=settings.seed,
        fabric=fabric,
        collate=task.collate,
        micro_batch=division.micro_batch,
        graphs=task.uses_graphs,
        workers=count_loading_processes(fabric, settings.workers),
        save_every=settings.save_every,
        save_seconds=settings.save_seconds,
        observation=Observation(
            targets=choose_targets(settings),
            progress=lambda at: progress("training", at.iteration, at.total, at),
            evaluate=EvaluationMeanwhile(task, model, directory, key, fabric, progress)
            if settings.evaluate_every
            else None,
            every=settings.evaluate_every or 1,
        ),
    )
    convert_memory_format(model, task.choose_memory_format(fabric))
    last = fitted.segments[-1]
    division = replace(division, processes=last.world_size, accelerator=last.accelerator or division.accelerator)
    return Trained(
        model=model,
        weights=Weights(sha256=fitted.sha256, origin=start.origin, initial_sha256=start.sha256),
        training=Training(
            key=key,
            iterations=fitted.iterations,
            recipe_iterations=count_iterations(replace(recipe, iterations=experiment.recipe.iterations), per_epoch),
            effective_batch=fitted.effective_batch,
            learning_rate=recipe.learning_rate,
            world_size=fitted.world_size,
            final_loss=fitted.final_loss,
            resumed=fitted.resumed,
            batch_per_process=division.per_process,
            normalisation=division.normalisation,
            segments=[Segment(**asdict(segment)) for segment in fitted.segments],
        ),
        division=division,
        departures=departures,
        seconds=fitted.seconds,
        peak_memory_bytes=fitted.peak_memory_bytes,
    )


def choose_targets(settings: Settings) -> LogTargets:
    """Where the settings want a training to be logged beside its own files."""
    return LogTargets(tensorboard=settings.tensorboard, wandb=settings.wandb)


def _initialise_network(task: Task) -> nn.Module:
    """Freshly initialised as a function of the seed; the global generator is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.settings.seed)
        return task.build_network()


def find_starting_point(
    task: Task, starts_from: TrainedWork | None, fabric: Fabric, progress: ProgressReport
) -> StartingPoint:
    """The initial weights, fetched or, in the mini profile, pre-trained by this process alone if they are not here.

    Args:
        starts_from: the training whose weights it begins with, which has ended.

    Raises:
        ReproError: they cannot be fetched or read.
    """
    settings, wanted = task.settings, task.experiment.recipe.initial_weights
    if "random" in (settings.initial, wanted) and settings.initial in (None, "random"):
        return StartingPoint(None, "trained here from random weights", None)
    if settings.initial:
        path, part = initial_weights.fetch_given(settings.initial)
        return StartingPoint(path, f"trained here from {add_part(path.name, part)}", sha256(path), part)
    if starts_from:
        earlier = starts_from.training
        fitted = find_finished(earlier.directory, earlier.key)
        if fitted is None:
            raise ReproError(
                f"{earlier.directory / WEIGHTS} is not what the training there ended in: it was damaged or removed "
                "meanwhile. Run the same command again: it is trained again."
            )
        return StartingPoint(fitted.weights, f"trained here from {wanted}, which was trained here", fitted.sha256)
    path, digest = task.obtain_initial_weights(fabric, progress)
    origin = f"the mini profile's {_PRETRAINED[wanted]}" if wanted in mini.PRETRAINED else wanted
    return StartingPoint(path, f"trained here from {origin}", digest)
