"""How many seeds would decide a statement of the paper in the mini profile: by simulation from the runs that are there.

A run of an experiment is drawn as its mean plus one of its own residuals, around what network and seed give it; they
are widened for the means that were estimated. What a seed adds to all its runs is left out: no test depends on it. That
is as uncertain as the means and the scatter that it begins from: a plan, not a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from repro.experiments import is_defined, mini
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
    """Sum the seconds of one more seed of every experiment of a table: training, evaluation, statistics of attention.

    As long as these took, of several seeds the mean; what they start from and is trained with each seed, as it is
    estimated. By way of measuring; one in which an experiment was not run is left out.
    """
    seconds = {}
    for way, measured in collect_mini(table, records):
        if set(measured) == set(table.experiments):
            seconds[way] = sum(_measure_seed_of(measurement) for measurement in measured.values())
            seconds[way] += _estimate_starts(measured)
    return seconds


def _estimate_starts(names: Iterable[str]) -> float:
    """Estimate the seconds of the trainings that a seed of these experiments starts from, its own ones."""
    own: dict[str, float] = {}
    for name in names:
        experiment = mini.get_at_profile(name, "mini")
        if is_defined(experiment.recipe.initial_weights):
            experiment = mini.get_at_profile(experiment.recipe.initial_weights, "mini")
            own[experiment.spec_hash] = mini.estimate_seconds(experiment)
        elif mini.is_repeated_with_each_seed(pretrainings := mini.list_pretrainings(experiment)):
            own[pretrainings[-1].spec_hash] = mini.estimate_pretraining_seconds(experiment, pretrainings[-1])
    return sum(own.values())


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
        decided |= _are_close(strata, margin, level)
        if answer.hypothesis.test == "equivalence":
            (groups,) = strata
            level /= len(groups) * (len(groups) - 1)
            decided |= np.any(
                [
                    _count_in_order(a + margin, b) >= find_critical_pairs([[len(a), len(b)]] * seeds, level)
                    for a, b in permutations(groups, 2)
                ],
                0,
            )
    return float(np.mean(decided))


def _decide_order(strata: list[list[np.ndarray]], level: float) -> np.ndarray:
    """Whether runs are in the predicted order or in its reverse, of each draw: (draws,)."""
    sizes = [[len(group) for group in groups] for groups in strata for _ in range(groups[0].shape[2])]
    critical = find_critical_pairs(sizes, level)
    if math.isinf(critical):
        return np.zeros(_DRAWS, dtype=bool)
    most = sum(a * b for groups in sizes for a, b in combinations(groups, 2))
    pairs = sum(_count_in_order(a, b) for groups in strata for a, b in combinations(groups, 2))
    return np.asarray((pairs >= critical) | (most - pairs >= critical))


def _are_close(strata: list[list[np.ndarray]], margin: float, level: float) -> np.ndarray:
    """As `repro.statistics.equivalence`, of each draw: (draws,)."""
    squares: np.ndarray = np.zeros(_DRAWS)
    freedom = 0
    for groups in strata:
        runs = np.concatenate(groups)
        left = runs - runs.mean(2, keepdims=True) - runs.mean(0, keepdims=True) + runs.mean((0, 2), keepdims=True)
        squares += (left**2).sum((0, 2))
        freedom += (len(runs) - 1) * (runs.shape[2] - 1)
    quantile = compute_student_quantile(1 - 2 * level, freedom)
    close = np.ones(_DRAWS, dtype=bool)
    for a, b in (pair for groups in strata for pair in combinations(groups, 2)):
        error = np.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)) / a.shape[2])
        close &= margin - np.abs(a.mean((0, 2)) - b.mean((0, 2))) >= quantile * error
    return close


def _draw(answer: Answer, seeds: int, generator: np.random.Generator) -> list[list[np.ndarray]]:
    """Runs of each group of each stratum, without what a seed adds to all: (networks, draws, seeds)."""
    drawn = {}
    for groups in answer.hypothesis.strata:
        names = [name for group in groups for name in group]
        observed = np.array([(answer.values or {})[name] for name in names])
        means = observed.mean(1, keepdims=True)
        left = observed - means - observed.mean(0, keepdims=True) + observed.mean()
        left *= math.sqrt(left.size / ((len(names) - 1) * (observed.shape[1] - 1)))
        for name, mean, residuals in zip(names, means, left, strict=True):
            noise = generator.choice(residuals, (_DRAWS, seeds)) + generator.normal(0, 1e-6, (_DRAWS, seeds))  # no ties
            drawn[name] = mean + noise
    return [[np.stack([drawn[name] for name in group]) for group in groups] for groups in answer.hypothesis.strata]


def _count_in_order(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The number of pairs of runs of one seed in which the second group's is higher, of each draw: (draws,)."""
    return np.count_nonzero(low[:, None] < high[None, :], axis=(0, 1, 3))
