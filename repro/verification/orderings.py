"""Between rows: effects against a group's baseline, and every order of two rows that the paper prints.

The effects are paired by seed, because runs of one seed share their initial weights and the order of the data. The
orders of the mini profile are for looking around: what was asked before is in `repro.verification.hypotheses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from statistics import fmean

from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, Group, Row, Table
from repro.paper.hypotheses import Hypotheses
from repro.records import Record
from repro.statistics.exact_ranks import compute_order_p_values
from repro.statistics.multiplicity import adjust_benjamini_hochberg
from repro.statistics.seeds import compute_deviation
from repro.verification.measurements import Measurement, describe_conditions
from repro.verification.verdicts import RowVerdict

#: AP of boxes alone: that of masks is the same evidence again.
_METRICS = ("ap_box", "top1")


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
    way: str = ""  #: in which both were measured, where there are several


@dataclass(frozen=True)
class Ordering:
    """A published "better than" between two rows of one group, and whether the mini profile shows it.

    `published` is the gap in the paper (> 0) and `ours` the difference of the means over n seeds in the mini profile:
    the two are never compared as numbers, only their signs are. `p` is two-sided, of an exact rank test; `adjusted` is
    the same after Benjamini and Hochberg, over all pairs of the table.
    """

    group: Group
    better: Row
    worse: Row
    column: str
    published: float
    n: int
    ours: float
    p: float
    adjusted: float = 1.0

    @property
    def question(self) -> tuple[str, str]:
        """The same for every group in which the two experiments meet."""
        return self.better.experiment, self.worse.experiment

    @property
    def against_baseline(self) -> bool:
        """Whether one of the two is what the paper compares the other with."""
        return self.group.baseline(self.better) == self.worse or self.group.baseline(self.worse) == self.better


def effects_over_baseline(rows: Sequence[RowVerdict]) -> tuple[Effect, ...]:
    """The effect of every row that has a baseline, in every accuracy column, by each way of measuring both."""
    effects = []
    by_row = {(row.group.name, row.row.label): row for row in rows}
    for row in rows:
        baseline = row.group.baseline(row.row)
        if baseline is None:
            continue
        other = by_row[row.group.name, baseline.label]
        cells = [cell for cell in row.row.cells if COLUMNS[cell.column].unit == "%"]
        ways: list[tuple[str, dict[str, list[float]]]] = []
        for (way, ours), (_, theirs) in product(_list_whole(row), _list_whole(other)):
            differences = {cell.column: pair_by_seed(ours, theirs, cell.column) for cell in cells}
            if any(differences.values()):
                ways.append((way, differences))
        for way, differences in ways or [("", {})]:
            for cell in cells:
                published = round(cell.value - baseline.require(cell.column).value, cell.decimals) + 0.0
                found = differences.get(cell.column, [])
                effects.append(
                    Effect(
                        row, baseline, cell.column, published, fmean(found) if found else None,
                        compute_deviation(found), len(found), way if len(ways) > 1 else "",
                    )
                )  # fmt: skip
    return tuple(effects)


def explore_orderings(table: Table, measured: Mapping[str, Measurement], rules: Hypotheses) -> tuple[Ordering, ...]:
    """Test every order of two rows of a group that the paper prints, each pair of experiments once.

    Pairs with fewer seeds in common than `rules.exploratory_seeds` are left out.

    Args:
        measured: mini-profile measurements by experiment.
    """
    found: dict[tuple[str, str], Ordering] = {}
    for group in table.groups:
        metric = next((column for column in _METRICS if column in group.columns), None)
        if metric is None:
            continue
        for first, second in combinations(group.rows, 2):
            a, b = first.cell(metric), second.cell(metric)
            if a is None or b is None or a.value == b.value:
                continue
            better, worse = (first, second) if a.value > b.value else (second, first)
            gap = round(abs(a.value - b.value), a.decimals)
            runs = _select_common_seeds(measured.get(better.experiment), measured.get(worse.experiment), metric)
            if len(runs[0]) < rules.exploratory_seeds:
                continue
            tested = compute_order_p_values([[runs[1], runs[0]]])
            p = min(1.0, 2 * min(tested.p, tested.p_contrary))
            ours = fmean(runs[0]) - fmean(runs[1])
            ordering = Ordering(group, better, worse, metric, gap, len(runs[0]), ours, p)
            found.setdefault(ordering.question, ordering)
    adjusted = adjust_benjamini_hochberg([ordering.p for ordering in found.values()])
    return tuple(replace(o, adjusted=p) for o, p in zip(found.values(), adjusted, strict=True))


def _select_common_seeds(
    first: Measurement | None, second: Measurement | None, column: str
) -> tuple[list[float], list[float]]:
    """Select the values of the seeds that both have; none when they were not measured alike."""
    if first is None or second is None or not were_measured_alike(first, second):
        return [], []
    ours, theirs = first.values_by_seed(column), second.values_by_seed(column)
    seeds = sorted(ours.keys() & theirs.keys())
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]


def pair_by_seed(first: Measurement | None, second: Measurement | None, column: str) -> list[float]:
    """Subtract second from first for every seed that both have; nothing when they were not measured alike."""
    return [ours - theirs for ours, theirs in zip(*_select_common_seeds(first, second, column), strict=True)]


def were_measured_alike(first: Measurement, second: Measurement) -> bool:
    """Whether the runs of each seed that both have differ only in the network.

    Without a seed in common, whether the first runs do; of the mini profile, but for what each seed begins from.
    """
    ours, theirs = ({record.seed: record for record in one.records} for one in (first, second))
    if both := ours.keys() & theirs.keys():
        return all(differ_only_in_network(ours[seed], theirs[seed]) for seed in both)
    return differ_only_in_network(first.first, second.first, initial=first.first.profile != "mini")


def differ_only_in_network(first: Record, second: Record, *, initial: bool = True) -> bool:
    """Whether all else is equal. Backbones of another kind begin, as in the paper, from weights of their own.

    Without `initial`, both may begin from any weights.
    """
    kinds = {recipe and recipe.initial_weights for recipe in (get(r.experiment).recipe for r in (first, second))}
    initial = initial and len(kinds) == 1
    return describe_conditions(first, initial=initial) == describe_conditions(second, initial=initial)


def _list_whole(row: RowVerdict) -> list[tuple[str, Measurement]]:
    """(way, measurement) of what is of all that the protocol evaluates."""
    return [(way, m) for way, m in row.measurements if not m.describe_shortfall(DATASETS[row.group.dataset])]
