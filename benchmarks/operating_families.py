"""How often the answers to the paper's statements are wrong, and how often the printed intervals cover.

python benchmarks/operating_families.py [--draws 2000] [--samples 400]

Simulated: no training takes place. Every distribution of runs is tried as normal and with two modes, 35 points apart,
as the mini profile's runs have lain; a seed moves all of its runs by a normal number with a deviation of 3. Prints the
tables of `benchmarks/operating.md` about families and intervals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from simulated_detectors import difference, seeing_and_blind, skilled

from repro.paper.hypotheses import load_hypotheses
from repro.statistics.bootstrap import compare, draw_resamples, replicate
from repro.statistics.exact_ranks import compute_order_p_values
from repro.statistics.intervals import (
    compute_interval_with_missing,
    compute_median_interval,
    compute_wilson_interval,
)
from repro.statistics.mcnemar import Discordance, compute_interval
from repro.statistics.multiplicity import adjust_holm
from repro.statistics.seeds import compute_run_half_width
from repro.verification.claims.uncertainty import shrink_scatter
from repro.verification.hypotheses import compute_p_values, group_networks

RULES = load_hypotheses()
Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw_normal(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.normal(60, 2, n)


def draw_two_modes(generator: np.random.Generator, n: int) -> np.ndarray:
    return np.where(generator.random(n) < 0.4, 75.0, 40.0) + generator.normal(0, 1.5, n)


def draw_rare_mode(generator: np.random.Generator, n: int) -> np.ndarray:
    return np.where(generator.random(n) < 1 / 7, 40.0, 75.0) + generator.normal(0, 1.5, n)


#: The standard deviation of what a seed adds to all of its runs.
BETWEEN_SEEDS = 3.0
SHAPES: dict[str, Draw] = {
    "normal, sd 2": draw_normal,
    "two modes, 40 % above": draw_two_modes,
    "two modes, 86 % above": draw_rare_mode,
}


# -- families ---------------------------------------------------------------------------------------------------------


def simulate_family(table: int, seeds: int, draws: int, shape: Draw, shifts: dict[str, float]) -> dict[str, float]:
    """The share of draws in which each statement is decided; under a word, in which any statement has that answer."""
    family = RULES.of_table(table)
    asked = [statement.test == "order" and statement.margin is not None for statement in family]
    names = sorted({name for statement in family for name in statement.experiments})
    generator = np.random.default_rng([table, seeds, draws])
    decided = dict.fromkeys([statement.id for statement in family] + ["holds", "contrary", "close"], 0)
    for _ in range(draws):
        moved = generator.normal(0, BETWEEN_SEEDS, seeds)
        values = {name: (shape(generator, seeds) + moved + shifts.get(name, 0.0)).tolist() for name in names}
        p_values = [compute_p_values(statement, values) for statement in family]
        holds = [p <= RULES.level for p in adjust_holm([p for p, _, _ in p_values])]
        contrary = [p <= RULES.level for p in adjust_holm([p for _, p, _ in p_values])]
        within = iter(adjust_holm([p for (_, _, p), is_asked in zip(p_values, asked, strict=True) if is_asked]))
        close = [is_asked and next(within) <= RULES.level for is_asked in asked]
        for statement, *words in zip(family, holds, contrary, close, strict=True):
            decided[statement.id] += any(words)
        decided["holds"] += any(yes for statement, yes in zip(family, holds, strict=True) if statement.test == "order")
        decided["contrary"] += any(contrary)
        decided["close"] += any(close)
    return {name: number / draws for name, number in decided.items()}


def print_errors(draws: int) -> None:
    print("\n| Table | runs | seeds | any order holds (%) | any contrary (%) |")
    print("|---:|:---|---:|---:|---:|")
    for table in (2, 3, 4, 5):
        for name, shape in SHAPES.items():
            for seeds in (3, 5) if table == 2 else (3,):
                found = simulate_family(table, seeds, draws, shape, {})
                print(f"| {table} | {name} | {seeds} | {100 * found['holds']:.1f} | {100 * found['contrary']:.1f} |")


def print_nuisance(draws: int) -> None:
    """A statement without an effect, where another property of the same networks has one of 10 points."""
    attention = {"coco-r50-att-scale": 10.0, "coco-r50-gc-r16": 10.0}
    addition = {"coco-r50-avg-add": 10.0, "coco-r50-gc-r16": 10.0}
    print("\n| the effect is of | asked | seeds | p at most 0.05 (%) |")
    print("|:---|:---|---:|---:|")
    for what, shifts, asked in (
        ("pooling", attention, "addition-above-scaling"),
        ("fusion", addition, "attention-above-average"),
    ):
        statement = next(one for one in RULES.statements if one.id == asked)
        for seeds in (3, 5):
            generator = np.random.default_rng(seeds)
            wrong = 0
            for _ in range(draws):
                moved = generator.normal(0, BETWEEN_SEEDS, seeds)
                values = {
                    name: (draw_normal(generator, seeds) + moved + shifts.get(name, 0.0)).tolist()
                    for name in statement.experiments
                }
                wrong += compute_p_values(statement, values)[0] <= 0.05
            print(f"| {what} | {asked} | {seeds} | {100 * wrong / draws:.1f} |")


def print_equivalence(draws: int) -> None:
    """How often kinds are called equivalent within the margin of 4, at p <= 0.05, by how far one of them lies off."""
    statement = next(one for one in RULES.statements if one.id == "one-block-kinds-on-par")
    print("\n| one kind differs by | seeds | equivalent (%) |")
    print("|:---|---:|---:|")
    cases = [(f"{shift:g}, sd 1", _draw_around_75, _draw_around_75, shift) for shift in (0.0, 2.0, 4.0)]
    cases.append(("one run in seven, 35 points", _draw_around_75, draw_rare_mode, 0.0))
    for name, shape, other, shift in cases:
        for seeds in (3, 5, 8):
            generator, equivalent = np.random.default_rng(seeds), 0
            for _ in range(draws):
                moved = generator.normal(0, BETWEEN_SEEDS, seeds)
                values = {one: (shape(generator, seeds) + moved).tolist() for one in statement.experiments[:2]}
                values[statement.experiments[2]] = (other(generator, seeds) + moved + shift).tolist()
                equivalent += compute_p_values(statement, values)[0] <= 0.05
            print(f"| {name} | {seeds} | {100 * equivalent / draws:.1f} |")


def print_close_orders(draws: int) -> None:
    """Whether statements of order are called equivalent where every two groups differ by the margin: none should be."""
    print("\n| Table | seeds | any equivalent (%) |")
    print("|---:|---:|---:|")
    for table in (2, 4, 5):
        for seeds in (3, 5):
            generator, wrong = np.random.default_rng([table, seeds]), 0
            family = [s for s in RULES.of_table(table) if s.test == "order" and s.margin is not None]
            for _ in range(draws):
                p_values = []
                for statement in family:  # each alone at its worst: experiments have other means in another statement
                    moved = generator.normal(0, BETWEEN_SEEDS, seeds)
                    values = {
                        name: (_draw_around_75(generator, seeds) + moved + place * (statement.margin or 0.0)).tolist()
                        for groups in statement.strata
                        for place, group in enumerate(groups)
                        for name in group
                    }
                    p_values.append(compute_p_values(statement, values)[2])
                wrong += min(adjust_holm(p_values)) <= RULES.level
            print(f"| {table} | {seeds} | {100 * wrong / draws:.1f} |")


def print_starts(draws: int) -> None:
    """Nothing differs but how well a network gets on from a start: by a deviation of 1, where runs scatter by 0.5.

    With one start for all seeds and runs pooled over them, as the mini profile had it; and with one for each seed.
    """
    family = [statement for statement in RULES.of_table(2) if statement.test == "order"]
    names = sorted({name for statement in family for name in statement.experiments})
    print("\n| starts | tested | seeds | any order holds (%) |")
    print("|:---|:---|---:|---:|")
    for shared, how in ((True, "pooled over seeds"), (False, "within seeds")):
        for seeds in (3, 8):
            generator, wrong = np.random.default_rng(seeds), 0
            for _ in range(draws):
                suited = {name: generator.normal(0, 1, 1 if shared else seeds) for name in names}
                values = {name: (suited[name] + generator.normal(60, 0.5, seeds)).tolist() for name in names}
                if shared:
                    p_values = [
                        compute_order_p_values([[list(chain(*group)) for group in groups] for groups in strata]).p
                        for strata in (group_networks(statement, values) for statement in family)
                    ]
                else:
                    p_values = [compute_p_values(statement, values)[0] for statement in family]
                wrong += min(adjust_holm(p_values)) <= RULES.level
            starts = "one for all seeds" if shared else "one for each seed"
            print(f"| {starts} | {how} | {seeds} | {100 * wrong / draws:.1f} |")


def print_power(draws: int) -> None:
    """Table 2, if runs scatter by a point, blocks gain 38, c3 two less, scaling one less, smaller ratios more."""
    names = {name for statement in RULES.of_table(2) for name in statement.experiments}
    shifts = dict.fromkeys(names - {"coco-r50-baseline"}, 38.0)
    shifts |= {"coco-r50-gc-r16-c3": 36.0, "coco-r50-avg-scale": 37.0, "coco-r50-att-scale": 37.0}
    shifts |= {"coco-r50-gc-r32": 37.5, "coco-r50-gc-r8": 38.3, "coco-r50-gc-r4": 38.6}
    print("\n| statement | 3 seeds | 5 | 8 |")
    print("|:---|---:|---:|---:|")
    found = [simulate_family(2, seeds, draws, lambda g, n: g.normal(37, 1, n), shifts) for seeds in (3, 5, 8)]
    for statement in RULES.of_table(2):
        print(f"| {statement.says} | " + " | ".join(f"{100 * one[statement.id]:.0f}" for one in found) + " |")


def _draw_around_75(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.normal(75, 1, n)


# -- intervals --------------------------------------------------------------------------------------------------------


def print_intervals(draws: int) -> None:
    print("\n| interval | of | says (%) | covers (%) |")
    print("|:---|:---|---:|---:|")
    for name, of, says, covers in _measure_intervals(draws):
        print(f"| {name} | {of} | {says:.1f} | {covers:.1f} |")


def _measure_intervals(draws: int) -> Iterator[tuple[str, str, float, float]]:
    for n in (240, 5000, 50_000):
        for p in (0.3, 0.77, 0.93):
            right = np.arange(n + 1)
            weight = stats.binom.pmf(right, n, p)
            likely = right[weight > 1e-12]
            limits = {int(k): compute_wilson_interval(int(k), n) for k in likely}
            inside = [weight[k] for k, (low, high) in limits.items() if low <= p <= high]
            yield "accuracy (Wilson)", f"{n} items, {p:.0%}", 95.0, 100 * sum(inside)
    generator = np.random.default_rng(0)
    for n, missing in ((19_000, 1000),):
        for name, chance in (("at random", 0.76), ("harder", 0.5)):
            covered = 0
            truth = (0.76 * n + chance * missing) / (n + missing)
            for _ in range(draws):
                low, high = compute_interval_with_missing(int(generator.binomial(n, 0.76)), n, missing)
                covered += low <= truth <= high
            yield "accuracy, 1000 of 20000 missing, worst case", f"missing {name}", 95.0, 100 * covered / draws
            own = 0
            for _ in range(draws):
                low, high = compute_wilson_interval(int(generator.binomial(n, 0.76)), n)
                own += low <= truth <= high
            yield "the same as evaluated (if missing at random)", f"missing {name}", 95.0, 100 * own / draws
    for n, first, second in ((240, 0.2, 0.15), (1000, 0.1, 0.1), (50_000, 0.06, 0.05)):
        covered = 0
        for a, b, _ in generator.multinomial(n, [first, second, 1 - first - second], draws):
            low, high = compute_interval(Discordance(n, int(a), int(b)))
            covered += low <= first - second <= high
        yield "difference of accuracies (Bonett-Price)", f"{n} items", 95.0, 100 * covered / draws
    for name, shape in SHAPES.items():
        gap = shape(generator, 2_000_000) - shape(generator, 2_000_000)
        median = float(np.median(gap))
        for n in (3, 5, 8):
            pairs = shape(generator, n * draws) - shape(generator, n * draws)
            found = [compute_median_interval(one) for one in pairs.reshape(draws, n).tolist()]
            covered = np.mean([low <= median <= high for low, high, _ in found])
            yield f"median over {n} seeds", name, 100 * found[0][2], 100 * float(covered)
    for name, shape in SHAPES.items():
        for n in (1, 3, 5):
            yield f"limit of a claim, {n} seeds (no interval)", name, 95.0, 100 * _cover_by_limit(shape, n, draws)
    for name, shape in SHAPES.items():
        for n in (3, 8):
            sample = shape(generator, n * draws).reshape(draws, n)
            half = stats.t.ppf(0.975, n - 1) * sample.std(axis=1, ddof=1) / np.sqrt(n)
            mean = shape(generator, 2_000_000).mean()
            covered = np.abs(sample.mean(axis=1) - mean) <= half
            yield f"not printed: Student's mean over {n} seeds", name, 95.0, 100 * float(covered.mean())


def _cover_by_limit(shape: Draw, n: int, draws: int) -> float:
    """How often a printed gain of one run of each row is within the limit around ours, of n runs of each.

    The prior is right: sigma_0 is the shape's own standard deviation.
    """
    generator = np.random.default_rng(n)
    deviation = float(shape(generator, 2_000_000).std())
    covered = 0
    for _ in range(draws):
        ours = [shape(generator, n).tolist() for _ in range(2)]
        printed = shape(generator, 2)
        scatter = shrink_scatter(ours, deviation, 10)
        half = compute_run_half_width(scatter.deviation, n, scatter.freedom, 0.95) * np.sqrt(2)
        gain = np.mean(ours[0]) - np.mean(ours[1])
        covered += abs(gain - (printed[0] - printed[1])) <= half
    return covered / draws


def print_bootstrap(samples: int) -> None:
    """AP, AP50 and AP75 together: the share of intervals that hold the mean difference over many data sets."""
    print("\n| two networks | images | says (%) | covers (%) |")
    print("|:---|---:|---:|---:|")
    images = 256  # of the mini profile
    for name, networks in (("alike", skilled), ("one guesses", seeing_and_blind)):
        truth = np.mean(
            [difference(*networks(images, np.random.default_rng([s, 1, images]))) for s in range(3 * samples)], axis=0
        )
        covered = []
        for s in range(samples):
            generator = np.random.default_rng([s, images])
            pair = networks(images, generator)
            counts = draw_resamples(images, 1000, generator)
            found = compare(*(replicate(one, "box", counts) for one in pair))
            covered.append([c.low <= t <= c.high for c, t in zip(found, truth, strict=True)])
        print(f"| {name} | {images} | 95.0 | {100 * np.mean(covered):.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=400, help="of images, for the bootstrap")
    given = parser.parse_args()
    print_intervals(given.draws)
    print_errors(given.draws)
    print_nuisance(given.draws)
    print_equivalence(given.draws)
    print_close_orders(given.draws)
    print_starts(given.draws)
    print_power(max(200, given.draws // 10))
    print_bootstrap(given.samples)


if __name__ == "__main__":
    main()
