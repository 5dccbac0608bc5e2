"""What would run for each experiment, why, and what it costs. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from repro import mini, paper
from repro.checkpoints import initial
from repro.data.layout import TRAINING_IMAGES, annotations_path
from repro.errors import ReproError
from repro.evaluation import COCO_EVALUATOR
from repro.experiments import Experiment, get
from repro.paths import sha256
from repro.records import Record, Store, cache_key

#: Part of every training key: raise it when a change to the training code changes what a recipe ends in.
TRAINING_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What a user chose on the command line."""

    results: Path
    profile: Literal["full", "mini"] = "mini"
    data_root: Path | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    initial: str | None = None  #: a file, or "random", instead of the recipe's initial weights
    iterations: int | None = None  #: train for so many instead of the recipe's length
    batch_size: int | None = None  #: effective batch; the learning rate is scaled with it
    micro_batch: int | None = None  #: images of one forward pass in training; the whole batch by default
    threads: int = 1

    @property
    def store(self) -> Store:
        return Store(self.results / "records")


@dataclass(frozen=True)
class Step:
    """One experiment with one seed, and what stands between it and its record."""

    experiment: Experiment
    seed: int
    status: Literal["measured", "ready", "blocked"]
    reason: str
    cost: str
    record: Record | None = None


def at_profile(name: str, profile: str) -> Experiment:
    """The experiment as that profile runs it.

    Raises:
        ReproError: no such experiment, or the profile does not run its task.
    """
    experiment = get(name)
    if experiment.dataset != "coco":
        raise ReproError(
            f"{name} cannot be run: this version trains and evaluates Mask R-CNN on COCO; {experiment.dataset} "
            "experiments are registered and their published cells are listed."
        )
    if experiment.network.cascade:
        raise ReproError(f"{name} cannot be run: this version trains Mask R-CNN, not its cascade.")
    return mini.shrink(experiment) if profile == "mini" else experiment


def distinct(table: int) -> dict[str, list[str]]:
    """Experiment -> the rows of the table that it stands for, in the order of the first of them."""
    rows: dict[str, list[str]] = {}
    for group in paper.load(table).groups:
        for row in group.rows:
            rows.setdefault(row.experiment, []).append(f"({group.name}) {row.label}" if group.name else row.label)
    return rows


def data_identity(settings: Settings) -> str:
    """What the data set contributes to a cache key.

    Raises:
        ReproError: the full profile has no data set, or one without annotations.
    """
    if settings.profile == "mini":
        return mini.DATASET_KEY
    if settings.data_root is None:
        raise ReproError("needs COCO 2017: pass --data-root DIR or set REPRO_DATA")
    paths = {split: annotations_path(settings.data_root, split) for split in ("train2017", "val2017")}
    return cache_key(**{split: _sha256(path, path.stat().st_mtime_ns) for split, path in paths.items()})


@cache
def _sha256(path: Path, changed: int) -> str:
    """Of a file last `changed` then: train2017's annotations are hashed once, not for every experiment and seed."""
    return sha256(path)


def start(experiment: Experiment, settings: Settings) -> str:
    """What a training begins from: the recipe's initial weights, whether fetched or given as a file, or something else.

    Raises:
        ReproError: the file given with --init cannot be read.
    """
    if settings.profile == "mini":
        return mini.PRETRAINING.spec_hash
    wanted = experiment.recipe.initial_weights
    if settings.initial in (None, "random"):
        return settings.initial or wanted
    given = sha256(Path(settings.initial))
    return wanted if given.startswith(initial.sha256_prefix(wanted)) else given


def training_key(experiment: Experiment, settings: Settings) -> str:
    """The cache key of a training run: recipe, network, data, initial weights, seed and numerics."""
    return cache_key(
        stage="training",
        version=TRAINING_VERSION,
        spec=experiment.spec_hash,
        data=data_identity(settings),
        initial=start(experiment, settings),
        seed=settings.seed,
        iterations=settings.iterations,
        precision=settings.precision,
        batch_size=settings.batch_size,
        micro_batch=settings.micro_batch,
    )


def find(records: Iterable[Record], key: str) -> Record | None:
    """The record of a finished training with this key, evaluated as it would be now."""
    return next((r for r in records if r.training and r.training.key == key and r.evaluator == COCO_EVALUATOR), None)


def plan(names: Iterable[str], settings: Settings, seeds: Iterable[int] = (0,)) -> list[Step]:
    """A step for every experiment and seed, in the given order."""
    records = settings.store.all()
    seconds = [r.cost.train_seconds + r.cost.evaluate_seconds for r in records if r.profile == settings.profile]
    return [_step(name, replace(settings, seed=seed), records, seconds) for seed in seeds for name in names]


def _step(name: str, settings: Settings, records: list[Record], seconds: list[float]) -> Step:
    experiment = get(name)
    try:
        experiment = at_profile(name, settings.profile)
        key = training_key(experiment, settings)
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), "-")
    if record := find(records, key):
        return Step(experiment, settings.seed, "measured", f"record {record.filename}", "none", record)
    mine = [r for r in records if (r.experiment, r.profile, r.seed) == (name, settings.profile, settings.seed)]
    return Step(experiment, settings.seed, "ready", _why(experiment, key, mine), _cost(experiment, settings, seconds))


def _why(experiment: Experiment, key: str, records: list[Record]) -> str:
    """Why a step has to run although the store may hold a record of it."""
    trained = [record for record in records if record.training]
    if not trained:
        return "no record yet"
    record = trained[-1]
    if record.spec_hash != experiment.spec_hash:
        return f"stale: the network or the recipe changed since {record.filename}"
    if record.training.key != key:
        return f"stale: data, initial weights, length or numerics differ from {record.filename}"
    return f"stale: evaluated by {record.evaluator}, now {COCO_EVALUATOR}"


def _cost(experiment: Experiment, settings: Settings, seconds: list[float]) -> str:
    if settings.profile == "mini":
        mean = sum(seconds) / len(seconds) if seconds else mini.SECONDS_PER_EXPERIMENT
        return f"about {mean:.0f} s of one core"
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    if settings.iterations is not None:
        return f"{settings.iterations} iterations of {batch} images, and the evaluation"
    cost = f"{recipe.epochs} epochs of {TRAINING_IMAGES} images in batches of {batch}, 5000 images evaluated"
    if settings.initial is None and not initial.cached(recipe.initial_weights).exists():
        cost = f"download of {recipe.initial_weights}, {cost}"
    return cost
