"""What a row gains over its baseline, tested item by item: published difference, ours, interval, p-value.

A test says whether two networks differ on items like those that were evaluated. It says nothing of another training:
for that there is the interval over seeds. Reading stored effects imports no torch;
`repro.verification.effects.paired_tests` computes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from repro.errors import ReproError
from repro.experiments import get, mini
from repro.files.schema import FrozenModel, describe_violation
from repro.paper import COLUMNS, DATASETS, Group, Row, Table
from repro.paths import write_atomically
from repro.records import Record
from repro.statistics import seeds
from repro.verification.measurements import Measurement, Profile, collect
from repro.verification.orderings import alike
from repro.verification.verdicts import SHARES

CONFIDENCE = 0.95  #: of every interval


class _Part(FrozenModel):
    model_config = ConfigDict(allow_inf_nan=False)


class Difference(_Part):
    """Of one metric, in the unit of its column: the row's network minus the baseline's."""

    column: str
    ours: float  #: of the row's network
    baseline: float
    difference: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    #: Items that the row's network alone got right, and the baseline alone; None where items are not right or wrong.
    discordant: tuple[int, int] | None = None


class StoredEffect(_Part):
    """A paired test of two networks on the same items. Immutable: the same test again gives the same file."""

    schema_version: Literal[1] = 1
    experiment: str
    baseline: str
    profile: Profile
    source: Literal["trained", "checkpoint"]
    seed: int  #: of both runs
    predictions_sha256: tuple[str, str]  #: of the row's network and of the baseline
    annotations_sha256: str
    dataset: str
    n: int  #: items that both were evaluated on
    method: str  #: name and version
    confidence: float
    resamples: int | None = None
    resampling_seed: int | None = None
    differences: tuple[Difference, ...]
    key: str = Field(description="sha256 of what can change the numbers, and nothing else")

    def of(self, column: str) -> Difference | None:
        return next((one for one in self.differences if one.column == column), None)


def add(effect: StoredEffect, results: Path) -> Path:
    """Write an effect, unless it is there."""
    path = results / "effects" / f"{effect.key}.json"
    if not path.exists():
        write_atomically(path, (effect.model_dump_json(indent=1) + "\n").encode())
    return path


def load(results: Path) -> list[StoredEffect]:
    """Every stored effect, in the order of the keys.

    Raises:
        ReproError: a file is damaged; it is named.
    """
    found = []
    for path in sorted((results / "effects").glob("*.json")):
        remedy = "Delete it and run `repro effects` again."
        try:
            effect = StoredEffect.model_validate(json.loads(path.read_bytes()))
        except OSError as error:
            raise ReproError(f"effect {path} cannot be read: {error.strerror}. {remedy}") from None
        except ValidationError as error:
            raise ReproError(f"effect {path} is not a stored effect: {describe_violation(error)}. {remedy}") from None
        except (ValueError, RecursionError) as error:
            raise ReproError(f"effect {path} is damaged (not whole JSON: {error}). {remedy}") from None
        if path.name != f"{effect.key}.json":
            raise ReproError(f"effect {path} is not the one of that name: its key is {effect.key}. {remedy}")
        found.append(effect)
    return found


@dataclass(frozen=True)
class Pair:
    """A row and its baseline in one profile: the runs that can be compared, or why there are none."""

    table: Table
    group: Group
    row: Row
    baseline: Row
    profile: Profile
    runs: tuple[tuple[Record, Record], ...] = ()  #: (row's, baseline's), by seed
    reason: str = ""


@dataclass(frozen=True)
class ColumnEffect:
    """A row's effect in one column. `published` is None in the mini profile: the two are never compared as numbers."""

    column: str
    decimals: int
    published: float | None
    tests: tuple[tuple[StoredEffect, Difference], ...]  #: one for each seed
    mean: float
    low: float | None = None  #: Student's interval of the mean over seeds; None of one seed
    high: float | None = None


@dataclass(frozen=True)
class RowEffects:
    pair: Pair
    columns: tuple[ColumnEffect, ...]
    missing: tuple[str, ...]  #: what could not be tested, and why

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        pair = self.pair
        columns = [
            {
                "column": one.column,
                "published": one.published,
                "mean": one.mean,
                "low": one.low,
                "high": one.high,
                "seeds": len(one.tests),
                "tests": [
                    {"seed": test.seed, "n": test.n, "method": test.method, "effect": test.key}
                    | difference.model_dump(exclude={"column"})
                    for test, difference in one.tests
                ],
            }
            for one in self.columns
        ]
        return {
            "table": pair.table.number, "group": pair.group.name, "row": pair.row.label,
            "baseline": pair.baseline.label, "experiment": pair.row.experiment, "profile": pair.profile,
            "confidence": CONFIDENCE, "columns": columns, "missing": list(self.missing),
        }  # fmt: skip


