"""Whether one measured number agrees with its print, by the tolerances. Pure functions; imports no scipy.

A number is first assessed alone, then decided about among all that were tested with it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from repro.experiments.conventions import AUTHORS, MMDETECTION_1
from repro.paper import COLUMNS, STATISTICS, Cell, PublishedDataSet
from repro.paper.tolerances import Fixed, Prior, Retrained, Rule, Tolerances, Undeclared
from repro.records import Record
from repro.statistics import seeds
from repro.statistics.multiplicity import adjust_holm
from repro.statistics.seeds import compute_deviation
from repro.verification.measurements import SHARES, Measurement, count_required_items

FUZZ = 1e-9  #: for binary fractions: 37.5 - 37.2 is not 0.3
#: A mean over Kinetics counts from this share of its videos on: videos disappear, and no two copies are the same.
_ENOUGH = 0.95
#: Runs scatter too much for the prior where it lets that happen more rarely.
INCREDIBLE = 0.01

Ruling = Literal["compatible", "indistinct", "off", "inconclusive"]


@dataclass(frozen=True)
class Assessment:
    """What the tolerances say of one number by itself.

    `width` is the half-width with the rounding of the print; None where none is declared. `undecided`: why it can get
    no verdict, empty if it can. `within`: how much of what ours may be lies inside the width.
    """

    rule: Fixed | Retrained | Undeclared
    width: float | None
    interval: tuple[float, float] | None = None  #: with all items that were not evaluated wrong, or right
    undecided: str = ""
    within: Literal["all", "a part", "none"] = "none"
    unclear: str = ""  #: where a part is within: which
    indistinct: str = ""  #: of what else than the print it is within the tolerance, too: of no effect of its row
    scattered: str = ""  #: why its runs are no measurement of one thing; empty if they are
    p: float | None = None  #: that two like trainings lie so far apart; None where it is not tested
    outside: str = ""  #: how far outside it lies, in words


def assess(
    cell: Cell,
    measurement: Measurement,
    dataset: PublishedDataSet,
    baseline: Cell | None,
    rules: Tolerances,
) -> Assessment:
    """Assess a measured number.

    Args:
        measurement: of the records that the cell's column is taken from; each has the metric.
        baseline: what its row prints there without its block (`find_baseline`); None for a baseline itself.
    """
    values = list(measurement.values_by_seed(cell.column).values())
    rule, declared = _find_rule(cell, measurement, rules)
    n, deviation, half_digit = len(values), compute_deviation(values), 0.5 * 10**-cell.decimals
    width = None
    if isinstance(rule, Retrained) and isinstance(declared, Prior):
        width = compute_retrained_half_width(rule, declared, n, deviation) + half_digit
    elif isinstance(declared, float):
        width = declared + half_digit
    interval = _bound(cell, measurement, dataset)
    # Where a share is bounded, missing items are in the interval already.
    ask_for_items = interval is None and not _is_enough(cell, measurement, dataset)
    undecided = measurement.describe_shortfall(dataset, items=ask_for_items)
    if width is None:
        undecided = undecided or explain_no_tolerance(cell.column)
    if undecided or width is None:
        return Assessment(rule, width, interval, undecided)
    low, high = interval or (fmean(values), fmean(values))
    inside = [abs(end - cell.value) <= width + FUZZ for end in (low, high)]
    distance = 0.0 if low < cell.value < high else min(abs(end - cell.value) for end in (low, high))
    scattered, p, unclear = "", None, ""
    if isinstance(rule, Retrained) and isinstance(declared, Prior):
        p = compute_p_value(max(0.0, distance - half_digit - FUZZ), declared, n, deviation)
        scattered = _describe_scatter(declared, n, deviation, cell.unit)
    part = any(inside) or low < cell.value < high
    if part and not all(inside):
        digits = cell.decimals + 1
        unclear = (
            f"between {low:.{digits}f} and {high:.{digits}f}, depending on whether the {dataset.items} that were not "
            f"evaluated are wrong or right; only a part of that range is within ±{width:.{digits}f} {cell.unit}"
        )
    indistinct = ""
    if baseline is not None and low <= baseline.value + width + FUZZ and high >= baseline.value - width - FUZZ:
        indistinct = f"within the tolerance of the baseline's {baseline.printed} as well: it shows no effect of the row"
    how = rule.applies_to + ("" if p is None else ", one seed" if n == 1 else f", {n} seeds")
    return Assessment(
        rule,
        width,
        interval,
        within="all" if all(inside) else "a part" if part else "none",
        unclear=unclear,
        indistinct=indistinct,
        scattered=scattered,
        p=p,
        outside=f"differs by more than {width:.2f} {cell.unit}: {how}",
    )


def compute_retrained_half_width(rule: Retrained, prior: Prior, n: int, deviation: float | None) -> float:
    """Compute the half-width in which the mean of n trainings is compatible with a print, without its rounding.

    Args:
        deviation: standard deviation of the n, None for one. What exceeds the prior's widens nothing.
    """
    scale = seeds.shrink_deviation(deviation, n, prior.deviation, prior.freedom)
    return seeds.compute_run_half_width(min(scale, prior.deviation), n, prior.freedom + n - 1, rule.confidence)


def compute_p_value(distance: float, prior: Prior, n: int, deviation: float | None) -> float:
    """Compute the probability that the mean of n trainings lies `distance` or more from one other training.

    Args:
        distance: in the metric's unit, without the rounding of the print.
        deviation: standard deviation of the n, None for one; it is not capped.
    """
    scale = seeds.shrink_deviation(deviation, n, prior.deviation, prior.freedom)
    return seeds.compute_student_tail(distance / (scale * math.sqrt(1 + 1 / n)), prior.freedom + n - 1)


def _describe_scatter(prior: Prior, n: int, deviation: float | None, unit: str) -> str:
    """Say that runs scatter more than the prior can be true of; empty if they do not."""
    if deviation is None:
        return ""
    p = seeds.compute_fisher_tail((deviation / prior.deviation) ** 2, n - 1, prior.freedom)
    if p >= INCREDIBLE:
        return ""
    return (
        f"its {n} seeds scatter by {deviation:.2f} {unit} (standard deviation), where {prior.deviation:g} is usual: "
        f"p = {p:.2g}"
    )


def adjust_family(assessed: Sequence[tuple[Hashable, Assessment]]) -> list[float | None]:
    """Adjust the p-values of the numbers of a table by Holm's method, in the order given.

    Args:
        assessed: (number, assessment); equal ones are one number that the table prints several times.
    """
    distinct = {number: one.p for number, one in assessed if one.p is not None}
    adjusted = dict(zip(distinct, adjust_holm(list(distinct.values())), strict=True))
    return [None if one.p is None else adjusted[number] for number, one in assessed]


def decide(one: Assessment, adjusted: float | None) -> tuple[Ruling, str]:
    """Decide about an assessed number; the reason is empty where it is compatible.

    Args:
        adjusted: its p-value among those of its family.
    """
    if one.undecided:
        return "inconclusive", one.undecided
    if one.within == "all":
        if one.scattered:
            return "inconclusive", one.scattered
        return ("indistinct", one.indistinct) if one.indistinct else ("compatible", "")
    if one.within == "a part":
        return "inconclusive", one.unclear
    if adjusted is None or not isinstance(one.rule, Retrained):
        return "off", one.outside
    level = 1 - one.rule.confidence
    if adjusted <= level + FUZZ:
        return "off", f"{one.outside} (p = {adjusted:.2g} after Holm)"
    return "inconclusive", (
        f"{one.outside}, but p = {adjusted:.2g} after Holm's adjustment over the numbers of this table is above "
        f"{level:.2g}"
    )


def _find_rule(
    cell: Cell, measurement: Measurement, rules: Tolerances
) -> tuple[Fixed | Retrained | Undeclared, float | Prior | None]:
    """(rule, what it declares for the cell); None where it declares nothing."""
    if cell.column in rules.undeclared.metrics:
        return rules.undeclared, None
    rule = rules.rule(_choose_rule(measurement.first))
    return rule, rule.declared_on(measurement.first.dataset.name).get(cell.column)


def _choose_rule(first: Record) -> Rule:
    if first.source == "trained":
        return "retrained"
    return "checkpoint" if was_evaluated_as_trained(first) else "converted"


def was_evaluated_as_trained(record: Record) -> bool:
    """Whether weights were evaluated by the arithmetic that they were trained with."""
    checkpoint = record.weights.checkpoint
    return checkpoint is not None and checkpoint.conventions in (MMDETECTION_1.name, AUTHORS.name)


def explain_no_tolerance(column: str) -> str:
    """Why a cell that was measured as the paper's protocol asks for is neither "compatible" nor "off"."""
    return f"no tolerance is declared for {COLUMNS[column].heading}"


def _bound(cell: Cell, measurement: Measurement, dataset: PublishedDataSet) -> tuple[float, float] | None:
    """Bound a share of all items of the protocol: the missing ones all wrong, all right; None if none is missing."""
    if cell.column not in SHARES:
        return None
    ends = []
    for record in measurement.records:
        metric, required = record.require(cell.column), count_required_items(record, dataset)
        if not 0 < metric.n <= required:
            return None
        right = metric.value * metric.n
        ends.append((right / required, (right + 100 * (required - metric.n)) / required, required - metric.n))
    if not any(missing for _, _, missing in ends):
        return None
    return fmean(low for low, _, _ in ends), fmean(high for _, high, _ in ends)


def _is_enough(cell: Cell, measurement: Measurement, dataset: PublishedDataSet) -> bool:
    """Whether a mean is over nearly all of a data set that nobody has all of."""
    if cell.column not in STATISTICS or dataset.size is not None:
        return False
    return all(r.dataset.evaluated >= _ENOUGH * count_required_items(r, dataset) for r in measurement.records)
