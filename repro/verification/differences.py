"""Two records, or two stores: what changed, and whether that explains the numbers. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from repro import records
from repro.errors import ReproError, unknown
from repro.evaluation import is_attention
from repro.files.places import is_directory, is_file
from repro.paper import tolerances
from repro.records import Record, Store, open_results
from repro.verification.agreement import compute_retrained_half_width

#: Where a record's fields are shown; what is not named here is of its identity.
_GROUPS = {
    "dataset": "data", "weights": "weights", "training": "training", "deviations": "training",
    "departures": "training", "numerics": "numerics", "evaluator": "evaluation", "predictions_sha256": "evaluation",
    "engine": "evaluation", "environment": "environment", "cost": "cost", "complexity": "complexity",
    "submitted": "evaluation", "tolerances": "tolerances",
}  # fmt: skip
GROUPS = ("identity", *dict.fromkeys(_GROUPS.values()))

_KEY = "training.key"
#: Fields that two runs of one experiment can differ in, and what that means for the numbers. First those that make it
#: another measurement; a dot at the end stands for all that is below.
_DECISIVE = {
    "readings.": "the reading of the protocol",
    "spec_hash": "the network or the recipe",
    "dataset.annotations_sha256": "the annotations",
    "dataset.ids_sha256": "the evaluated items",
    "dataset.evaluated": "the number of evaluated items",
    "dataset.drawn_sha256": "the generated data",
    "weights.initial_sha256": "the initial weights",
    "weights.checkpoint.sha256": "the weights' file",
    "weights.checkpoint.conventions": "the conventions of the evaluation",
    "weights.converter": "the conversion",
    "training.iterations": "the length of the training",
    "training.effective_batch": "the batch",
    "training.learning_rate": "the learning rate",
    "deviations": "the deviations from the paper's protocol",
    "numerics.precision": "the precision",
    "engine": "the engine",
    "evaluator": "the evaluator",
    _KEY: "what the key of its training is made from, and nothing else that is recorded",
}
#: These can move a number a little: sums in another order, other random numbers.
_POSSIBLE = {
    "seed": "the seed",
    "training.world_size": "the number of processes",
    "training.resumed": "interruptions",
    "dataset.files_sha256": "the encoding of the generated data",
    "numerics.": "numerics",
    "environment.device": "the device",
    "environment.cpu": "the CPU",
    "environment.instructions": "the CPU's instructions",
    "environment.limited_to": "the instructions that the process was limited to",
    "environment.platform": "the platform",
    "environment.commit": "the package's commit",
    "environment.dirty": "the package's commit",
    "environment.lock": "the file of locked versions",
    "environment.": "versions of libraries",
}


@dataclass(frozen=True)
class FieldChange:
    """A field that is not the same in both."""

    group: str
    field: str
    a: object
    b: object


@dataclass(frozen=True)
class MetricDelta:
    """A metric of both: `b - a` in its unit."""

    metric: str
    unit: str
    a: float
    b: float

    @property
    def delta(self) -> float:
        return self.b - self.a


@dataclass(frozen=True)
class Cause:
    """What another result may come from, in words, and the fields that show it."""

    name: str
    changes: tuple[FieldChange, ...]
    decisive: bool  #: it makes the two different measurements; what is not can move a number a little


@dataclass(frozen=True)
class RecordComparison:
    """Two records. `explained`: whether what changed accounts for other numbers; None where no number is another."""

    a: str
    b: str
    changes: tuple[FieldChange, ...]
    deltas: tuple[MetricDelta, ...]  #: of the metrics that both have, changed or not
    alike: bool  #: weights, predictions and metrics are the same, bit for bit
    causes: tuple[Cause, ...]  #: of results that are not alike, the decisive ones first
    explained: bool | None
    conclusion: str

    @property
    def repeats(self) -> bool:
        """Whether one repeats the other, bit for bit."""
        return self.alike

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        deltas = [{**asdict(delta), "delta": delta.delta} for delta in self.deltas]
        return {**asdict(self), "deltas": deltas}


@dataclass(frozen=True)
class StoreComparison:
    """Two stores: records of one alone, and those of both by experiment, profile, source, seed and data set."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same: int  #: of both, with nothing changed but when, where and how fast they were measured
    changed: tuple[RecordComparison, ...]
    counts: tuple[FieldChange, ...] = ()  #: of parameters and operations
    foreign_a: tuple[str, ...] = ()  #: files that this version cannot read, and therefore does not compare
    foreign_b: tuple[str, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether every record and every count of both is the same, bit for bit, and there is such a record."""
        counted_alike = all(change.field.endswith(".counter") for change in self.counts)
        return self.alike > 0 and not self.unlike and counted_alike

    @property
    def alike(self) -> int:
        """How many records of both have the same results: weights, predictions and metrics, bit for bit."""
        return self.same + sum(comparison.alike for comparison in self.changed)

    @property
    def unlike(self) -> tuple[RecordComparison, ...]:
        """Those of both whose results are not the same."""
        return tuple(comparison for comparison in self.changed if not comparison.alike)

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        changed = [comparison.as_dict() for comparison in self.changed]
        return {**asdict(self), "alike": self.alike, "changed": changed}


def diff(a: str, b: str, results: Path) -> RecordComparison | StoreComparison:
    """Compare two records, each a file, or the beginning of its name in `results`; or two stores, each a directory.

    Raises:
        ReproError: there is no such record, several begin so, one is a directory and the other is not, or a file is
            damaged.
    """
    directories = [is_directory(Path(name)) for name in (a, b)]
    if all(directories):
        return compare_stores(_open_store(Path(a)), _open_store(Path(b)))
    if any(directories):
        raise ReproError(f"{a} and {b}: one is a directory and the other a record; compare two of a kind")
    return compare(a, find_record(a, results), b, find_record(b, results))


def _open_store(directory: Path) -> Store:
    return Store(directory / "records" if is_directory(directory / "records") else directory)


def find_record(name: str, results: Path) -> Record:
    """Find a record by its file, or by the beginning of its name in a directory of results.

    Raises:
        ReproError: there is none, several begin so, or it is damaged.
    """
    if is_file(Path(name)):
        return records.read(Path(name))
    store = open_results(results, may_be_absent=bool(os.path.dirname(name)))
    files = store.files()
    matching = [file for file in files if file.startswith(name)]
    if name in files:
        return files[name]
    if len(matching) > 1:
        names = ", ".join(matching[:4]) + ", ..." * (len(matching) > 4)
        raise ReproError(f"{len(matching)} records begin with {name!r}: {names}")
    if not matching:
        if os.path.dirname(name):
            raise ReproError(f"there is no file {name}, and no record in {store.directory} begins so. Check the path.")
        raise unknown("record", name, files)
    return files[matching[0]]


def name_decisive(a: Record, b: Record) -> list[str]:
    """Name in what two records differ that makes them different measurements, but for the network and its recipe."""
    ours, theirs = _flatten(a), _flatten(b)
    changed = {name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)} - {"spec_hash", _KEY}
    if a.profile == b.profile == "mini" and a.seed != b.seed:  # each seed has a start of its own
        changed -= {"weights.initial_sha256"}
    return _name_causes(_DECISIVE, changed)


def compare(a_name: str, a: Record, b_name: str, b: Record) -> RecordComparison:
    """Compare two records: what is not the same, and whether it explains their numbers."""
    ours, theirs = _flatten(a), _flatten(b)
    fields = dict.fromkeys([*ours, *theirs])
    hashing = _list_changes_of_hashing(a, b)
    changes = tuple(
        FieldChange(_GROUPS.get(field.partition(".")[0], "identity"), field, ours.get(field), theirs.get(field))
        for field in fields
        if ours.get(field) != theirs.get(field) and field not in hashing
    )
    metrics = {metric.name: metric for metric in b.metrics}
    deltas = tuple(
        MetricDelta(metric.name, metric.unit, metric.value, metrics[metric.name].value)
        for metric in a.metrics
        if metric.name in metrics
    )
    alike = (a.weights.sha256, a.metrics) == (b.weights.sha256, b.metrics) and a.predicts_as(b)
    explained, conclusion = _conclude(a, b, {change.field for change in changes}, deltas)
    causes = () if alike else _find_causes(a, b, changes)
    return RecordComparison(a_name, b_name, changes, deltas, alike, causes, explained, conclusion)


def _list_changes_of_hashing(a: Record, b: Record) -> set[str]:
    """List the fields that differ for how predictions are packed or hashed, and not for what they are."""
    packing = "predictions_file_sha256"
    if (a.predictions_file_sha256 is None) == (b.predictions_file_sha256 is None) or not a.predicts_as(b):
        return {packing}
    rekeyed = (a.measured_by, a.evaluator) == (b.measured_by, b.evaluator)
    return {packing, "predictions_sha256", *(["key"] if rekeyed else [])}


def _find_causes(a: Record, b: Record, changes: Sequence[FieldChange]) -> tuple[Cause, ...]:
    """Find what the results of two records may differ by: what makes them two measurements, and what moves numbers."""
    independent = _drop_consequences(a, b, {change.field for change in changes})
    causes = []
    for known, decisive in ((_DECISIVE, True), (_POSSIBLE, False)):
        for name in _name_causes(known, independent):
            fields = (change for change in changes if _name_cause(known, change.field) == name)
            causes.append(Cause(name, tuple(fields), decisive))
    return tuple(causes)


def _flatten(record: Record) -> dict[str, object]:
    """The fields of a record by dotted names, without the metrics."""
    flat: dict[str, object] = {}

    def add(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                add(below, f"{name}.{key}" if name else key)
        else:
            flat[name] = value

    add(record.model_dump(exclude={"metrics"}), "")
    return flat


def _conclude(a: Record, b: Record, changed: set[str], deltas: Sequence[MetricDelta]) -> tuple[bool | None, str]:
    moved = [delta for delta in deltas if delta.a != delta.b]
    alike = "predictions_sha256" not in changed
    if not changed and not moved:
        return None, "the two are the same"
    if "experiment" in changed or "profile" in changed:
        what = "experiments" if "experiment" in changed else "profiles"
        return (True if moved else None), f"they are of different {what}: their numbers need not agree"
    if not moved:
        if not deltas:
            return None, "they have no metric in common"
        how = "from the same predictions" if alike else "although the predictions are not the same"
        return None, f"every metric that both have is the same, {how}"
    if alike:
        return _conclude_same_predictions(changed)
    independent = _drop_consequences(a, b, changed)
    decisive, possible = _name_causes(_DECISIVE, independent), _name_causes(_POSSIBLE, independent)
    if decisive:
        return True, f"another measurement: what changed is {_join(decisive)}"
    if "weights.sha256" not in changed:
        if possible:
            what = _join(possible)
            return True, f"the same weights; what changed in their evaluation, and moves a number a little, is {what}"
        return False, "the same weights, data and numerics gave other predictions: the evaluation is not deterministic"
    if "seed" in changed:
        return _conclude_other_seed(a, moved, possible)
    if possible:
        return True, f"nothing that makes it another measurement changed; what can move a number is {_join(possible)}"
    return False, (
        "the same recipe, data, seed, numerics, device and versions ended in other weights: "
        "the training is not deterministic, or something is not recorded"
    )


def _drop_consequences(a: Record, b: Record, changed: set[str]) -> set[str]:
    """Leave out the fields whose change follows from others'.

    Of one training key, initial weights are of one recipe, too: they are others because something moved them. In the
    mini profile those of another seed are others, as each seed has a shared training of its own. The key itself says
    that the two are different measurements only where nothing that it is made from does.
    """
    if _KEY not in changed or ("seed" in changed and a.profile == "mini"):
        changed = changed - {"weights.initial_sha256"}
    if _KEY not in changed:
        return changed
    others = {field for field in changed - {_KEY} if field == "seed" or _name_cause(_DECISIVE, field)}
    return changed - {_KEY} if others else changed


def _conclude_same_predictions(changed: set[str]) -> tuple[bool, str]:
    evaluation = {name: _DECISIVE[name] for name in ("evaluator", "dataset.annotations_sha256", "dataset.evaluated")}
    if causes := _name_causes(evaluation, changed):
        return True, f"the same predictions, evaluated with other things: what changed is {_join(causes)}"
    return False, (
        "the same predictions, evaluator and annotations must give the same numbers: one of the records was edited, or "
        "the evaluator is not deterministic"
    )


def _conclude_other_seed(a: Record, moved: Iterable[MetricDelta], possible: list[str]) -> tuple[bool, str]:
    """Judge two trainings with different seeds: are they farther apart than seeds commonly are?"""
    also = [cause for cause in possible if cause != "the seed"]
    what = "the seed" + (f", and {_join(also)}" if also else " alone")
    if a.profile == "mini":
        return True, f"{what} changed: runs of the mini profile scatter widely"
    rule = tolerances.load().retrained
    usual = {
        metric: compute_retrained_half_width(rule, prior, 1, None)
        for metric, prior in rule.declared_on(a.dataset.name).items()
    }
    far = [delta.metric for delta in moved if abs(delta.delta) > usual.get(delta.metric, float("inf"))]
    if far:
        return False, f"{what} changed, and {_join(far)} moved farther than seeds commonly do (tables/tolerances.yaml)"
    return True, f"{what} changed, and no metric moved farther than seeds commonly do"


def _name_causes(known: Mapping[str, str], changed: set[str]) -> list[str]:
    """Name the causes that changed fields stand for, each once."""
    named = {_name_cause(known, field) for field in changed}
    return [cause for cause in dict.fromkeys(known.values()) if cause in named]


def _name_cause(known: Mapping[str, str], field: str) -> str | None:
    """Name the cause that a changed field stands for; the first name that fits counts."""
    return next((known[n] for n in known if field == n or (n.endswith(".") and field.startswith(n))), None)


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


#: Fields of when, where and how fast it was measured, which a repetition need not share.
_CIRCUMSTANCES = ("command", "created", "environment.", "cost.")


def compare_stores(a: Store, b: Store) -> StoreComparison:
    """Compare two stores, record by record; of several records of the same measurement, the latest."""
    ours, theirs = a.read(), b.read()
    return replace(
        compare_records(ours.records, theirs.records),
        counts=tuple(_compare_counts(a, b)),
        foreign_a=tuple(map(str, ours.foreign)),
        foreign_b=tuple(map(str, theirs.foreign)),
    )


def compare_records(a: Mapping[str, Record], b: Mapping[str, Record]) -> StoreComparison:
    """Compare records by the names of their files; of several records of the same measurement, the latest."""
    ours, theirs = _select_latest(a), _select_latest(b)
    changed, same = [], 0
    for identity in ours.keys() & theirs.keys():
        (file, record), (other_file, other_record) = ours[identity], theirs[identity]
        comparison = compare(file, record, other_file, other_record)
        if comparison.alike and all(change.field.startswith(_CIRCUMSTANCES) for change in comparison.changes):
            same += 1
        else:
            changed.append(comparison)
    return StoreComparison(
        only_a=tuple(sorted(ours[identity][0] for identity in ours.keys() - theirs.keys())),
        only_b=tuple(sorted(theirs[identity][0] for identity in theirs.keys() - ours.keys())),
        same=same,
        changed=tuple(sorted(changed, key=lambda comparison: comparison.a)),
    )


def _select_latest(files: Mapping[str, Record]) -> dict[tuple, tuple[str, Record]]:
    """The latest file and record of each measurement: experiment, readings, profile, source, seed, data, weights."""
    latest: dict[tuple, tuple[str, Record]] = {}
    for file, record in sorted(files.items(), key=lambda item: item[1].created):
        checkpoint = record.weights.checkpoint
        identity = (
            record.experiment, record.profile, record.source, record.seed, record.dataset.name,
            is_attention(record.evaluator), checkpoint.id if checkpoint else None, *sorted(record.readings.items()),
        )  # fmt: skip
        latest[identity] = (file, record)
    return latest


def _compare_counts(a: Store, b: Store) -> Iterator[FieldChange]:
    ours, theirs = ({count.experiment: count for count in store.counts().values()} for store in (a, b))
    for name in sorted(ours.keys() & theirs.keys()):
        for field in ("params", "macs", "paper_flops", "counter"):
            before, after = getattr(ours[name], field), getattr(theirs[name], field)
            if before != after:
                yield FieldChange("complexity", f"{name}.{field}", before, after)