def pairs(table: Table, records: Sequence[Record], profile: Profile) -> list[Pair]:
    """Every row of `table` with a baseline and an accuracy: the runs of both that differ in the network alone."""
    measured_at_all = {record.experiment for record in records if record.profile == profile}
    names = [name for name in table.experiments if name in measured_at_all]
    at = get if profile == "full" else lambda name: mini.shrink(get(name))
    measured, unused = collect(records, {name: at(name) for name in names}, profile)
    stale = {one.experiment for one in unused if one.stale}
    found = []
    for group in table.groups:
        for row in group.rows:
            baseline = group.baseline(row)
            if baseline is None or not any(COLUMNS[cell.column].unit == "%" for cell in row.cells):
                continue
            both = [_measurement(measured.get(one.experiment, ()), group, profile) for one in (row, baseline)]
            reason = _unpaired((row, baseline), both, group, profile, stale)
            runs: tuple[tuple[Record, Record], ...] = ()
            if not reason:
                ours, theirs = ({record.seed: record for record in one.records} for one in both)
                runs = tuple((ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys()))
                reason = "" if runs else "no seed was run with both"
            found.append(Pair(table, group, row, baseline, profile, runs, reason))
    return found


def _measurement(measured: Sequence[Measurement], group: Group, profile: Profile) -> Measurement | None:
    """The best one on the group's data set, which has another name in the mini profile."""
    return next((one for one in measured if profile == "mini" or one.first.dataset.name == group.dataset), None)


def _unpaired(
    rows: tuple[Row, Row], both: Sequence[Measurement | None], group: Group, profile: Profile, stale: set[str]
) -> str:
    """Why the two cannot be compared; empty if they can."""
    dataset = DATASETS[group.dataset]
    for row, measurement in zip(rows, both, strict=True):
        if measurement is None and row.experiment in stale:
            return f"the record of {row.experiment} is stale (the network or the recipe has changed)"
        if measurement is None:
            on = f" on {group.dataset}" if profile == "full" else ""
            return f"no {profile}-profile record of {row.experiment}{on}"
        # Of a share of right items, n says what is missing; AP of fewer images is another quantity.
        items = not any(row.cell(column) for column in SHARES)
        if profile == "full" and (shortfall := measurement.shortfall(dataset, items=items)):
            return f"{row.experiment}: {shortfall}"
    ours, theirs = (one.first for one in both)
    if not alike(ours, theirs):
        return f"{ours.filename} and {theirs.filename} were not measured alike: `repro diff` says what differs"
    return ""


def rows(found: Iterable[Pair], test: Callable[[Record, Record], StoredEffect | str]) -> list[RowEffects]:
    """The effects of every pair.

    Args:
        test: gives the test of a run of the row and one of its baseline, or why there is none: `among` the stored ones,
            or what computes it.
    """
    results = []
    for pair in found:
        tests, missing = [], [pair.reason] if pair.reason else []
        for ours, theirs in pair.runs:
            outcome = test(ours, theirs)
            if isinstance(outcome, str):
                missing.append(f"seed {ours.seed}: {outcome}" if len(pair.runs) > 1 else outcome)
            else:
                tests.append(outcome)
        columns = tuple(one for cell in pair.row.cells if (one := _column(pair, cell.column, tests)))
        results.append(RowEffects(pair, columns, tuple(missing)))
    return results


def among(stored: Iterable[StoredEffect]) -> Callable[[Record, Record], StoredEffect | str]:
    """For `rows`: the stored test of two runs' predictions, that of the most resamples if there are several."""
    best: dict[tuple[str, ...], StoredEffect] = {}
    for one in sorted(stored, key=lambda one: (one.resamples or 0, -(one.resampling_seed or 0), one.key)):
        best[(*one.predictions_sha256, one.annotations_sha256)] = one

    def test(ours: Record, theirs: Record) -> StoredEffect | str:
        which = ours.predictions_sha256, theirs.predictions_sha256, ours.dataset.annotations_sha256
        return best.get(which) or "not tested yet: run `repro effects`"

    return test


def _column(pair: Pair, column: str, tests: Sequence[StoredEffect]) -> ColumnEffect | None:
    found = tuple((test, difference) for test in tests if (difference := test.of(column)))
    if not found:
        return None
    cell, theirs = pair.row.cell(column), pair.baseline.cell(column)
    published = None
    if pair.profile == "full" and theirs is not None:
        published = round(cell.value - theirs.value, cell.decimals) + 0.0
    differences = [difference.difference for _, difference in found]
    mean, half = fmean(differences), None
    if len(differences) > 1:
        half = seeds.compute_mean_half_width(differences, CONFIDENCE)
    limits = (None, None) if half is None else (mean - half, mean + half)
    return ColumnEffect(column, cell.decimals, published, found, mean, *limits)
