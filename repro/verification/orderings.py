"""Between rows: effects against a group's baseline, and the paper's orderings in the mini profile.

Differences are paired by seed, because runs of one seed share their initial weights and the order of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, Group, Row, Table
from repro.paper.tolerances import Orderings
from repro.records import Record
from repro.statistics import seeds
from repro.statistics.seeds import compute_deviation
from repro.verification.measurements import Measurement, describe_conditions
from repro.verification.verdicts import RowVerdict


@dataclass(frozen=True)
class Effect:
    """What a row gains over its baseline in one column: published, and ours as mean and spread over n paired seeds."""

    row: RowVerdict
    baseline: Row
    column: str
    published: float
    ours: float | None = None
    spread: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Ordering:
    """A published "better than" between two rows of one group, and whether the mini profile shows it.

    `published` is the gap in the paper (> 0) and `ours` the mean over n paired seeds of the same difference in the
    mini profile, with its interval: the two are never compared as numbers, only their signs are.
    """

    group: Group
    better: Row
    worse: Row
    column: str
    published: float
    verdict: Literal["holds", "contrary", "inconclusive", "not run"]
    reason: str
    n: int = 0
    ours: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def question(self) -> tuple[str, str, str]:
        """The same for every group in which the two experiments meet."""
        return self.better.experiment, self.worse.experiment, self.column

    @property
    def against_baseline(self) -> bool:
        """Whether one of the two is what the paper compares the other with."""
        return self.group.baseline(self.better) == self.worse or self.group.baseline(self.worse) == self.better


def effects_over_baseline(rows: Sequence[RowVerdict]) -> tuple[Effect, ...]:
    """The effect of every row that has a baseline, in every accuracy column."""
    effects = []
    by_row = {(row.group.name, row.row.label): row for row in rows}
    for row in rows:
        baseline = row.group.baseline(row.row)
        if baseline is None:
            continue
        other = by_row[row.group.name, baseline.label]
        for cell in row.row.cells:
            if COLUMNS[cell.column].unit != "%":
                continue
            published = round(cell.value - baseline.require(cell.column).value, cell.decimals) + 0.0
            ours = _pair_by_seed(_get_whole(row), _get_whole(other), cell.column)
            mean = fmean(ours) if ours else None
            effects.append(Effect(row, baseline, cell.column, published, mean, compute_deviation(ours), len(ours)))
    return tuple(effects)


def published_orderings(
    table: Table, measured: Mapping[str, Sequence[Measurement]], rule: Orderings
) -> tuple[Ordering, ...]:
    """Every published ordering within a group: all pairs of rows whose printed numbers differ.

    Args:
        measured: mini-profile measurements by experiment, best first (`measurements.collect`).
    """
    orderings = []
    for group in table.groups:
        for (first, second), column in (
            (pair, metric) for pair in combinations(group.rows, 2) for metric in rule.metrics
        ):
            a, b = first.cell(column), second.cell(column)
            if a is None or b is None or a.value == b.value:
                continue
            better, worse = (first, second) if a.value > b.value else (second, first)
            gap = round(abs(a.value - b.value), a.decimals)
            best, other = (next(iter(measured.get(row.experiment, ())), None) for row in (better, worse))
            orderings.append(_judge(group, better, worse, column, gap, _pair_by_seed(best, other, column), rule))
    return tuple(orderings)


def _judge(
    group: Group, better: Row, worse: Row, column: str, gap: float, differences: list[float], rule: Orderings
) -> Ordering:
    n = len(differences)
    if n == 0:
        return Ordering(group, better, worse, column, gap, "not run", "no seed was run with both")
    mean = fmean(differences)
    if n < rule.seeds:
        reason = "one seed" if n == 1 else f"{n} seeds"
        return Ordering(group, better, worse, column, gap, "inconclusive", reason, n, mean)
    half = seeds.compute_mean_half_width(differences, rule.confidence)
    low, high = mean - half, mean + half
    if low > 0:
        return Ordering(group, better, worse, column, gap, "holds", "", n, mean, low, high)
    if high < 0:
        return Ordering(group, better, worse, column, gap, "contrary", "", n, mean, low, high)
    reason = "the interval contains zero"
    return Ordering(group, better, worse, column, gap, "inconclusive", reason, n, mean, low, high)


def _pair_by_seed(first: Measurement | None, second: Measurement | None, column: str) -> list[float]:
    """Subtract second from first for every seed that both have; nothing when they were not measured alike."""
    if first is None or second is None or not differ_only_in_network(first.first, second.first):
        return []
    ours, theirs = first.values_by_seed(column), second.values_by_seed(column)
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def differ_only_in_network(first: Record, second: Record) -> bool:
    """Whether all else is equal. Backbones of another kind begin, as in the paper, from weights of their own."""
    kinds = {recipe and recipe.initial_weights for recipe in (get(r.experiment).recipe for r in (first, second))}
    return describe_conditions(first, initial=len(kinds) == 1) == describe_conditions(second, initial=len(kinds) == 1)


def _get_whole(row: RowVerdict) -> Measurement | None:
    """The row's measurement if it is of all that the protocol evaluates."""
    measurement = row.measurement
    return measurement if measurement and not measurement.describe_shortfall(DATASETS[row.group.dataset]) else None
