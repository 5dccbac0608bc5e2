"""Any two experiments, or any two records, compared on the same items and by the seeds that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.errors import ReproError
from repro.experiments import get, mini
from repro.paper import COLUMNS
from repro.records import Record
from repro.verification.differences import name_decisive
from repro.verification.effects.paired_effects import ColumnEffect, StoredEffect, Test, summarise_column
from repro.verification.measurements import Measurement, Profile, collect
from repro.verification.orderings import differ_only_in_network, were_measured_alike
from repro.verification.ways import name_way

_DECIMALS = 1  #: of accuracies in percent, as the paper prints them


@dataclass(frozen=True)
class Runs:
    """The runs of two experiments that are compared, or two single records."""

    a: str  #: what is compared
    b: str
    pairs: tuple[tuple[Record, Record], ...]  #: by seed; two single records may be of two
    way: str
    differs: tuple[str, ...] = ()  #: in what they were not measured alike, besides the network
    alone: tuple[str, ...] = ()  #: records that have no partner of the same seed


@dataclass(frozen=True)
class Comparison:
    """What the first has more than the second, in each column."""

    runs: Runs
    columns: tuple[ColumnEffect, ...]
    missing: tuple[str, ...]  #: what could not be tested, and why

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        first, second = self.runs.pairs[0]
        return {
            "a": self.runs.a, "b": self.runs.b, "profile": first.profile, "dataset": first.dataset.name,
            "way": self.runs.way, "differs": list(self.runs.differs), "alone": list(self.runs.alone),
            "records": [[a.filename, b.filename] for a, b in self.runs.pairs],
            "experiments": [first.experiment, second.experiment],
            "columns": [effect.as_dict(first.dataset.name) for effect in self.columns], "missing": list(self.missing),
        }  # fmt: skip


def pair_experiments(a: str, b: str, records: Sequence[Record], profile: Profile | None) -> Runs:
    """Pair the runs of two experiments by seed: those that were measured alike, if there are such.

    Args:
        profile: None for the full one if both were measured at it, else the mini one.

    Raises:
        ReproError: one was not measured, or not on the same items, or no seed was run with both.
    """
    if a == b:
        raise ReproError(f"{a} is compared with itself: name two experiments, or two records of it")
    profiles: tuple[Profile, ...] = (profile,) if profile else ("full", "mini")
    lacking = ""
    for one in profiles:
        measured = {name: _collect_measurements(name, records, one) for name in (a, b)}
        if lacks := [name for name in (a, b) if not measured[name]]:
            lacking = f"there is no {one}-profile record of {' and of '.join(lacks)}: `repro run` measures it"
            continue
        return _pair_measurements(a, b, measured)
    raise ReproError(lacking)


def _collect_measurements(name: str, records: Sequence[Record], profile: Profile) -> list[Measurement]:
    try:
        experiment = get(name) if profile == "full" else mini.get_at_profile(name, profile)
    except ReproError:  # it has no mini version
        return []
    return collect(records, {name: experiment}, profile)[0][name]


def _pair_measurements(a: str, b: str, measured: Mapping[str, Sequence[Measurement]]) -> Runs:
    pairs = [(x, y) for x in measured[a] for y in measured[b] if _share_items(x.first, y.first)]
    if not pairs:
        raise ReproError(f"{a} and {b} were not evaluated on the same items")
    x, y = next(((x, y) for x, y in pairs if were_measured_alike(x, y)), pairs[0])
    ours, theirs = ({record.seed: record for record in one.records} for one in (x, y))
    both = tuple((ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys()))
    if not both:
        raise ReproError(
            f"no seed was run with both: {a} has {_list_seeds(ours)}, {b} {_list_seeds(theirs)}; name two records to "
            "compare these on the same items"
        )
    alone = [
        record.filename
        for one in (ours, theirs)
        for seed, record in one.items()
        if seed not in ours or seed not in theirs
    ]
    differs = dict.fromkeys(what for pair in both for what in _list_differences(*pair))
    return Runs(a, b, both, name_way(x.first), tuple(differs), tuple(alone))


def _list_seeds(runs: Mapping[int, Record]) -> str:
    return ("seed " if len(runs) == 1 else "seeds ") + ", ".join(map(str, sorted(runs)))


def pair_records(a: Record, b: Record) -> Runs:
    """Pair two single records.

    Raises:
        ReproError: they are the same, or were not evaluated on the same items.
    """
    if a.key == b.key:
        raise ReproError(f"{a.filename} is compared with itself")
    if not _share_items(a, b):
        raise ReproError(f"{a.filename} and {b.filename} were not evaluated on the same items")
    return Runs(a.filename, b.filename, ((a, b),), name_way(a), _list_differences(a, b))


def _share_items(a: Record, b: Record) -> bool:
    """Whether both were evaluated on one data set; of classifiers, items that one lacks are left out."""
    ours, theirs = a.dataset, b.dataset
    same = (a.profile, ours.name, ours.annotations_sha256) == (b.profile, theirs.name, theirs.annotations_sha256)
    return same and (ours.ids_sha256 == theirs.ids_sha256 or any(metric.name == "top1" for metric in a.metrics))


def _list_differences(a: Record, b: Record) -> tuple[str, ...]:
    differs = list(name_decisive(a, b)) if not differ_only_in_network(a, b) else []
    return (*differs, *(["the seed"] if a.seed != b.seed else []))


def compare_runs(runs: Runs, test: Test) -> Comparison:
    """Test every pair of runs, and take the median over seeds.

    Args:
        test: as `compare_pairs` of `paired_effects` wants it.
    """
    tests: list[StoredEffect] = []
    missing: list[str] = []
    for ours, theirs in runs.pairs:
        outcome = test(ours, theirs)
        if isinstance(outcome, str):
            missing.append(f"seed {ours.seed}: {outcome}" if len(runs.pairs) > 1 else outcome)
        else:
            tests.append(outcome)
    names = dict.fromkeys(difference.column for one in tests for difference in one.differences)
    found = (summarise_column(name, _DECIMALS, None, tests) for name in names if name in COLUMNS)
    return Comparison(runs, tuple(effect for effect in found if effect), tuple(missing))
