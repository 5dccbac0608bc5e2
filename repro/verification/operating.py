"""How often the rules of judgement say what: by simulation of stores, whose truth is known.

Everywhere the truth is normal: runs of one experiment scatter by the prior's sigma_0, the print is one of them,
rounded, as that of its baseline is, and ours are n others. The numbers of a table are drawn independently, the worst
case for Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from repro.paper import COLUMNS, Table
from repro.paper.tolerances import Prior, Retrained, Tolerances
from repro.verification.agreement import INCREDIBLE, compute_retrained_half_width
from repro.verification.baselines import find_baseline

SEEDS = (1, 2, 3, 5)
SHIFTS = (0.0, 0.5, 1.0)
DRAWS = 4000


@dataclass(frozen=True)
class Operating:
    """What becomes of a table in which every row lies `shift` times its printed effect nearer to its baseline.

    Probabilities of a number of a row with a block: compatible; indistinct from no effect; off. `fails`: that any
    number of the table is off, so that `repro verify` exits with 1.
    """

    table: int
    n: int
    shift: float
    compatible: float
    indistinct: float
    off: float
    fails: float


@dataclass(frozen=True)
class _Number:
    """One distinct number of a table, as it is printed."""

    effect: float | None  #: printed difference to the baseline; None of a baseline
    half_digit: float
    prior: Prior


def simulate_table(
    table: Table, rules: Tolerances, n: int, shift: float, *, spread: float = 1.0, draws: int = DRAWS, seed: int = 0
) -> Operating:
    """Simulate trainings of a whole table with n seeds each, and judge them by the rules.

    Args:
        shift: of the printed effect, how much is not there: 0 is a perfect replication, 1 blocks without effect.
        spread: the true standard deviation over seeds, in units of the prior's.
    """
    import numpy as np
    from scipy import stats

    numbers, rule = _list_numbers(table, rules), rules.retrained
    generator = np.random.default_rng([seed, table.number, n, round(100 * shift)])
    sigma, half_digit = (np.array(values) for values in zip(*((x.prior.deviation, x.half_digit) for x in numbers),
                                                            strict=True))  # fmt: skip
    freedom = np.array([x.prior.freedom for x in numbers])
    effect = np.array([x.effect or 0.0 for x in numbers])
    shape = (draws, len(numbers))
    printed = generator.normal(0, spread * sigma, shape) + generator.uniform(-half_digit, half_digit, shape)
    baseline = generator.normal(-effect, spread * sigma, shape) + generator.uniform(-half_digit, half_digit, shape)
    runs = generator.normal(-shift * effect, spread * sigma, (n, *shape))
    ours = runs.mean(0)
    deviation = runs.std(0, ddof=1) if n > 1 else np.zeros(shape)
    scale = np.sqrt((freedom * sigma**2 + (n - 1) * deviation**2) / (freedom + n - 1))
    root = math.sqrt(1 + 1 / n)
    quantile = stats.t.ppf((1 + rule.confidence) / 2, freedom + n - 1)
    width = quantile * np.minimum(scale, sigma) * root + half_digit
    credible = stats.f.sf((deviation / sigma) ** 2, n - 1, freedom) >= INCREDIBLE if n > 1 else np.ones(shape, bool)
    distance = np.abs(ours - printed)
    within = distance <= width
    indistinct = np.abs(ours - baseline) <= width
    t = np.maximum(distance - half_digit, 0) / (scale * root)
    off = ~within & (_adjust(2 * stats.t.sf(t, freedom + n - 1)) <= 1 - rule.confidence)
    asked = np.array([x.effect is not None for x in numbers])
    passing = within & credible
    return Operating(
        table.number,
        n,
        shift,
        float((passing & ~indistinct)[:, asked].mean()),
        float((passing & indistinct)[:, asked].mean()),
        float(off[:, asked].mean()),
        float(off.any(1).mean()),
    )


def _adjust(p: Any) -> Any:  # arrays: numpy is imported when it is called
    """Adjust each row by Holm's method."""
    import numpy as np

    order = np.argsort(p, axis=1)
    sorted_ = np.take_along_axis(p, order, 1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(np.minimum(sorted_, 1), axis=1), 1)
    return adjusted


def _list_numbers(table: Table, rules: Tolerances) -> list[_Number]:
    """List the distinct numbers of a table that have a prior; one of several groups has its first baseline."""
    numbers: dict[tuple, _Number] = {}
    for group in table.groups:
        priors = rules.retrained.declared_on(group.dataset)
        for row in group.rows:
            baseline = find_baseline(group, row)
            for cell in (cell for cell in row.cells if cell.column in priors):
                other = baseline.cell(cell.column) if baseline else None
                effect = None if other is None else cell.value - other.value
                number = _Number(effect, 0.5 * 10**-cell.decimals, priors[cell.column])
                numbers.setdefault((row.experiment, group.dataset, cell.column, cell.printed), number)
    return list(numbers.values())


def compute_smallest_effect(rule: Retrained, prior: Prior, n: int, half_digit: float) -> float:
    """Compute the printed effect whose absence is compatible with the print with a probability of 5 %, for sigma_0.

    The scatter of the n is taken as that of the prior, the difference as normal: P(|d - effect| <= width) = 0.05.
    """
    from statistics import NormalDist

    width = compute_retrained_half_width(rule, prior, n, prior.deviation) + half_digit
    return width + NormalDist().inv_cdf(0.95) * prior.deviation * math.sqrt(1 + 1 / n)


def describe_widths(rules: Tolerances) -> Iterator[Sequence[str]]:
    """Describe, by metric and number of seeds, the tolerance and the smallest effect whose absence it shows."""
    rule = rules.retrained
    yield ("metric", *(f"n = {n}" for n in SEEDS), "", *(f"n = {n}" for n in SEEDS))
    places = [("", rule.prior), *((f" on {dataset}", priors) for dataset, priors in rule.elsewhere.items())]
    for where, priors in places:
        for metric, prior in priors.items():
            half_digit = 0.05 if metric.startswith("ap") else 0.005
            widths = [compute_retrained_half_width(rule, prior, n, prior.deviation) + half_digit for n in SEEDS]
            effects = [compute_smallest_effect(rule, prior, n, half_digit) for n in SEEDS]
            shown = [f"{value:.2f}" for value in (*widths, *effects)]
            yield (f"{COLUMNS[metric].heading}{where}", *shown[: len(SEEDS)], "", *shown[len(SEEDS) :])


def describe_operating(tables: Sequence[Table], rules: Tolerances, draws: int = DRAWS) -> Iterator[Sequence[str]]:
    """Describe what becomes of each table, in percent, by the number of seeds and what of the effects is missing."""
    yield ("table", "n", "missing", "compatible", "indistinct", "off", "exit 1")
    for table in tables:
        if not _list_numbers(table, rules):
            continue
        for n in SEEDS:
            for shift in SHIFTS:
                found = simulate_table(table, rules, n, shift, draws=draws)
                missing = {0.0: "nothing", 0.5: "half", 1.0: "all"}[shift]
                shares = (found.compatible, found.indistinct, found.off, found.fails)
                yield (str(table.number), str(n), missing, *(f"{100 * share:.1f}" for share in shares))
