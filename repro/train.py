"""From an experiment's recipe to its trained network."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from repro import mini, plan
from repro.checkpoints import initial, reading
from repro.data import miniature
from repro.data.coco import CocoDetection
from repro.data.layout import TRAINING_IMAGES
from repro.detection.torchvision import MaskRCNN
from repro.engine.loop import fit
from repro.engine.schedule import iterations_per_epoch, length
from repro.experiments import Experiment, Recipe
from repro.locks import locked
from repro.models.resnet import ResNet, load_initial
from repro.paths import sha256
from repro.predict import ProgressReport
from repro.records import Training, Weights, cache_key
from repro.settings import Settings


@dataclass(frozen=True)
class Trained:
    """A network with the weights that training ended in, and what a record says of it."""

    model: MaskRCNN
    weights: Weights
    training: Training
    seconds: float
    peak_memory_bytes: int


def train(
    experiment: Experiment,
    settings: Settings,
    data: CocoDetection,
    key: str,
    directory: Path,
    fabric: Fabric,
    progress: ProgressReport,
) -> Trained:
    """The experiment's network, trained on `data`; goes on from what `directory` holds of an interrupted run.

    Raises:
        ReproError: bad or missing initial weights, a training that diverged, a directory that cannot be written.
    """
    model = _network(experiment, settings.seed)
    recipe = _recipe(experiment, settings)
    images = TRAINING_IMAGES if settings.profile == "full" else len(data)
    per_epoch = iterations_per_epoch(images, recipe.batch_size)
    origin, initial_sha256 = _initialise(model.backbone, experiment, settings, fabric, progress)
    fitted = fit(
        model,
        recipe,
        data,
        identity=key,
        directory=directory,
        seed=settings.seed,
        fabric=fabric,
        micro_batch=settings.micro_batch,
        workers=_workers(fabric),
        progress=lambda at: progress("training", at.iteration, at.total),
    )
    return Trained(
        model=model,
        weights=Weights(sha256=fitted.sha256, origin=origin, initial_sha256=initial_sha256),
        training=Training(
            key=key,
            iterations=fitted.iterations,
            recipe_iterations=length(replace(recipe, iterations=None), per_epoch),
            effective_batch=fitted.effective_batch,
            learning_rate=recipe.learning_rate,
            world_size=fitted.world_size,
            final_loss=fitted.final_loss,
            resumed=fitted.resumed,
        ),
        seconds=fitted.seconds,
        peak_memory_bytes=fitted.peak_memory_bytes,
    )


def _network(experiment: Experiment, seed: int) -> MaskRCNN:
    """Freshly initialised as a function of the seed; the global generator is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskRCNN(experiment.network)


def _initialise(
    backbone: ResNet, experiment: Experiment, settings: Settings, fabric: Fabric, progress: ProgressReport
) -> tuple[str, str | None]:
    """Load the initial weights into the backbone; what they are, in words, and their sha256."""
    if settings.initial == "random":
        return "trained here from random weights", None
    if settings.profile == "mini":
        path = _pretrained(settings, fabric, progress)
        origin = "trained here from the mini profile's shared pre-training"
    else:
        wanted = experiment.recipe.initial_weights
        path = Path(settings.initial) if settings.initial else initial.fetch(wanted)
        origin = f"trained here from {path.name if settings.initial else wanted}"
    load_initial(backbone, reading.read(path).tensors)
    return origin, sha256(path)


def _pretrained(settings: Settings, fabric: Fabric, progress: ProgressReport) -> Path:
    """The backbone weights that all mini experiments start from, trained by whoever needs them first."""
    spec = mini.PRETRAINING
    key = cache_key(stage="pre-training", version=plan.TRAINING_VERSION, spec=spec.spec_hash, data=mini.DATASET_KEY)
    directory = settings.results / "runs" / f"{spec.name}.{key[:12]}"
    with locked(directory):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = miniature.pretraining_network()
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


def _recipe(experiment: Experiment, settings: Settings) -> Recipe:
    """The experiment's recipe as the settings shorten or scale it."""
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    return replace(
        recipe,
        iterations=settings.iterations or recipe.iterations,
        batch_size=batch,
        learning_rate=recipe.learning_rate * batch / recipe.batch_size,
    )


def _workers(fabric: Fabric) -> int:
    """Processes that load images ahead: a GPU would wait for one; on the CPU they would take its cores."""
    return min(8, os.cpu_count() or 1) if fabric.device.type == "cuda" else 0
