"""The mini profile: the paper's experiments scaled down to minutes on two CPU cores. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from repro.errors import ReproError
from repro.experiments import Experiment, get, overrides
from repro.experiments.mini import coco, imagenet, kinetics

#: What recipes of the mini profile call initial weights that are trained here for several experiments, and the stage in
#: which that is done.
PRETRAINED = {
    "pretraining": "pre-training",
    "shared detector": "training of the shared detector",
    "shared network": "training of the shared network",
}
_TASKS = {"coco": coco, "imagenet": imagenet, "kinetics": kinetics}


def shrink(experiment: Experiment) -> Experiment:
    """The experiment as the mini profile runs it: the same blocks at the same places of a smaller network.

    Raises:
        ReproError: it has no mini version.
    """
    if experiment.source and experiment.recipe != get(experiment.derived_from).recipe:
        raise ReproError(
            f"{experiment.name} has no mini version: the mini profile has recipes of its own, and would leave out what "
            f"its recipe does otherwise than that of {experiment.derived_from}. With --set PATH=VALUE a setting of the "
            "mini profile's recipe is another one."
        )
    return _TASKS[experiment.dataset].shrink(experiment)


def get_at_profile(name: str, profile: str) -> Experiment:
    """The experiment of that name as that profile runs it.

    Raises:
        ReproError: there is none, or it has no mini version.
    """
    if profile != "mini":
        return get(name)
    base, changes = overrides.split_name(name)
    return overrides.apply(shrink(get(base)), changes)


def list_pretrainings(experiment: Experiment) -> list[Experiment]:
    """The trainings that lead to a mini experiment's initial weights, the first first; none if it needs none."""
    chain: list[Experiment] = []
    while experiment.recipe.initial_weights in PRETRAINED:
        experiment = replace(_TASKS[experiment.dataset].pretraining_for(experiment), source=None)
        chain.insert(0, experiment)
    return chain


def is_repeated_with_each_seed(pretrainings: Sequence[Experiment]) -> bool:
    """Whether each seed has the last of these trainings for itself, as it has all but the first of a chain.

    The first, a classifier, is shared by all seeds: so the paper's detectors begin from one, too.
    """
    return len(pretrainings) > 1


def estimate_seconds(experiment: Experiment) -> float:
    """Estimate how many seconds of one core the training and the evaluation of a mini experiment take."""
    return _TASKS[experiment.dataset].estimate_seconds(experiment)


def estimate_pretraining_seconds(experiment: Experiment, pretraining: Experiment) -> float:
    """Estimate how many seconds of one core one of the trainings takes that lead to its initial weights."""
    return _TASKS[experiment.dataset].estimate_seconds(pretraining)


def dataset_key_for(experiment: Experiment) -> str:
    """What stands in cache keys for the generated data set that an experiment runs on."""
    return _TASKS[experiment.dataset].DATASET_KEY


def content_for(experiment: Experiment) -> str:
    """The sha256 of what that data set consists of (`repro.data.miniature.content`)."""
    return _TASKS[experiment.dataset].CONTENT


def count_items_for(experiment: Experiment) -> tuple[int, int]:
    """Count the generated items that an experiment is trained on, and those that it is evaluated on."""
    if experiment.dataset == "coco":
        return coco.TRAINED_IMAGES, coco.SCENES.val_images
    if experiment.dataset == "imagenet":
        return imagenet.PICTURES.train_images, imagenet.PICTURES.val_images
    return kinetics.VIDEOS.train_videos, kinetics.VIDEOS.val_videos


def data_directory_for(experiment: Experiment) -> str:
    """Name of the directory of that data set."""
    task = "" if experiment.dataset == "coco" else f"{experiment.dataset}-"
    return f"mini-{task}{dataset_key_for(experiment)[:12]}"
