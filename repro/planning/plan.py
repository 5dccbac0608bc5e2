"""What would run for each experiment, why, and what it costs. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from repro import paper
from repro.checkpoints import CONVERTER, choice, initial_weights
from repro.checkpoints.choice import Choice
from repro.data import sources
from repro.errors import ReproError
from repro.evaluation import ATTENTION_EVALUATOR, EVALUATORS, is_attention
from repro.experiments import EXPERIMENTS, Experiment, get, mini
from repro.planning import costs
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
    needed_by: tuple[str, ...] = ()  #: experiments that start from this one's weights
    attention: bool = False  #: whether the statistics of its attention are wanted, too
    statistics: Record | None = None  #: of its attention

    @property
    def seconds(self) -> float:
        """About how long it takes, to compare steps of one plan; alike where that is not known."""
        if self.record:
            return 0.0
        return mini.estimate_seconds(self.experiment) if self.experiment.profile == "mini" else 0.0


def check_arithmetic(experiment: Experiment, settings: Settings, accelerator: str) -> None:
    """Refuse what PyTorch cannot carry out.

    Raises:
        ReproError: a deformable convolution in bfloat16 on the CPU, or a detector to be compiled.
    """
    if experiment.network.backbone.dcn and settings.precision != "32-true" and accelerator == "cpu":
        raise ReproError(
            f"{experiment.name} has deformable convolutions, which run in float32 only on a CPU: leave out --precision "
            f"{settings.precision}, or use a GPU"
        )
    if settings.compile and experiment.dataset == "coco":
        raise ReproError(
            f"{experiment.name}: --compile is for classifiers; every image gives a detector tensors of other sizes, "
            "and torch.compile would compile it anew again and again"
        )


def at_profile(name: str, profile: str) -> Experiment:
    """The experiment as that profile runs it.

    Raises:
        ReproError: no such experiment.
    """
    experiment = get(name)
    return mini.shrink(experiment) if profile == "mini" else experiment


def distinct(table: int) -> dict[str, list[str]]:
    """Experiment -> the rows of the table that it stands for, in the order of the first of them."""
    rows: dict[str, list[str]] = {}
    for group in paper.load(table).groups:
        for row in group.rows:
            rows.setdefault(row.experiment, []).append(f"({group.name}) {row.label}" if group.name else row.label)
    return rows


def of_attention(table: int) -> frozenset[str]:
    """The experiments of whose attention the table prints statistics."""
    return frozenset(
        row.experiment for row in paper.load(table).rows if any(cell.column in paper.STATISTICS for cell in row.cells)
    )


def data_identity(experiment: Experiment, settings: Settings) -> str:
    """What the data set contributes to a cache key.

    Raises:
        ReproError: the full profile has no data set, or one without annotations.
    """
    if settings.profile == "mini":
        return mini.dataset_key_for(experiment)
    return sources.identity(experiment, settings.data_root, sources.SPLITS)


def prerequisite(experiment: Experiment, settings: Settings) -> tuple[Experiment, Settings] | None:
    """The experiment whose weights this one starts from, trained with the same options, and with seed 0 for all seeds.

    None where it starts from something else.
    """
    wanted = experiment.recipe.initial_weights
    if wanted not in EXPERIMENTS or settings.initial:
        return None
    return at_profile(wanted, settings.profile), replace(settings, seed=0, source="trained", weights=None)


def start(experiment: Experiment, settings: Settings) -> str:
    """What a training begins from: the recipe's initial weights, whether fetched or given as a file, or something else.

    Raises:
        ReproError: what is given with --init cannot be read, or is not known.
    """
    if earlier := prerequisite(experiment, settings):
        return training_key(*earlier)
    wanted = experiment.recipe.initial_weights
    if wanted == "pretraining":
        return mini.pretraining_for(experiment).spec_hash
    if settings.initial in (None, "random"):
        return settings.initial or wanted
    given = initial_weights.identify_given(settings.initial)
    public = wanted != "random" and wanted not in EXPERIMENTS
    return wanted if public and given.startswith(initial_weights.get_sha256_prefix(wanted)) else given


def run_directory(experiment: Experiment, settings: Settings, weights: Choice | None = None) -> Path:
    """Where a training, or an evaluation of weights, keeps its files.

    Raises:
        ReproError: as of `training_key` and `evaluation_key`.
    """
    key = evaluation_key(experiment, settings, weights) if weights else training_key(experiment, settings)
    kind = "checkpoint" if weights else f"seed{settings.seed}"
    return settings.results / "runs" / f"{experiment.name}.{experiment.profile}.{kind}.{key[:12]}"


def training_key(experiment: Experiment, settings: Settings) -> str:
    """The cache key of a training run: recipe, network, data, initial weights, seed and numerics."""
    return cache_key(
        stage="training",
        version=TRAINING_VERSION,
        spec=experiment.spec_hash,
        data=data_identity(experiment, settings),
        initial=start(experiment, settings),
        seed=settings.seed,
        iterations=settings.iterations,
        precision=settings.precision,
        batch_size=settings.batch_size,
        micro_batch=settings.micro_batch,
        **_assembled(settings),
    )


def _assembled(settings: Settings) -> dict[str, str | bool]:
    """What the engine and the compiler contribute to a cache key."""
    engine = {} if settings.engine == "torchvision" else {"engine": settings.engine}
    return {**engine, "compile": True} if settings.compile else engine


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
    return choice.find_exact(experiment)


def evaluation_key(experiment: Experiment, settings: Settings, weights: Choice) -> str:
    """The cache key of evaluating weights that others trained: weights, translation, network, data and numerics."""
    return cache_key(
        stage="evaluation",
        version=EVALUATION_VERSION,
        converter=CONVERTER,
        weights=weights.identity,
        format=weights.format,
        spec=experiment.spec_hash,
        network=asdict(weights.network(experiment)),
        data=sources.identity(experiment, settings.data_root, ("val",)),
        precision=settings.precision,
        **_assembled(settings),
    )


def find(records: Iterable[Record], key: str, experiment: Experiment) -> Record | None:
    """The record of a finished training, or of weights, with this key, evaluated as it would be now."""
    return next((r for r in records if _key(r) == key and r.evaluator == EVALUATORS[experiment.dataset]), None)


def _key(record: Record) -> str | None:
    if record.training:
        return record.training.key
    return record.weights.checkpoint and record.weights.checkpoint.key


def find_attention(records: Iterable[Record], of: Record) -> Record | None:
    """The record of the statistics of attention, as they would be computed now, in the network of another record."""
    return next((r for r in records if r.evaluator == ATTENTION_EVALUATOR and r.network == of.network), None)


def plan(
    names: Iterable[str], settings: Settings, seeds: Iterable[int] = (0,), attention: Collection[str] = ()
) -> list[Step]:
    """A step for every experiment and seed, in the given order; one only for weights, which have no seed.

    Args:
        attention: the experiments of whose attention statistics are wanted, too.
    """
    every = settings.store.all()
    records = [record for record in every if not record.submitted and not is_attention(record.evaluator)]
    counts = settings.store.counts()
    names, steps = list(names), []
    for position, seed in enumerate(seeds):
        for name in names:
            step = _step(name, replace(settings, seed=seed), records, counts)
            if name in attention:
                step = _with_attention(step, settings, every)
            if step.source == "trained" or position == 0:
                steps.append(step)
    return _earlier(steps, settings, records, counts) + steps


def _earlier(steps: list[Step], settings: Settings, records: list[Record], counts: Mapping[str, Count]) -> list[Step]:
    """The steps that others start from and that are not among them."""
    needed: dict[str, dict[str, None]] = {}
    for step in steps:
        wanted = step.source == "trained" and step.status != "measured"
        earlier = prerequisite(step.experiment, settings) if wanted else None
        if earlier:
            needed.setdefault(earlier[0].name, {})[step.experiment.name] = None
    present = {step.experiment.name for step in steps if step.seed == 0}
    return [
        replace(_step(name, replace(settings, seed=0, source="trained"), records, counts), needed_by=tuple(by))
        for name, by in needed.items()
        if name not in present
    ]


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
        cost = costs.of_weights(experiment, weights, counts.get(experiment.spec_hash))
    else:
        cost = costs.of_training(experiment, settings, records)
    try:
        key = evaluation_key(experiment, settings, weights) if weights else training_key(experiment, settings)
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), cost, source=source, weights=weights)
    if record := find(records, key, experiment):
        reason = f"record {record.filename}"
        return Step(experiment, settings.seed, "measured", reason, "none", record, source, weights)
    mine = [r for r in records if (r.experiment, r.profile) == (name, settings.profile)]
    if weights:
        mine = [r for r in mine if r.weights.checkpoint and r.weights.checkpoint.id == weights.id]
    else:
        mine = [r for r in mine if r.training and r.seed == settings.seed]
    reason = _why(experiment, key, mine)
    if not weights and (earlier := prerequisite(experiment, settings)):
        reason += f"; starts from {earlier[0].name}"
    return Step(experiment, settings.seed, "ready", reason, cost, source=source, weights=weights)


def _with_attention(step: Step, settings: Settings, records: list[Record]) -> Step:
    """The step that is done only with the statistics of its network's attention."""
    if step.status == "blocked":
        return step
    if step.record is None:
        return replace(step, attention=True, reason=f"{step.reason}; with the statistics of its attention")
    if found := find_attention(records, step.record):
        return replace(
            step,
            attention=True,
            reason=f"{step.reason}; statistics of its attention {found.filename}",
            statistics=found,
        )
    outdated = next((r for r in records if is_attention(r.evaluator) and r.network == step.record.network), None)
    why = f"computed by {outdated.evaluator}, now {ATTENTION_EVALUATOR}" if outdated else "missing"
    cost = costs.of_attention(step.experiment)
    if step.source == "trained":
        directory = run_directory(step.experiment, replace(settings, seed=step.seed, source="trained"))
        if not (directory / "weights.pt").is_file():
            why += ", and its weights are not here: it is trained again"
            trained = [record for record in records if not is_attention(record.evaluator)]
            cost = f"{costs.of_training(step.experiment, settings, trained)}; {cost}"
    return replace(
        step, status="ready", attention=True, reason=f"{step.reason}; statistics of its attention {why}", cost=cost
    )


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
    return f"stale: evaluated by {record.evaluator}, now {EVALUATORS[experiment.dataset]}"
