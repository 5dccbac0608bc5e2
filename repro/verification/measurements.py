"""From records to measurements: which runs of one experiment may be averaged, and which records may not be used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from repro.errors import ReproError
from repro.evaluation import ATTENTION_EVALUATOR, is_attention
from repro.experiments import Experiment
from repro.paper import COLUMNS, STATISTICS, PublishedDataSet
from repro.records import Record
from repro.records.submission import link_answers

Profile = Literal["full", "mini"]
#: Metrics that are a share of the items, so that those that were not evaluated can be reckoned right or wrong.
SHARES = ("top1", "top5")


@dataclass(frozen=True)
class Measurement:
    """Runs of one experiment that differ in the seed alone: a record for each seed, in the order of the seeds.

    `statistics`: records of the attention in the networks of some of them, likewise.
    """

    experiment: str
    records: tuple[Record, ...]
    statistics: tuple[Record, ...] = ()

    @property
    def first(self) -> Record:
        """Stands for what all the runs share: source, engine, data set, deviations."""
        return self.records[0]

    @property
    def n(self) -> int:
        return len(self.records)

    def select_for(self, column: str) -> Measurement:
        """Select the records that a column is taken from: these, or those of the attention in their networks."""
        apart = column in STATISTICS and self.statistics
        return replace(self, records=self.statistics, statistics=()) if apart else self

    def records_behind(self, columns: Iterable[str]) -> tuple[Record, ...]:
        """The records that the numbers of these columns come from."""
        return self.records + (self.statistics if any(column in STATISTICS for column in columns) else ())

    def describe_shortfall(self, dataset: PublishedDataSet, *, items: bool = True) -> str:
        """Say what the paper's protocol evaluates or trains that these runs did not; empty if nothing.

        Args:
            items: whether all items must have been evaluated.
        """
        for record in self.records:
            checkpoint = record.weights.checkpoint
            if checkpoint and checkpoint.match == "near":
                return f"not the paper's training but weights near it: {checkpoint.id}"
            required = count_required_items(record, dataset)
            if items and record.dataset.evaluated != required:
                return f"{record.dataset.evaluated} of {required} {dataset.items} were evaluated"
            if items and record.dataset.failed:
                return f"{len(record.dataset.failed)} of {required} {dataset.items} failed"
            training = record.training
            if record.departures:
                return f"another recipe than the paper's: {record.departures[0]}"
            if training and training.iterations != training.recipe_iterations:
                return f"trained for {training.iterations} of the recipe's {training.recipe_iterations} iterations"
        return ""

    def values_by_seed(self, metric: str) -> dict[int, float]:
        """The value of each seed, in the unit of the published column; empty when a run lacks the metric.

        Raises:
            ReproError: a record holds the metric in another unit.
        """
        values = {}
        for record in self.select_for(metric).records:
            measured = record.metric(metric)
            if measured is None:
                return {}
            if measured.unit != COLUMNS[metric].unit:
                raise ReproError(
                    f"record {record.filename}: {metric} is in {measured.unit!r}; the paper prints it in "
                    f"{COLUMNS[metric].unit!r}. Measure it again with this version."
                )
            values[record.seed] = measured.value
        return values


def count_required_items(record: Record, dataset: PublishedDataSet) -> int:
    """Count the items that the protocol evaluates. A record cannot say fewer than the official list has."""
    if dataset.size is not None:
        return dataset.size
    from repro.data.sources import SOURCES  # imports what few commands need

    official = next((s.validation_items for s in SOURCES.values() if s.validation == record.dataset.name), 0)
    return max(record.dataset.required, official)


@dataclass(frozen=True)
class Unused:
    """A record that no number comes from, and why."""

    experiment: str
    dataset: str
    filename: str
    reason: str
    stale: bool


def collect(
    records: Sequence[Record], experiments: Mapping[str, Experiment], profile: Profile
) -> tuple[dict[str, list[Measurement]], list[Unused]]:
    """Collect the measurements of each experiment at one profile, best first, and the records left out.

    Runs are averaged only if all that a cache key holds but the seed is the same; in the mini profile a seed begins
    with a shared training of its own. Better is: no fewer items evaluated, the paper's recipe, the authors' weights
    before own training before near weights, fewer deviations from the paper's protocol, more seeds. Statistics of
    attention go with the run of the same weights.

    Args:
        experiments: by name, as this version defines them; a record of another specification is stale. One of other
            readings of the protocol than an experiment's is no record of it.
    """
    pools: dict[str, dict[str, dict[int, Record]]] = {name: {} for name in experiments}
    specified: dict[str, str] = {}  # a hash per experiment, not per record
    unused, looked_at = [], []
    replaced = _find_replaced_answers(records)
    most: dict[Hashable, int] = defaultdict(int)
    for record in records:
        most[_name_weights(record)] = max(record.dataset.evaluated, most[_name_weights(record)])
    for record in sorted(records, key=lambda record: record.key):  # times can be edited
        if record.profile != profile or record.experiment not in experiments:
            continue
        if record.readings != dict(experiments[record.experiment].readings):  # is of another row
            continue
        if record.experiment not in specified:
            specified[record.experiment] = experiments[record.experiment].spec_hash
        if record.spec_hash != specified[record.experiment]:
            reason = "stale: the network or the recipe has changed since it was measured"
            unused.append(Unused(record.experiment, record.dataset.name, record.filename, reason, stale=True))
            continue
        if is_attention(record.evaluator):
            looked_at.append(record)
            continue
        checkpoint = record.weights.checkpoint  # two files are two measurements, not two runs of one
        which = describe_seeds(record) + (checkpoint.sha256 if checkpoint else "")
        runs = pools[record.experiment].get(which, {})
        reason = ""
        if record.key in replaced:  # an answer that was entered again, corrected
            reason = f"replaced by {replaced[record.key]}"
        elif record.dataset.evaluated < (others := most[_name_weights(record)]):
            reason = f"of {record.dataset.evaluated} items; the same weights were evaluated on {others}, too"
        elif record.seed in runs:
            reason = f"of the same seed as {runs[record.seed].filename}, which stands for both"
        if reason:
            unused.append(Unused(record.experiment, record.dataset.name, record.filename, reason, stale=False))
            continue
        pools[record.experiment].setdefault(which, runs)[record.seed] = record
    measured: dict[str, list[Measurement]] = {}
    attention = {record.network: record for record in looked_at if record.evaluator == ATTENTION_EVALUATOR}
    for name, pool in pools.items():
        measurements = []
        for runs in pool.values():
            ordered = tuple(runs[seed] for seed in sorted(runs))
            statistics = tuple(attention[record.network] for record in ordered if record.network in attention)
            measurements.append(Measurement(name, ordered, statistics))
        measured[name] = sorted(measurements, key=_rank)
    return measured, unused + _list_unused_statistics(looked_at, measured)


def _find_replaced_answers(records: Iterable[Record]) -> dict[str, str]:
    """By key of each answer of the evaluation server that another one replaces, the file name of that."""
    submissions: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        if record.submitted:
            submissions[record.submitted.key][record.key] = record
    return {
        before: answers[key].filename
        for answers in submissions.values()
        for key, before in link_answers(answers.values()).items()
        if before
    }


def _name_weights(record: Record) -> Hashable:
    """Name what was evaluated, and how, whatever part of the items."""
    converter = record.weights.converter
    return record.experiment, record.engine, record.weights.sha256, converter, record.dataset.name, record.evaluator


def _list_unused_statistics(looked_at: Iterable[Record], measured: Mapping[str, Iterable[Measurement]]) -> list[Unused]:
    measurements = [measurement for of_experiment in measured.values() for measurement in of_experiment]
    used = {record.key for measurement in measurements for record in measurement.statistics}
    networks = {record.network for measurement in measurements for record in measurement.records}
    unused = []
    for record in (record for record in looked_at if record.key not in used):
        reason = "replaced by later statistics of the same weights"
        if record.network not in networks:
            reason = "there is no record of the accuracy of these weights"
        elif record.evaluator != ATTENTION_EVALUATOR:
            reason = f"computed by {record.evaluator}, now {ATTENTION_EVALUATOR}"
        unused.append(Unused(record.experiment, record.dataset.name, record.filename, reason, stale=False))
    return unused


def describe_conditions(record: Record, *, initial: bool = True, evaluator: bool = True) -> str:
    """Describe all that two runs must share to be comparable: how, from what, on what and by what.

    Runs of one seed and of two experiments with equal conditions differ only in the network.
    Without `initial`, they may differ in the weights that they began from, without `evaluator` in that.
    """
    training, checkpoint = record.training, record.weights.checkpoint
    length = (training.iterations, training.effective_batch, training.learning_rate) if training else None
    dataset = record.dataset
    numerics = {name: value for name, value in record.numerics.items() if name != "threads"}
    return repr(
        (
            record.source, record.engine, evaluator and record.evaluator, record.weights.converter,
            initial and record.weights.initial_sha256,
            checkpoint and (checkpoint.match, checkpoint.conventions),
            dataset.name, dataset.annotations_sha256, dataset.ids_sha256, dataset.evaluated, length,
            sorted(record.deviations), sorted(numerics.items()),
        )
    )  # fmt: skip


def describe_seeds(record: Record, *, evaluator: bool = True) -> str:
    """Describe all that the seeds of one experiment must share: at full size also the weights that they begin from.

    In the mini profile a seed is a whole training, from the shared one on (`repro.planning.keys.prerequisite`).
    """
    return describe_conditions(record, initial=record.profile != "mini", evaluator=evaluator)


#: Best first: the authors' weights, own training, weights of another training.
_SOURCES = ("exact", "trained", "near")


def _rank(measurement: Measurement) -> tuple:
    """Sort key: the best measurement first."""
    first = measurement.first
    return (
        -first.dataset.evaluated,
        bool(first.departures),
        _SOURCES.index(first.weights.checkpoint.match if first.weights.checkpoint else first.source),
        len(first.deviations),
        -measurement.n,
        first.engine,
        first.key,
    )
