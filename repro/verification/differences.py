"""Two records, or two stores: what changed, and whether that explains the numbers. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from repro import records
from repro.errors import ReproError, unknown
from repro.evaluation import is_attention
from repro.paper import tolerances
from repro.records import Record, Store

#: Where a record's fields are shown; what is not named here is of its identity.
_GROUPS = {
    "dataset": "data", "weights": "weights", "training": "training", "deviations": "training",
    "departures": "training", "numerics": "numerics", "evaluator": "evaluation", "predictions_sha256": "evaluation",
    "engine": "evaluation", "environment": "environment", "cost": "cost", "complexity": "complexity",
    "submitted": "evaluation", "tolerances": "tolerances",
}  # fmt: skip
GROUPS = ("identity", *dict.fromkeys(_GROUPS.values()))

#: Fields that two runs of one experiment can differ in, and what that means for the numbers. First those that make it
#: another measurement; a dot at the end stands for all that is below.
_DECISIVE = {
    "spec_hash": "the network or the recipe",
    "dataset.annotations_sha256": "the annotations",
    "dataset.ids_sha256": "the evaluated items",
    "dataset.evaluated": "the number of evaluated items",
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
}
#: These can move a number a little: sums in another order, other random numbers.
_POSSIBLE = {
    "seed": "the seed",
    "training.world_size": "the number of processes",
    "training.resumed": "interruptions",
    "numerics.": "numerics",
    "environment.device": "the device",
    "environment.platform": "the platform",
    "environment.commit": "the package's commit",
    "environment.": "versions of libraries",
}


@dataclass(frozen=True)
class Change:
    """A field that is not the same in both."""

    group: str
    field: str
    a: object
    b: object


@dataclass(frozen=True)
class Delta:
    """A metric of both: `b - a` in its unit."""

    metric: str
    unit: str
    a: float
    b: float

    @property
    def delta(self) -> float:
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Two records. `explained`: whether what changed accounts for other numbers; None where no number is another."""

    a: str
    b: str
    changes: tuple[Change, ...]
    deltas: tuple[Delta, ...]  #: of the metrics that both have, changed or not
    explained: bool | None
    conclusion: str

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        deltas = [{**asdict(delta), "delta": delta.delta} for delta in self.deltas]
        return {**asdict(self), "deltas": deltas}


