"""What would run for each experiment, why, and what it costs. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from repro import paper
from repro.checkpoints.choice import Choice
from repro.errors import ReproError
from repro.evaluation import ATTENTION_EVALUATOR, EVALUATORS, is_attention
from repro.experiments import Experiment, SourceCode, get, mini, overrides, readings
from repro.files.places import is_file
from repro.planning import costs, keys
from repro.planning.arithmetic import check_arithmetic
from repro.planning.costs import Cost
from repro.planning.lookup import find_attention_record, find_record
from repro.planning.work_order import (
    TrainedWork,
    WorkOrder,
    check_own,
    order_evaluation,
    order_training,
    refuse_options_without_effect,
)
from repro.records import Count, OwnSource, Record
from repro.settings import Settings

Source = Literal["trained", "checkpoint"]


@dataclass(frozen=True)
class Step:
    """One experiment with one seed, and what stands between it and its record."""

    experiment: Experiment
    seed: int
    status: Literal["measured", "ready", "blocked"]
    reason: str
    cost: Cost
    order: WorkOrder | None = None  #: what measuring it takes; None where it is blocked
    record: Record | None = None
    source: Source = "trained"
    weights: Choice | None = None  #: which are evaluated, where others trained them
    needed_by: tuple[str, ...] = ()  #: experiments that start from this one's weights
    statistics: Record | None = None  #: of its attention

    @property
    def seconds(self) -> float:
        """About how long it takes one core, or one H200, to compare steps of one plan; 0 where that is not known."""
        if self.record:
            return 0.0
        if self.experiment.profile == "mini":
            return mini.estimate_seconds(self.experiment)
        return self.cost.h200.seconds if self.cost.h200 else 0.0


def rows_by_experiment(table: int) -> dict[str, list[str]]:
    """Experiment -> the rows of the table that it stands for, in the order of the first of them."""
    rows: dict[str, list[str]] = {}
    for group in paper.load(table).groups:
        for row in group.rows:
            rows.setdefault(row.experiment, []).append(f"({group.name}) {row.label}" if group.name else row.label)
    return rows


def attention_experiments(table: int) -> frozenset[str]:
    """The experiments of whose attention the table prints statistics."""
    return frozenset(
        row.experiment for row in paper.load(table).rows if any(cell.column in paper.STATISTICS for cell in row.cells)
    )


def select_attention(names: Iterable[str], table: int) -> frozenset[str]:
    """Select those of whose attention statistics are wanted: of the experiments themselves, or with overrides."""
    wanted = attention_experiments(table)
    return frozenset(name for name in names if overrides.split_name(name)[0] in wanted)


def plan(
    names: Iterable[str], settings: Settings, seeds: Iterable[int] = (0,), attention: Collection[str] = ()
) -> list[Step]:
    """A step for every experiment and seed, in the given order; one only for weights, which have no seed.

    Each follows those of the chosen readings that touch it.

    Args:
        attention: the experiments of whose attention statistics are wanted, too.

    Raises:
        ReproError: a reading, --decode-on, --cuda-graphs or --evaluation-batch touches none of the experiments, or a
            record is damaged.
    """
    names = list(names)
    experiments = []
    for name in names:
        try:
            experiment = readings.get_experiment(name, settings.profile, settings.readings)
        except ReproError:  # what it says is the reason why the step is blocked
            continue
        check_own(experiment)
        experiments.append(experiment)
    refuse_options_without_effect(experiments, settings)
    for reading in settings.readings:
        concerned = [name for name in names if reading[0] not in readings.OF_ATTENTION or name in attention]
        readings.refuse_without_effect(concerned, settings.profile, (reading,))
    stored = settings.store.all()
    records = [record for record in stored if not record.submitted and not is_attention(record.evaluator)]
    counts = settings.store.counts()
    steps = []
    for position, seed in enumerate(seeds):
        for name in names:
            followed = tuple(r for r in settings.readings if name in attention or r[0] not in readings.OF_ATTENTION)
            step = _plan_step(name, replace(settings, seed=seed, readings=followed), records, counts)
            if name in attention:
                step = _with_attention(step, stored)
            if step.source == "trained" or position == 0:
                steps.append(step)
    return _prerequisites(steps, settings, records, counts) + steps


def _prerequisites(
    steps: Sequence[Step], settings: Settings, records: Sequence[Record], counts: Mapping[str, Count]
) -> list[Step]:
    """The steps that others start from and that are not among them."""
    needed: dict[tuple[str, int], dict[str, None]] = {}
    for step in steps:
        wanted = step.source == "trained" and step.status != "measured"
        if earlier := keys.prerequisite(step.experiment, replace(settings, seed=step.seed)) if wanted else None:
            needed.setdefault((earlier[0].name, earlier[1].seed), {})[step.experiment.name] = None
    present = {(step.experiment.name, step.seed) for step in steps}
    return [
        replace(_plan_step(name, replace(settings, seed=seed, source="trained"), records, counts), needed_by=tuple(by))
        for (name, seed), by in needed.items()
        if (name, seed) not in present
    ]


def _plan_step(name: str, settings: Settings, records: Sequence[Record], counts: Mapping[str, Count]) -> Step:
    experiment = get(name)
    weights = None
    source: Source = "checkpoint" if settings.source == "checkpoint" and settings.profile == "full" else "trained"
    try:
        experiment = readings.get_experiment(name, settings.profile, settings.readings)
        weights = keys.weights_to_evaluate(experiment, settings)
        source = "checkpoint" if weights else "trained"
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), Cost("-"), source=source, weights=weights)
    if weights:
        cost = costs.describe_evaluation(experiment, settings, weights, counts.get(experiment.spec_hash))
    else:
        cost = costs.describe_training(experiment, settings, records)
    try:
        order: WorkOrder = (
            order_evaluation(experiment, settings, weights) if weights else order_training(experiment, settings)
        )
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), cost, source=source, weights=weights)
    if record := find_record(records, order.key, experiment):
        reason = f"record {record.filename}"
        return Step(experiment, settings.seed, "measured", reason, Cost(), order, record, source, weights)
    try:
        check_arithmetic(experiment, settings, settings.device)
    except ReproError as error:
        return Step(experiment, settings.seed, "blocked", str(error), cost, source=source, weights=weights)
    identity = name, settings.profile, dict(experiment.readings)
    reason = _why(order, [r for r in records if (r.experiment, r.profile, r.readings) == identity])
    if isinstance(order, TrainedWork) and order.starts_from:
        reason += f"; starts from {order.starts_from.experiment.name}"
    if isinstance(order, TrainedWork) and order.network_of:
        of = readings.write(order.network_of.experiment.readings)
        reason += f"; evaluates the network of {of or 'the default'}"
        if is_file(order.training.directory / "weights.pt"):
            cost = costs.describe_reevaluation(experiment, settings)
    return Step(experiment, settings.seed, "ready", reason, cost, order, source=source, weights=weights)


def _with_attention(step: Step, records: Sequence[Record]) -> Step:
    """The step that is done only with the statistics of its network's attention."""
    if step.order is None:
        return step
    order = replace(step.order, attention=True)
    if step.record is None:
        return replace(step, order=order, reason=f"{step.reason}; with the statistics of its attention")
    if statistics := find_attention_record(records, step.record):
        reason = f"{step.reason}; statistics of its attention {statistics.filename}"
        return replace(step, order=order, reason=reason, statistics=statistics)
    outdated = next((r for r in records if is_attention(r.evaluator) and r.network == step.record.network), None)
    why = f"computed by {outdated.evaluator}, now {ATTENTION_EVALUATOR}" if outdated else "missing"
    cost = costs.describe_attention(step.experiment)
    if isinstance(order, TrainedWork) and not is_file(order.training.directory / "weights.pt"):
        why += ", and its weights are not here: it is trained again"
        trained = [record for record in records if not is_attention(record.evaluator)]
        cost = costs.describe_training(step.experiment, order.settings, trained) + cost
    reason = f"{step.reason}; statistics of its attention {why}"
    return replace(step, status="ready", order=order, reason=reason, cost=cost)


