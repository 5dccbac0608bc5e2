"""How many seeds would decide a statement of the paper in the mini profile: by simulation from the runs that are there.

A run of an experiment is drawn as its mean plus one of its own residuals, which are widened for the seeds that the mean
was estimated from. That is as uncertain as the means and the scatter that it begins from: a plan, not a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from repro.paper import Table
from repro.paper.hypotheses import load_hypotheses
from repro.records import Record
from repro.statistics.exact_ranks import find_critical_pairs
from repro.statistics.seeds import compute_student_quantile
from repro.verification.hypotheses import Answer, collect_mini
from repro.verification.measurements import Measurement

POWER = 0.8  #: the chance of an answer that is asked for
SEEDS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  #: that are tried
_DRAWS, _SEED = 400, 0


@dataclass(frozen=True)
class Power:
    """The fewest seeds of `SEEDS` that decide with a chance of at least `POWER`; None: not even the most of them."""

    seeds: int | None

    def __str__(self) -> str:
        return f"needs more than {SEEDS[-1]} seeds" if self.seeds is None else f"{self.seeds} seeds would decide it"


def estimate_power(answers: Sequence[Answer]) -> dict[str, Power]:
    """Estimate for each undecided statement of a family, by its id, how many seeds would decide it.

    A statement counts as decided when its p-value is at most the level divided by the number of statements that are
    still open, as Holm's first step asks. Statements with one seed are left out: it shows no scatter.
    """
    level = load_hypotheses().level
    still_open = sum(answer.word in ("undecided", "not run") for answer in answers)
    undecided = [a for a in answers if a.word == "undecided" and len(a.seeds) > 1]
    return {a.hypothesis.id: _search(a, level / still_open) for a in undecided}


def measure_seed(table: Table, records: Sequence[Record]) -> dict[str, float]:
    """Sum the seconds that one seed of every experiment of a table took: training, evaluation, statistics of attention.

    By way of measuring; one in which an experiment was not run is left out. Of several seeds, the mean.
    """
    seconds = {}
    for way, measured in collect_mini(table, records):
        if set(measured) == set(table.experiments):
            seconds[way] = sum(_measure_seed_of(measurement) for measurement in measured.values())
    return seconds


def _measure_seed_of(measurement: Measurement) -> float:
    runs = measurement.records + measurement.statistics
    return sum(run.cost.train_seconds + run.cost.evaluate_seconds for run in runs) / measurement.n


def _search(answer: Answer, level: float) -> Power:
    more = [seeds for seeds in SEEDS if seeds > len(answer.seeds)]
    return Power(next((seeds for seeds in more if estimate_share_decided(answer, seeds, level) >= POWER), None))


def estimate_share_decided(answer: Answer, seeds: int, level: float) -> float:
    """Estimate the chance that so many seeds decide the statement, one way or another, at the level."""
    generator = np.random.default_rng(_SEED)
    strata = _draw(answer, seeds, generator)
    decided = np.zeros(_DRAWS, dtype=bool)
    if answer.hypothesis.test == "order":
        decided |= _decide_order(strata, level)
    if (margin := answer.hypothesis.margin) is not None:
        first = strata[0]
        decided |= np.all([_are_close(a, b, margin, level) for groups in strata for a, b in combinations(groups, 2)], 0)
        if answer.hypothesis.test == "equivalence":
            merged = [_merge(group) for group in first]
            level /= len(first) * (len(first) - 1)
            apart = find_critical_pairs([[merged[0].shape[1], merged[1].shape[1]]], level)
            decided |= np.any([_count_in_order(a + margin, b) >= apart for a, b in permutations(merged, 2)], 0)
    return float(np.mean(decided))


def _decide_order(strata: list[list[np.ndarray]], level: float) -> np.ndarray:
    """Whether runs are in the predicted order or in its reverse, of each draw: (draws,)."""
    merged = [[_merge(group) for group in groups] for groups in strata]
    critical = find_critical_pairs([[group.shape[1] for group in groups] for groups in merged], level)
    if math.isinf(critical):
        return np.zeros(_DRAWS, dtype=bool)
    most = sum(a.shape[1] * b.shape[1] for groups in merged for a, b in combinations(groups, 2))
    pairs = sum(_count_in_order(a, b) for groups in merged for a, b in combinations(groups, 2))
    return np.asarray((pairs >= critical) | (most - pairs >= critical))


def _are_close(a: np.ndarray, b: np.ndarray, margin: float, level: float) -> np.ndarray:
    """As `repro.statistics.equivalence`, of each draw: (draws,)."""
    networks, seeds = len(a) + len(b), a.shape[2]
    freedom = networks * (seeds - 1)
    squares = sum(each.var(axis=2, ddof=1).sum(axis=0) for each in (a, b)) * (seeds - 1)
    error = np.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)) / seeds)
    difference = np.abs(a.mean(axis=(0, 2)) - b.mean(axis=(0, 2)))
    return np.asarray(margin - difference >= compute_student_quantile(1 - 2 * level, freedom) * error)


def _draw(answer: Answer, seeds: int, generator: np.random.Generator) -> list[list[np.ndarray]]:
    """Runs of each group of each stratum: (networks, draws, seeds)."""
    drawn = {}
    for name, values in (answer.values or {}).items():
        observed = np.array(values)
        residuals = (observed - observed.mean()) * math.sqrt(len(observed) / (len(observed) - 1))
        noise = generator.choice(residuals, (_DRAWS, seeds)) + generator.normal(0, 1e-6, (_DRAWS, seeds))  # no ties
        drawn[name] = observed.mean() + noise
    return [[np.stack([drawn[name] for name in group]) for group in groups] for groups in answer.hypothesis.strata]


def _merge(group: np.ndarray) -> np.ndarray:
    """(networks, draws, seeds) -> (draws, runs)."""
    return group.transpose(1, 0, 2).reshape(group.shape[1], -1)


def _count_in_order(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The number of pairs of runs in which the second group's is higher, of each draw: (draws,)."""
    return np.count_nonzero(low[:, :, None] < high[:, None, :], axis=(1, 2))
