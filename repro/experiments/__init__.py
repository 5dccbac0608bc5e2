"""Every experiment of the paper, and those of the user's own files: a frozen configuration for each model and recipe.

`specification` says what an experiment is made of; `coco`, `imagenet` and `kinetics` list the 49 of the paper; `own`
loads those of files; `overrides` changes settings of one; `mini` scales them down. The names below are the package's
vocabulary: import them from here.
"""

from __future__ import annotations

from dataclasses import replace

from repro.errors import ReproError, unknown
from repro.experiments import coco, imagenet, kinetics, overrides
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
    BlockFactory,
    Classifier,
    Detector,
    Experiment,
    GlobalContext,
    Insertion,
    NonLocal,
    Recipe,
    Site,
    SourceCode,
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
    "BlockFactory",
    "Classifier",
    "Detector",
    "Experiment",
    "GlobalContext",
    "Insertion",
    "NonLocal",
    "Recipe",
    "Site",
    "SourceCode",
    "canonical",
    "digest",
    "exchange_block",
    "get",
    "is_defined",
    "is_published",
    "list_own",
    "register",
]

#: The paper's by name, in the order of the tables.
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: replace(experiment, derived_from=experiment.name)
    for experiment in (*coco.EXPERIMENTS, *imagenet.EXPERIMENTS, *kinetics.EXPERIMENTS)
}
_OWN: dict[str, Experiment] = {}  #: those of the user's files that this process has loaded


def get(name: str) -> Experiment:
    """The experiment of that name: the paper's, one of a loaded file, or one of these with overrides.

    Raises:
        ReproError: there is none; the nearest names are offered. Or it has no such setting to override.
    """
    base, changes = overrides.split_name(name)
    found = EXPERIMENTS.get(base) or _OWN.get(base)
    if found is None:
        raise unknown("experiment", base, [*EXPERIMENTS, *_OWN])
    return overrides.apply(found, changes)


def is_defined(name: str) -> bool:
    """Whether there is an experiment of that name, the paper's or one of a loaded file, with or without overrides."""
    try:
        get(name)
    except ReproError:
        return False
    return True


def is_published(name: str) -> bool:
    """Whether it is an experiment of the paper, as it is there."""
    return name in EXPERIMENTS


def register(experiment: Experiment) -> None:
    """Make an experiment of the user's own known to `get`, in this process.

    Raises:
        ReproError: another one of another file has its name.
    """
    known = _OWN.setdefault(experiment.name, experiment)
    if known.source != experiment.source:
        theirs, ours = (one.source.reference if one.source else "" for one in (known, experiment))
        raise ReproError(f"{theirs} and {ours} both have an experiment {experiment.name!r}: give one another name")


def list_own() -> list[Experiment]:
    """The experiments of the user's files that this process has loaded."""
    return list(_OWN.values())


def exchange_block(experiment: Experiment, name: str, block: NonLocal | GlobalContext | BlockFactory) -> Experiment:
    """An experiment with another context block at the same places, under a name of its own.

    Without a block before, it stands where GC blocks do: after the last 1x1 convolution of all blocks of c3 to c5.

    >>> get("coco-r50-gc-r16") == replace(
    ...     exchange_block(get("coco-r50-snl"), "gc", GC), name="coco-r50-gc-r16"
    ... )
    True
    """
    backbone = experiment.network.backbone
    context = replace(backbone.context, block=block) if backbone.context else Insertion(block)
    network = replace(experiment.network, backbone=replace(backbone, context=context))
    return replace(experiment, name=name, network=network)