@dataclass(frozen=True)
class Stores:
    """Two stores: records of one alone, and those of both by experiment, profile, source, seed and data set."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same: int
    changed: tuple[Comparison, ...]
    counts: tuple[Change, ...]  #: of parameters and operations

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "changed": [comparison.as_dict() for comparison in self.changed]}


def diff(a: str, b: str, store: Store) -> Comparison | Stores:
    """Two records, each a file or a name in `store` or the beginning of one; or two stores, each a directory.

    Raises:
        ReproError: there is no such record, several begin so, one is a directory and the other is not, or a file is
            damaged.
    """
    directories = [Path(name).is_dir() for name in (a, b)]
    if all(directories):
        return compare_stores(_store(Path(a)), _store(Path(b)))
    if any(directories):
        raise ReproError(f"{a} and {b}: one is a directory and the other a record; compare two of a kind")
    return compare(a, _record(a, store), b, _record(b, store))


def _store(directory: Path) -> Store:
    return Store(directory / "records" if (directory / "records").is_dir() else directory)


def _record(name: str, store: Store) -> Record:
    if Path(name).is_file():
        return records.read(Path(name))
    files = store.files()
    found = [file for file in files if file.startswith(name)]
    if name in files:
        return files[name]
    if len(found) > 1:
        raise ReproError(f"{name!r} begins {len(found)} records: {', '.join(found[:4])}{', ...' * (len(found) > 4)}")
    if not found:
        raise unknown("record", name, files)
    return files[found[0]]


def compare(a_name: str, a: Record, b_name: str, b: Record) -> Comparison:
    """What is not the same in two records, and whether it explains their numbers."""
    one, other = _flat(a), _flat(b)
    fields = dict.fromkeys([*one, *other])
    changes = tuple(
        Change(_GROUPS.get(field.partition(".")[0], "identity"), field, one.get(field), other.get(field))
        for field in fields
        if one.get(field) != other.get(field)
    )
    theirs = {metric.name: metric for metric in b.metrics}
    deltas = tuple(
        Delta(metric.name, metric.unit, metric.value, theirs[metric.name].value)
        for metric in a.metrics
        if metric.name in theirs
    )
    explained, conclusion = _conclude(a, b, {change.field for change in changes}, deltas)
    return Comparison(a_name, b_name, changes, deltas, explained, conclusion)


def _flat(record: Record) -> dict[str, object]:
    """By dotted names, without the metrics."""
    flat: dict[str, object] = {}

    def add(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                add(below, f"{name}.{key}" if name else key)
        else:
            flat[name] = value

    add(record.model_dump(exclude={"metrics"}), "")
    return flat


def _conclude(a: Record, b: Record, changed: set[str], deltas: Iterable[Delta]) -> tuple[bool | None, str]:
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
        return _of_same_predictions(changed)
    decisive, possible = _causes(_DECISIVE, changed), _causes(_POSSIBLE, changed)
    if decisive:
        return True, f"another measurement: what changed is {_list(decisive)}"
    if "weights.sha256" not in changed:
        if possible:
            what = _list(possible)
            return True, f"the same weights; what changed in their evaluation, and moves a number a little, is {what}"
        return False, "the same weights, data and numerics gave other predictions: the evaluation is not deterministic"
    if "seed" in changed:
        return _of_seeds(a, moved, possible)
    if possible:
        return True, f"nothing that makes it another measurement changed; what can move a number is {_list(possible)}"
    return False, (
        "the same recipe, data, seed, numerics, device and versions ended in other weights: "
        "the training is not deterministic, or something is not recorded"
    )


def _of_same_predictions(changed: set[str]) -> tuple[bool, str]:
    evaluation = {name: _DECISIVE[name] for name in ("evaluator", "dataset.annotations_sha256", "dataset.evaluated")}
    if causes := _causes(evaluation, changed):
        return True, f"the same predictions, evaluated with other things: what changed is {_list(causes)}"
    return False, (
        "the same predictions, evaluator and annotations must give the same numbers: one of the records was edited, or "
        "the evaluator is not deterministic"
    )


def _of_seeds(a: Record, moved: Iterable[Delta], possible: list[str]) -> tuple[bool, str]:
    """Two trainings with different seeds: as far apart as seeds are, or farther?"""
    also = [cause for cause in possible if cause != "the seed"]
    what = "the seed" + (f", and {_list(also)}" if also else " alone")
    if a.profile == "mini":
        return True, f"{what} changed: runs of the mini profile scatter widely (docs/mini.md)"
    usual = tolerances.load().one_seed.on(a.dataset.name)
    far = [delta.metric for delta in moved if abs(delta.delta) > usual.get(delta.metric, float("inf"))]
    if far:
        return False, f"{what} changed, and {_list(far)} moved farther than seeds commonly do (tables/tolerances.yaml)"
    return True, f"{what} changed, and no metric moved farther than seeds commonly do"


def _causes(known: Mapping[str, str], changed: set[str]) -> list[str]:
    """What the changed fields are, in words, each once; the first name that fits counts."""
    found = {}
    for field in changed:
        name = next((n for n in known if field == n or (n.endswith(".") and field.startswith(n))), None)
        if name:
            found[name] = known[name]
    return [known[name] for name in known if name in found]


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def compare_stores(a: Store, b: Store) -> Stores:
    """Two stores, record by record; of several of one experiment, profile, source, seed and data set the latest."""
    one, other = _latest(a), _latest(b)
    changed, same = [], 0
    for identity in one.keys() & other.keys():
        (file, record), (other_file, other_record) = one[identity], other[identity]
        if record == other_record:
            same += 1
        else:
            changed.append(compare(file, record, other_file, other_record))
    return Stores(
        only_a=tuple(sorted(one[identity][0] for identity in one.keys() - other.keys())),
        only_b=tuple(sorted(other[identity][0] for identity in other.keys() - one.keys())),
        same=same,
        changed=tuple(sorted(changed, key=lambda comparison: comparison.a)),
        counts=tuple(_counts(a, b)),
    )


def _latest(store: Store) -> dict[tuple, tuple[str, Record]]:
    found = {}
    for file, record in sorted(store.files().items(), key=lambda item: item[1].created):
        checkpoint = record.weights.checkpoint
        of = (record.experiment, record.profile, record.source, record.seed, record.dataset.name)
        of += (is_attention(record.evaluator),)
        found[(*of, checkpoint.id if checkpoint else None)] = (file, record)
    return found


def _counts(a: Store, b: Store) -> Iterable[Change]:
    one, other = ({count.experiment: count for count in store.counts().values()} for store in (a, b))
    for name in sorted(one.keys() & other.keys()):
        for field in ("params", "macs", "paper_flops", "counter"):
            before, after = getattr(one[name], field), getattr(other[name], field)
            if before != after:
                yield Change("complexity", f"{name}.{field}", before, after)
