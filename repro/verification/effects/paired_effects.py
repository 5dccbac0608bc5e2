"""What a row gains over its baseline, tested item by item: published difference, ours, interval, p-value.

A test says whether two networks differ on items like those that were evaluated: its interval covers images (or videos)
only. It says nothing about another training: the interval over seeds does, and covers seeds only. None covers both.
Reading stored effects imports no torch; `repro.verification.effects.paired_tests` computes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from pydantic import Field, model_validator

from repro.errors import ReproError
from repro.experiments import get, mini
from repro.files.places import is_there, list_directory
from repro.files.schema import FiniteModel, Name, Number, Sha256, Text
from repro.files.seals import read_sealed, seal
from repro.paper import COLUMNS, DATASETS, Cell, Group, Row, Table
from repro.paths import write_atomically
from repro.records import Record
from repro.statistics.intervals import compute_median_interval
from repro.verification import own_rows
from repro.verification.measurements import SHARES, Measurement, Profile, collect
from repro.verification.orderings import were_measured_alike
from repro.verification.ways import name_way

CONFIDENCE = 0.95  #: of every interval over items, and asked for of those over seeds
EQUAL = 1e-6  #: percent points, between what the predictions give and what is recorded
SEEDS = 3  #: fewer give no interval over seeds

SHARED_STAGE_1 = (
    "all seeds were finetuned from one stage 1: they are replicates of a row against a row, not of the printed numbers"
)


class Difference(FiniteModel):
    """The row's network minus the baseline's in one metric, in the unit of its column."""

    column: Name
    ours: float  #: of the row's network
    baseline: float
    difference: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    #: Items that the row's network alone got right, and the baseline alone; None where items are not right or wrong.
    discordant: tuple[Number, Number] | None = None

    @model_validator(mode="after")
    def _follow_from_one_another(self) -> Difference:
        if abs(self.difference - (self.ours - self.baseline)) > EQUAL:
            raise ValueError(f"difference is {self.difference:g}, of {self.ours:g} and {self.baseline:g}")
        if self.low > self.high:
            raise ValueError(f"the interval ends at {self.high:g}, before it begins")
        return self


class StoredEffect(FiniteModel):
    """A paired test of two networks on the same items. Immutable: the same test again gives the same file."""

    schema_version: Literal[1] = 1
    experiment: Name
    baseline: Name
    profile: Profile
    source: Literal["trained", "checkpoint"]
    seed: Number  #: of both runs
    predictions_sha256: tuple[Sha256, Sha256]  #: of the row's network and of the baseline
    annotations_sha256: Sha256
    dataset: Name
    n: Number  #: items that both were evaluated on
    method: Text  #: name and version
    confidence: float
    resamples: Number | None = None
    resampling_seed: Number | None = None
    differences: tuple[Difference, ...]
    key: Sha256 = Field(description="sha256 of what can change the numbers, and nothing else")

    def has_least_p(self, difference: Difference) -> bool:
        """Whether a p-value is the least that so many resamples can give: the true one may be smaller."""
        return self.resamples is not None and difference.p <= 2 / (self.resamples + 1) * (1 + 1e-9)

    def difference(self, column: str) -> Difference | None:
        """The difference in one column, if it was tested."""
        return next((difference for difference in self.differences if difference.column == column), None)

    def find_contradiction(self, ours: Record, theirs: Record) -> str:
        """Say where it has other numbers than the records of its networks, evaluated on the same items; or nothing."""
        for one in self.differences:
            for record, value in ((ours, one.ours), (theirs, one.baseline)):
                metric = record.metric(one.column)
                if metric and metric.n == self.n and abs(metric.value - value) > EQUAL:
                    return (
                        f"its stored test has {one.column} {value:g} of {record.experiment}, the record "
                        f"{metric.value:g}: delete effects/{self.key}.json and run `repro effects` again"
                    )
        return ""


def store(effect: StoredEffect, results: Path) -> Path:
    """Write an effect into `results`, unless it is there; return its path."""
    path = results / "effects" / f"{effect.key}.json"
    if not is_there(path):
        write_atomically(path, seal(effect))
    return path


def load(results: Path) -> list[StoredEffect]:
    """Every stored effect, in the order of the keys.

    Raises:
        ReproError: a file is damaged, or was edited; it is named.
    """
    effects = []
    remedy = "Delete it and run `repro effects` again."
    for path in list_directory(results / "effects"):
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        effect = read_sealed(path, StoredEffect, "effect", remedy)
        if path.name != f"{effect.key}.json":
            raise ReproError(f"effect {path} is not the one of that name: its key is {effect.key}. {remedy}")
        effects.append(effect)
    return effects


#: The test of a run of a row and one of its baseline, or why there is none.
Test = Callable[[Record, Record], "StoredEffect | str"]


@dataclass(frozen=True)
class RowPair:
    """A row and its baseline in one profile: the runs that can be compared, or why there are none."""

    table: Table
    group: Group
    row: Row
    baseline: Row
    profile: Profile
    runs: tuple[tuple[Record, Record], ...] = ()  #: (row's, baseline's), by seed
    reason: str = ""
    also: tuple[str, ...] = ()  #: addresses of the other rows that are the same two experiments
    way: str = ""  #: in which both were measured; empty where there is none
    own: bool = False  #: whether the row is one of the user's own: the paper prints nothing of it

    @property
    def shared_start(self) -> str:
        """What all seeds of an ImageNet row share, in words; empty if nothing."""
        starts = {record.weights.initial_sha256 for run in self.runs for record in run}
        if len(self.runs) < 2 or self.group.dataset != "imagenet-val" or len(starts) != 1 or None in starts:
            return ""
        return SHARED_STAGE_1


@dataclass(frozen=True)
class ColumnEffect:
    """A row's effect in one column. `published` is None in the mini profile: the two are never compared as numbers."""

    column: str
    decimals: int
    published: float | None
    tests: tuple[tuple[StoredEffect, Difference], ...]  #: one for each seed
    median: float  #: over seeds
    #: Interval of the median over seeds, exact for every distribution; None of fewer than `SEEDS`.
    low: float | None = None
    high: float | None = None
    confidence: float | None = None  #: that it has: a range of few seeds has less than was asked for

    def as_dict(self, dataset: str) -> dict[str, object]:
        """The fields for JSON, of a data set by its name in records."""
        items = DATASETS[dataset].items if dataset in DATASETS else "images or videos"
        over_seeds = {
            "covers": "seeds only", "of": "median", "low": self.low, "high": self.high, "confidence": self.confidence,
        }  # fmt: skip
        return {
            "column": self.column,
            "published": self.published,
            "median": self.median,
            "over_seeds": None if self.low is None else over_seeds,
            "seeds": len(self.tests),
            "tests": [
                {"seed": test.seed, "n": test.n, "method": test.method, "effect": test.key}
                | {"covers": f"{items} only", "confidence": test.confidence}
                | difference.model_dump(exclude={"column"})
                | {"p_is_at_most": test.has_least_p(difference)}
                for test, difference in self.tests
            ],
        }


