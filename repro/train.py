"""From an experiment's recipe to its trained network."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from repro import mini, plan
from repro.checkpoints import initial, reading
from repro.data import miniature
from repro.data.coco import CocoDetection
from repro.data.layout import TRAINING_IMAGES
from repro.detection import engines
from repro.detection.detector import DetectorModule
from repro.division import Division, carried_out
from repro.engine.loop import fit
from repro.engine.schedule import iterations_per_epoch, length
from repro.experiments import Experiment
from repro.locks import locked
from repro.models import norm
from repro.models.resnet import load_initial
from repro.paths import sha256
from repro.predict import ProgressReport
from repro.records import Segment, Training, Weights, cache_key
from repro.settings import Settings


@dataclass(frozen=True)
class Trained:
    """A network with the weights that training ended in, and what a record says of it."""

    model: DetectorModule
    weights: Weights
    training: Training
    division: Division  #: with which the training ended; another one may have been asked for only to evaluate it
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Start:
    """What a training begins from."""

    path: Path | None  #: of the backbone's initial weights; None: random ones
    origin: str  #: in words
    sha256: str | None


def train(
    experiment: Experiment,
    settings: Settings,
    data: CocoDetection,
    start: Start,
    division: Division,
    key: str,
    directory: Path,
    fabric: Fabric,
    progress: ProgressReport,
) -> Trained:
    """The experiment's network, trained on `data`; goes on from what `directory` holds of an interrupted run.

    Raises:
        ReproError: bad initial weights, a training that diverged, a directory that cannot be written.
    """
    model = _network(experiment, settings)
    recipe = carried_out(experiment, settings)
    images = TRAINING_IMAGES if settings.profile == "full" else len(data)
    per_epoch = iterations_per_epoch(images, recipe.batch_size)
    if start.path:
        load_initial(model.backbone, reading.read(start.path).tensors)
    if division.synchronised:
        model = norm.synchronised(model)
    fitted = fit(
        model,
        recipe,
        data,
        identity=key,
        directory=directory,
        seed=settings.seed,
        fabric=fabric,
        micro_batch=settings.micro_batch,
        workers=_workers(division),
        progress=lambda at: progress("training", at.iteration, at.total),
    )
    last = fitted.segments[-1]
    division = replace(division, processes=last.world_size, accelerator=last.accelerator or division.accelerator)
    return Trained(
        model=model,
        weights=Weights(sha256=fitted.sha256, origin=start.origin, initial_sha256=start.sha256),
        training=Training(
            key=key,
            iterations=fitted.iterations,
            recipe_iterations=length(replace(recipe, iterations=None), per_epoch),
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
        seconds=fitted.seconds,
        peak_memory_bytes=fitted.peak_memory_bytes,
    )


def _network(experiment: Experiment, settings: Settings) -> DetectorModule:
    """Freshly initialised as a function of the seed; the global generator is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return engines.build(settings.engine, experiment.network)


def starting_point(experiment: Experiment, settings: Settings, fabric: Fabric, progress: ProgressReport) -> Start:
    """The initial weights, fetched or, in the mini profile, pre-trained by this process alone if they are not here.

    Raises:
        ReproError: they cannot be fetched or read.
    """
    if settings.initial == "random":
        return Start(None, "trained here from random weights", None)
    if settings.profile == "mini":
        path = _pretrained(experiment, settings, fabric, progress)
        return Start(path, "trained here from the mini profile's shared pre-training", sha256(path))
    wanted = experiment.recipe.initial_weights
    path = Path(settings.initial) if settings.initial else initial.fetch(wanted)
    return Start(path, f"trained here from {path.name if settings.initial else wanted}", sha256(path))


def _pretrained(experiment: Experiment, settings: Settings, fabric: Fabric, progress: ProgressReport) -> Path:
    """The weights that all mini experiments with such a backbone start from, trained by whoever needs them first."""
    spec = mini.pretraining(experiment)
    key = cache_key(stage="pre-training", version=plan.TRAINING_VERSION, spec=spec.spec_hash, data=mini.DATASET_KEY)
    directory = settings.results / "runs" / f"{spec.name}.{key[:12]}"
    with locked(directory):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = miniature.Tagger(spec.network.backbone, spec.network.num_classes)
        fitted = fit(
            model,
            spec.recipe,
            miniature.PretrainingData(),
            identity=key,
            directory=directory,
            seed=0,
            fabric=Fabric(accelerator=fabric.device.type, devices=1),  # float32 whatever the experiments use
            progress=lambda at: progress("pre-training", at.iteration, at.total),
        )
    return fitted.weights


def _workers(division: Division) -> int:
    """Processes that load images ahead: a GPU would wait for one; on the CPU they would take its cores."""
    return max(1, min(8, (os.cpu_count() or 1) // division.per_node)) if division.accelerator == "cuda" else 0
