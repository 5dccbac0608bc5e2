"""Every experiment of the paper: one frozen configuration per distinct model and recipe.

`specification` says what an experiment is made of; `coco`, `imagenet` and `kinetics` list the 49 of the paper; `mini`
scales them down. The names below are the package's vocabulary: import them from here.
"""

from __future__ import annotations

from repro.errors import unknown
from repro.experiments import coco, imagenet, kinetics
from repro.experiments.specification import (
    ALL_STAGES,
    BEFORE_LAST_OF_C4,
    FIVE_OF_C3_C4,
    GC,
    SE,
    SNL,
    STAGES,
    AttentionAverage,
    Backbone,
    Classifier,
    Detector,
    Experiment,
    GlobalContext,
    Insertion,
    NonLocal,
    Recipe,
    Site,
    canonical,
    digest,
)

__all__ = [
    "ALL_STAGES",
    "BEFORE_LAST_OF_C4",
    "EXPERIMENTS",
    "FIVE_OF_C3_C4",
    "GC",
    "SE",
    "SNL",
    "STAGES",
    "AttentionAverage",
    "Backbone",
    "Classifier",
    "Detector",
    "Experiment",
    "GlobalContext",
    "Insertion",
    "NonLocal",
    "Recipe",
    "Site",
    "canonical",
    "digest",
    "get",
]

#: By name, in the order of the tables.
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in (*coco.EXPERIMENTS, *imagenet.EXPERIMENTS, *kinetics.EXPERIMENTS)
}


def get(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ReproError: there is none; the nearest names are offered.
    """
    try:
        return EXPERIMENTS[name]
    except KeyError:
        raise unknown("experiment", name, EXPERIMENTS) from None