def _name_edited(source: SourceCode, measured: OwnSource) -> str:
    """Name the files of an experiment of the user's own that are others than a record keeps."""
    before = {file.name: file.sha256 for file in measured.files[1:]}
    now = {file.name: file.sha256 for file in source.files[1:]}
    beside = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    main = [source.name] if source.files[0].sha256 != measured.files[0].sha256 else []
    return " and ".join([*main, *beside])


def _why(order: WorkOrder, records: Sequence[Record]) -> str:
    """Why a step has to run although the store may hold records of its experiment and profile."""
    if isinstance(order, TrainedWork):
        alike = [r for r in records if r.training and r.seed == order.settings.seed]
        what = "data, initial weights, length, batch, engine or numerics"
    else:
        alike = [r for r in records if r.weights.checkpoint and r.weights.checkpoint.id == order.weights.id]
        what = "data, file, conversion, engine or numerics"
    if not alike:
        return "no record yet"
    record = alike[-1]
    if record.spec_hash != order.experiment.spec_hash:
        source, measured = order.experiment.source, record.own and record.own.source
        if source and measured and source.sha256 != measured.sha256:
            edited = _name_edited(source, measured)
            return f"another measurement than {record.filename}: {edited} was edited since"
        return f"stale: the network or the recipe changed since {record.filename}"
    if record.measured_by != order.key:
        return f"stale: {what} differ from {record.filename}"
    return f"stale: evaluated by {record.evaluator}, now {EVALUATORS[order.experiment.dataset]}"