@dataclass(frozen=True)
class RowEffects:
    """A row's effects over its baseline in one profile, column by column."""

    pair: RowPair
    columns: tuple[ColumnEffect, ...]
    missing: tuple[str, ...]  #: what could not be tested, and why

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        pair = self.pair
        return {
            "table": pair.table.number, "group": pair.group.name, "row": pair.row.label,
            "baseline": pair.baseline.label, "experiment": pair.row.experiment, "profile": pair.profile,
            "also": list(pair.also), "way": pair.way, "note": pair.shared_start, "own": pair.own,
            "columns": [effect.as_dict(pair.group.dataset) for effect in self.columns],
            "missing": list(self.missing),
        }  # fmt: skip


def pair_tables(tables: Iterable[Table], records: Sequence[Record], profile: Profile) -> list[RowPair]:
    """Pair the rows of several tables as `pair_rows` does; two experiments on one data set stand once.

    The first of the rows that are the same two experiments has the addresses of the others.
    """
    found: dict[tuple[str, str, str, str, str], RowPair] = {}
    for table in tables:
        for pair in pair_rows(table, records, profile):
            where = "" if profile == "mini" else pair.group.dataset
            key = pair.row.experiment, pair.baseline.experiment, where, pair.way, pair.reason
            if key in found:
                address = f"{table.number}/{pair.group.name}/{pair.row.label}"
                found[key] = replace(found[key], also=(*found[key].also, address))
            else:
                found[key] = pair
    return list(found.values())


