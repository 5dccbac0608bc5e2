"""The mini profile: the paper's experiments scaled down to minutes on two CPU cores. Imports nothing heavy."""

from __future__ import annotations

from repro.experiments import Experiment
from repro.experiments.mini import coco, imagenet, kinetics

_TASKS = {"coco": coco, "imagenet": imagenet, "kinetics": kinetics}


def shrink(experiment: Experiment) -> Experiment:
    """The experiment as the mini profile runs it: the same blocks at the same places of a smaller network.

    Raises:
        ReproError: it has no mini version.
    """
    return _TASKS[experiment.dataset].shrink(experiment)


def pretraining(experiment: Experiment) -> Experiment:
    """What gives a mini experiment with the initial weights "pretraining" these weights."""
    return _TASKS[experiment.dataset].pretraining(experiment)


def seconds(experiment: Experiment) -> float:
    """About what an experiment takes of one core in the mini profile, training and evaluation."""
    return _TASKS[experiment.dataset].seconds(experiment)


def dataset_key(experiment: Experiment) -> str:
    """Identity of the generated data set that an experiment runs on, in cache keys."""
    return _TASKS[experiment.dataset].DATASET_KEY


def data_directory(experiment: Experiment) -> str:
    """Name of the directory of that data set."""
    task = "" if experiment.dataset == "coco" else f"{experiment.dataset}-"
    return f"mini-{task}{dataset_key(experiment)[:12]}"
