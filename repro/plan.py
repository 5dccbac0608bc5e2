"""What would run for each experiment, why, and what it costs. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from repro import mini, paper
from repro.checkpoints import CONVERTER, choice, download, initial, registry
from repro.checkpoints.choice import Choice
from repro.data.layout import TRAINING_IMAGES, annotations_path
from repro.errors import ReproError
from repro.evaluation import COCO_EVALUATOR
from repro.experiments import EXPERIMENTS, Experiment, get
from repro.paths import sha256
from repro.records import Count, Record, cache_key
from repro.settings import Settings

#: Part of every training key: raise it when a change to the training code changes what a recipe ends in.
TRAINING_VERSION = 1
#: The same for evaluating weights of others.
EVALUATION_VERSION = 1

Source = Literal["trained", "checkpoint"]


@dataclass(frozen=True)
class Step:
    """One experiment with one seed, and what stands between it and its record."""

    experiment: Experiment
    seed: int
    status: Literal["measured", "ready", "blocked"]
    reason: str
    cost: str
    record: Record | None = None
    source: Source = "trained"
    weights: Choice | None = None  #: which are evaluated, where others trained them

    @property
    def seconds(self) -> float:
        """About how long it takes, to compare steps of one plan; alike where that is not known."""
        return mini.seconds(self.experiment) if self.experiment.profile == "mini" else 0.0


def check_precision(experiment: Experiment, precision: str, accelerator: str) -> None:
    """Refuse what PyTorch has no kernel for.

    Raises:
        ReproError: a deformable convolution in bfloat16 on the CPU.
    """
    if experiment.network.backbone.dcn and precision != "32-true" and accelerator == "cpu":
        raise ReproError(
            f"{experiment.name} has deformable convolutions, which run in float32 only on a CPU: leave out --precision "
            f"{precision}, or use a GPU"
        )


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
    return mini.shrink(experiment) if profile == "mini" else experiment


def distinct(table: int) -> dict[str, list[str]]:
    """Experiment -> the rows of the table that it stands for, in the order of the first of them."""
    rows: dict[str, list[str]] = {}
    for group in paper.load(table).groups:
        for row in group.rows:
            rows.setdefault(row.experiment, []).append(f"({group.name}) {row.label}" if group.name else row.label)
    return rows


NEEDS_COCO = "needs COCO 2017: pass --data-root DIR or set REPRO_DATA"


def data_identity(settings: Settings) -> str:
    """What the data set contributes to a cache key.

    Raises:
        ReproError: the full profile has no data set, or one without annotations.
    """
    if settings.profile == "mini":
        return mini.DATASET_KEY
    if settings.data_root is None:
        raise ReproError(NEEDS_COCO)
    return _files(settings.data_root, ("train2017", "val2017"))


def _files(root: Path, splits: Iterable[str]) -> str:
    paths = {split: annotations_path(root, split) for split in splits}
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
        return mini.pretraining(experiment).spec_hash
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
        **_assembled(settings),
    )


def _assembled(settings: Settings) -> dict[str, str]:
    """What the engine contributes to a cache key."""
    return {} if settings.engine == "torchvision" else {"engine": settings.engine}


def chosen(experiment: Experiment, settings: Settings) -> Choice | None:
    """The weights to evaluate, or None where the experiment is to be trained here.

    Raises:
        ReproError: weights were asked for and there are none, or those named do not fit.
    """
    if settings.profile == "mini" or settings.source == "trained":
        return None
    if settings.source == "checkpoint":
        return choice.choose(experiment, settings.weights)
    if settings.training_options:
        return None
    return choice.exact(experiment)


def evaluation_key(experiment: Experiment, settings: Settings, weights: Choice) -> str:
    """The cache key of evaluating weights that others trained: weights, translation, network, data and numerics."""
    if settings.data_root is None:
        raise ReproError(NEEDS_COCO)
    return cache_key(
        stage="evaluation",
        version=EVALUATION_VERSION,
        converter=CONVERTER,
        weights=weights.identity,
        format=weights.format,
        spec=experiment.spec_hash,
        network=asdict(weights.network(experiment)),
        data=_files(settings.data_root, ("val2017",)),
        precision=settings.precision,
        **_assembled(settings),
    )


def find(records: Iterable[Record], key: str) -> Record | None:
    """The record of a finished training, or of weights, with this key, evaluated as it would be now."""
    return next((r for r in records if _key(r) == key and r.evaluator == COCO_EVALUATOR), None)


def _key(record: Record) -> str | None:
    if record.training:
        return record.training.key
    return record.weights.checkpoint and record.weights.checkpoint.key


def plan(names: Iterable[str], settings: Settings, seeds: Iterable[int] = (0,)) -> list[Step]:
    """A step for every experiment and seed, in the given order; one only for weights, which have no seed."""
    records = [record for record in settings.store.all() if not record.submitted]
    counts = settings.store.counts()
    names, steps = list(names), []
    for position, seed in enumerate(seeds):
        for name in names:
            step = _step(name, replace(settings, seed=seed), records, counts)
            if step.source == "trained" or position == 0:
                steps.append(step)
    return steps


def _step(name: str, settings: Settings, records: list[Record], counts: Mapping[str, Count]) -> Step:
    experiment = get(name)
    weights = None
    source: Source = "checkpoint" if settings.source == "checkpoint" and settings.profile == "full" else "trained"
    try:
        weights = chosen(experiment, settings)
        source = "checkpoint" if weights else "trained"
        experiment = at_profile(name, settings.profile)
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), "-", source=source, weights=weights)
    if weights:
        cost = _download(weights, counts.get(experiment.spec_hash)) + "5000 images evaluated"
    else:
        cost = _cost(experiment, settings, records)
    try:
        key = evaluation_key(experiment, settings, weights) if weights else training_key(experiment, settings)
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), cost, source=source, weights=weights)
    if record := find(records, key):
        reason = f"record {record.filename}"
        return Step(experiment, settings.seed, "measured", reason, "none", record, source, weights)
    mine = [r for r in records if (r.experiment, r.profile) == (name, settings.profile)]
    if weights:
        mine = [r for r in mine if r.weights.checkpoint and r.weights.checkpoint.id == weights.id]
    else:
        mine = [r for r in mine if r.training and r.seed == settings.seed]
    return Step(experiment, settings.seed, "ready", _why(experiment, key, mine), cost, source=source, weights=weights)


def _why(experiment: Experiment, key: str, records: list[Record]) -> str:
    """Why a step has to run although the store may hold records of it."""
    if not records:
        return "no record yet"
    record = records[-1]
    if record.spec_hash != experiment.spec_hash:
        return f"stale: the network or the recipe changed since {record.filename}"
    if _key(record) != key:
        what = (
            "data, initial weights, length, batch, engine or numerics"
            if record.training
            else "data, file, conversion, engine or numerics"
        )
        return f"stale: {what} differ from {record.filename}"
    return f"stale: evaluated by {record.evaluator}, now {COCO_EVALUATOR}"


def _download(weights: Choice, count: Count | None) -> str:
    """What fetching costs, in words that a list goes on after; empty where the file is here."""
    entry = weights.entry
    if weights.file or entry is None or (entry.sha256 and download.cached(entry.sha256)):
        return ""
    if entry.size:
        size = f"{entry.size / 1e6:.0f} MB"
    elif count:
        size = f"about {4 * count.params / 1e6:.0f} MB by its parameters"
    else:
        size = "size unknown"
    return f"download of {size} from {urlsplit(entry.fetchable[0]).hostname}, "


#: GPUs of the authors' machine, and images on each.
_GPUS, _IMAGES = 8, 2


def _on_gpus(experiment: Experiment) -> str:
    """The hours and the memory of a training by what the authors report: of it, or of what it adds something to."""
    network = experiment.network
    plain = replace(network, backbone=replace(network.backbone, context=None))
    simple = replace(plain, cascade=False, backbone=replace(plain.backbone, dcn=()))
    candidates = [("about", experiment)]
    candidates += [("at least", e) for of in (plain, simple) for e in EXPERIMENTS.values() if e.network == of]
    for bound, like in candidates:
        took = next((e.training for e, _ in registry.load().serving(like.name) if e.training), None)
        if took:
            iterations = experiment.recipe.epochs * TRAINING_IMAGES / (_GPUS * _IMAGES)
            hours = iterations * took.seconds_per_iteration * _GPUS / 3600
            what = "" if like is experiment else f" for {like.name}"
            return (
                f"; {bound} {hours:.0f} hours of a V100 by the {took.seconds_per_iteration} s an iteration that the "
                f"authors report{what}, and {took.memory} GB for {_IMAGES} images"
            )
    return ""


def _cost(experiment: Experiment, settings: Settings, records: list[Record]) -> str:
    if settings.profile == "mini":
        run = [r for r in records if r.profile == "mini" and r.experiment in EXPERIMENTS]
        took = sum(r.cost.train_seconds + r.cost.evaluate_seconds for r in run)
        expected = sum(mini.seconds(get(r.experiment)) for r in run)
        return f"about {mini.seconds(experiment) * (took / expected if run else 1):.0f} s of one core"
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    if settings.iterations is not None:
        return f"{settings.iterations} iterations of {batch} images, and the evaluation"
    cost = f"{recipe.epochs} epochs of {TRAINING_IMAGES} images in batches of {batch}, 5000 images evaluated"
    cost += _on_gpus(experiment)
    if settings.initial is None and not initial.cached(recipe.initial_weights).exists():
        cost = f"download of {recipe.initial_weights}, {cost}"
    return cost