def pair_rows(table: Table, records: Sequence[Record], profile: Profile) -> list[RowPair]:
    """Pair each row that has an accuracy with its baseline: the runs of both that differ only in the network.

    Each way in which both were measured is a pair of its own, and none is preferred.
    """
    measured_at_all = {record.experiment for record in records if record.profile == profile}
    own = _list_own(table, records)
    named = dict.fromkeys([*table.experiments, *(row.experiment for _, *rows in own for row in rows)])
    names = [name for name in named if name in measured_at_all]
    experiments = {name: mini.get_at_profile(name, profile) for name in names}
    measured, unused = collect(records, experiments, profile)
    stale = {record.experiment for record in unused if record.stale}
    pairs = []
    for group in table.groups:
        compared = [(row, group.baseline(row), False) for row in group.rows]
        compared += [(row, baseline, True) for where, row, baseline in own if where is group]
        for row, baseline, is_own in compared:
            if baseline is None or not any(COLUMNS[cell.column].unit == "%" for cell in row.cells):
                continue
            ours = _select(row, measured, group, profile, stale)
            theirs = _select(baseline, measured, group, profile, stale)
            pairs += [
                RowPair(table, group, row, baseline, profile, runs, reason, way=way, own=is_own)
                for way, runs, reason in _pair_ways(ours, theirs)
            ]
    return pairs


def _list_own(table: Table, records: Sequence[Record]) -> list[tuple[Group, Row, Row]]:
    """(group, row, baseline) of the experiments that are not the paper's, with the columns of the baseline."""
    measured = {record.experiment for record in records}
    found = []
    for name in own_rows.list_own_names(records):
        experiment = get(name)
        where = own_rows.find_place(experiment)
        if where is None or where[0].number != table.number:
            continue
        group = next(group for group in table.groups if group.name == where[1].name)
        if baseline := own_rows.find_own_baseline(experiment, group):
            alike = "+".join([baseline.experiment, *name.split("+")[1:]])  # with the same overrides, if that was run
            theirs = replace(baseline, experiment=alike) if alike in measured else baseline
            found.append((group, Row(name, name, baseline.cells), theirs))
    return found


def _select(
    row: Row, measured: Mapping[str, Sequence[Measurement]], group: Group, profile: Profile, stale: set[str]
) -> Sequence[Measurement] | str:
    """The measurements of a row on its group's data set, or why none can be compared."""
    found = measured.get(row.experiment, ())
    if profile == "full":  # the mini profile's data set has another name
        found = [m for m in found if m.first.dataset.name == group.dataset]
    if not found:
        if row.experiment in stale:
            return f"the record of {row.experiment} is stale (the network or the recipe has changed)"
        on = f" on {group.dataset}" if profile == "full" else ""
        return f"no {profile}-profile record{on}{' of its baseline' if row.is_baseline else ''}"
    if profile == "mini":
        return found
    # Where a share of the items is right, n says what is missing; AP of fewer images is another quantity.
    items = not any(row.cell(column) for column in SHARES)
    shortfalls = [m.describe_shortfall(DATASETS[group.dataset], items=items) for m in found]
    whole = [m for m, shortfall in zip(found, shortfalls, strict=True) if not shortfall]
    return whole or f"{row.experiment}: {shortfalls[0]}"


#: The runs of a row and of its baseline that differ only in the network, by seed.
_Runs = tuple[tuple[Record, Record], ...]


