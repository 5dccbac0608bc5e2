"""Whether our measurements agree with a claim, disagree, or leave it undecided, by the uncertainty of the differences.

A printed number is compared with ours as one run with another: the claim was read from one run of each row. A
comparison is about the networks, so that only the uncertainty of our means counts. All comparisons of one claim
together are judged at 95 % (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from repro.paper import Cell
from repro.paper.expressions import Combination, Inequality, Number, Operation, Range, Statement
from repro.statistics.seeds import compute_student_quantile
from repro.verification.claims.uncertainty import Estimate

CONFIDENCE = 0.95
Agreement = Literal["agrees", "disagrees", "undecided"]

_STEP = Fraction(1, 10**6)
Estimates = Mapping[Cell, Estimate]


@dataclass(frozen=True)
class Known:
    """A number computed from our estimates: its value, and how far off it may be."""

    value: float
    half: float


def judge_number(
    number: Number, printed: Range, estimates: Estimates, *, below: bool = False, effect: bool = False
) -> tuple[Agreement, float | None]:
    """Judge a printed number: (the agreement, how far the print may lie from ours; None where ours is exact).

    Args:
        printed: the range that the printed number stands for.
        below: whether the claim is "less than" the printed number.
        effect: whether it is a gain: one that cannot be told from none is undecided.
    """
    cells = tuple(dict.fromkeys(number.cells()))
    value = _evaluate(number, estimates)
    if all(estimates[cell].exact for cell in cells):
        if below:
            return ("agrees" if value < printed.value else "disagrees"), None
        return ("agrees" if printed.low <= value <= printed.high else "disagrees"), None
    if any(estimates[cell].reason for cell in cells):
        return "undecided", None
    if below:
        half = _know(number, estimates, CONFIDENCE).half
        if value + Fraction(half) < printed.value:
            return "agrees", half
        return ("disagrees" if value - Fraction(half) >= printed.value else "undecided"), half
    rounding = sum(
        abs(slope) * 0.5 * 10**-cell.decimals
        for cell, slope in _differentiate(number, estimates).items()
        if not estimates[cell].exact
    )
    half = _know(number, estimates, CONFIDENCE, run=True).half
    strict = _know(number, estimates, CONFIDENCE, run=True, granted=False).half
    distance = float(max(printed.low - value, value - printed.high, Fraction(0)))
    if distance > half + rounding:
        return "disagrees", half
    if distance > strict + rounding or (effect and abs(value) <= half):
        return "undecided", half
    return "agrees", half


def judge_statement(statement: Statement, estimates: Estimates) -> Agreement:
    """Judge comparisons, each by the interval of its difference."""
    number = sum(len(comparison.gaps) or 2 for comparison in dict.fromkeys(statement.comparisons()))
    return _judge(statement, estimates, 1 - (1 - CONFIDENCE) / number)


def _judge(statement: Statement, estimates: Estimates, confidence: float) -> Agreement:
    if isinstance(statement, Combination):
        parts = [_judge(part, estimates, confidence) for part in statement.statements]
        if parts.count("agrees") >= statement.needed:
            return "agrees"
        return "disagrees" if len(parts) - parts.count("disagrees") < statement.needed else "undecided"
    if any(estimates[cell].reason for cell in statement.cells()):
        return "undecided"
    if statement.operator == "comparable":
        return _judge_comparable(statement, estimates, confidence)
    gaps = [_know(gap, estimates, confidence) for gap in statement.gaps]
    if all(gap.value - gap.half > 0 for gap in gaps):
        return "agrees"
    return "disagrees" if any(gap.value + gap.half <= 0 for gap in gaps) else "undecided"


def _judge_comparable(comparison: Inequality, estimates: Estimates, confidence: float) -> Agreement:
    """Judge |a - b| < |b - base| by the intervals of both differences."""
    first, second, base = comparison.numbers
    apart = _know(Operation("difference", (first, second)), estimates, confidence)
    gained = _know(Operation("difference", (second, base)), estimates, confidence)
    if abs(apart.value) + apart.half < max(0.0, abs(gained.value) - gained.half):
        return "agrees"
    if max(0.0, abs(apart.value) - apart.half) >= abs(gained.value) + gained.half:
        return "disagrees"
    return "undecided"


def _know(number: Number, estimates: Estimates, confidence: float, *, run: bool = False, granted: bool = True) -> Known:
    """Compute a number with the half-width of its interval, by its slopes at our values.

    Args:
        run: add what one more run of each cell scatters.
        granted: grant scatter beyond the prior.
    """
    square, bound, freedom = 0.0, 0.0, None
    for cell, slope in _differentiate(number, estimates).items():
        estimate = estimates[cell]
        own = estimate.mean_variance + (estimate.run_variance if run else 0.0)
        square += slope**2 * own * (1.0 if granted else estimate.relative)
        bound += abs(slope) * estimate.bound
        if own:
            freedom = min(freedom or estimate.freedom, estimate.freedom)
    half = bound
    if freedom is not None:
        half += compute_student_quantile(confidence, freedom) * math.sqrt(square)
    return Known(float(_evaluate(number, estimates)), half)


def _differentiate(number: Number, estimates: Estimates) -> dict[Cell, float]:
    """The slope of a number in each of its cells."""
    slopes = {}
    for cell in dict.fromkeys(number.cells()):
        ends = [_evaluate(number, estimates, {cell: shift}) for shift in (_STEP, -_STEP)]
        slopes[cell] = float((ends[0] - ends[1]) / (2 * _STEP))
    return slopes


def _evaluate(number: Number, estimates: Estimates, shifts: Mapping[Cell, Fraction] | None = None) -> Fraction:
    shifted = shifts or {}
    return number.evaluate(lambda cell: Range.exactly(estimates[cell].value + shifted.get(cell, 0))).value


def list_reasons(cells: Sequence[Cell], estimates: Estimates) -> str:
    """Say why nothing is known about some of the numbers; empty if all is."""
    return "; ".join(dict.fromkeys(estimates[cell].reason for cell in cells if estimates[cell].reason))