def _pair_ways(ours: Sequence[Measurement] | str, theirs: Sequence[Measurement] | str) -> list[tuple[str, _Runs, str]]:
    """(way, runs of both, why there are none) for each way in which the row was measured."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return [("", (), ours if isinstance(ours, str) else str(theirs))]
    matched = [(a, b) for a in ours for b in theirs if were_measured_alike(a, b)]
    if not matched:
        first, second = ours[0].first.filename, theirs[0].first.filename
        return [("", (), f"{first} and {second} were not measured alike: `repro diff` says what differs")]
    times = Counter(name_way(a.first) for a, _ in matched)
    pairs: list[tuple[str, _Runs, str]] = []
    for a, b in matched:
        way, by_seed, baselines = name_way(a.first), *({r.seed: r for r in m.records} for m in (a, b))
        runs = tuple((by_seed[seed], baselines[seed]) for seed in sorted(by_seed.keys() & baselines.keys()))
        named = f"{way} ({a.first.key[:8]}, {b.first.key[:8]})" if times[way] > 1 else way
        pairs.append((named, runs, "" if runs else "no seed was run with both"))
    alone = [m for m in ours if all(m is not a for a, _ in matched)]
    return pairs + [(name_way(m.first), (), f"{m.first.filename}: no baseline was measured alike") for m in alone]


def compare_pairs(pairs: Iterable[RowPair], test: Test) -> list[RowEffects]:
    """Test every pair.

    Args:
        test: gives the test of a run of the row and one of its baseline, or says why there is none: `look_up` one of
            the stored ones, or `PairedTests.test`, which computes it.
    """
    results = []
    for pair in pairs:
        tests: list[StoredEffect] = []
        missing = [pair.reason] if pair.reason else []
        for ours, theirs in pair.runs:
            outcome = test(ours, theirs)
            if isinstance(outcome, str):
                missing.append(f"seed {ours.seed}: {outcome}" if len(pair.runs) > 1 else outcome)
            else:
                tests.append(outcome)
        columns = tuple(effect for cell in pair.row.cells if (effect := _summarise(pair, cell, tests)))
        results.append(RowEffects(pair, columns, tuple(missing)))
    return results


def name_row(row: RowEffects) -> str:
    """Name a row with its group: `(a) +1 GC`."""
    group = row.pair.group.name
    return f"({group}) {row.pair.row.label}" if group else row.pair.row.label


def group_missing(rows: Iterable[RowEffects]) -> dict[str, list[str]]:
    """Group what could not be tested: the names of the rows by the reason."""
    untested: dict[str, list[str]] = {}
    for row in rows:
        for reason in row.missing:
            way = f" [{row.pair.way}]" if row.pair.way and not row.columns else ""
            untested.setdefault(reason, []).append(f"{name_row(row)}{way}")
    return untested


def look_up(stored: Iterable[StoredEffect]) -> Test:
    """Look up tests among the stored ones, as `compare_pairs` wants them: those with the most resamples go first."""
    best: dict[tuple[str, str, str], StoredEffect] = {}
    for effect in sorted(stored, key=lambda e: (e.resamples or 0, -(e.resampling_seed or 0), e.key)):
        ours, theirs = effect.predictions_sha256
        best[ours, theirs, effect.annotations_sha256] = effect

    def test(ours: Record, theirs: Record) -> StoredEffect | str:
        which = ours.predictions_sha256, theirs.predictions_sha256, ours.dataset.annotations_sha256
        found = best.get(which)
        if found is None:
            return "not tested yet: run `repro effects`"
        return found.find_contradiction(ours, theirs) or found

    return test


def _summarise(pair: RowPair, cell: Cell, tests: Sequence[StoredEffect]) -> ColumnEffect | None:
    """The effect in the column of a row's cell: the tests that have it, and their median over seeds."""
    theirs, published = pair.baseline.cell(cell.column), None
    if pair.profile == "full" and theirs is not None and not pair.own:
        published = round(cell.value - theirs.value, cell.decimals) + 0.0
    return summarise_column(cell.column, cell.decimals, published, tests)


def summarise_column(
    column: str, decimals: int, published: float | None, tests: Sequence[StoredEffect]
) -> ColumnEffect | None:
    """The effect in one column: the tests that have it, and their median over seeds; None if none has it."""
    tested = tuple((test, difference) for test in tests if (difference := test.difference(column)))
    if not tested:
        return None
    differences = [difference.difference for _, difference in tested]
    middle = median(differences)
    if len(differences) < SEEDS:
        return ColumnEffect(column, decimals, published, tested, middle)
    return ColumnEffect(column, decimals, published, tested, middle, *compute_median_interval(differences, CONFIDENCE))
