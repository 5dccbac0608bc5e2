"""The simulation judges as the rules do, and the rules err no more often than they promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from samples import published, record

from repro import paper
from repro.cli.tolerances import write_operating, write_widths
from repro.paper import tolerances
from repro.verification.judgement import verify
from repro.verification.operating import SEEDS, compute_smallest_effect, simulate_table

RULES = tolerances.load()
DOCS = Path(__file__).parents[2] / "docs" / "verification.md"


@pytest.mark.parametrize("table", paper.load_all(), ids=lambda table: f"Table {table.number}")
@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_perfect_replication_fails_in_at_most_one_of_twenty_cases(table, n):
    assert simulate_table(table, RULES, n, 0.0).fails <= 0.05


@pytest.mark.parametrize("table", paper.load_all(), ids=lambda table: f"Table {table.number}")
@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_block_without_effect_is_compatible_in_at_most_one_of_twenty_cases(table, n):
    found = simulate_table(table, RULES, n, 1.0)
    assert 0 < found.compatible <= 0.05


def test_the_figures_of_the_proposal_for_one_global_context_block():
    """Print 38.1, baseline 37.2; 99, 98, 98 and 98 % compatible, and 4, 1, 0.4 and 0 % without effect (issue)."""
    import numpy as np

    generator, draws = np.random.default_rng(5), 20_000
    from repro.verification.agreement import compute_retrained_half_width

    prior = RULES.retrained.prior["ap_box"]
    for n, right, wrong in ((1, 99, 4), (2, 98, 1), (3, 98, 0.4), (5, 98, 0)):
        runs, printed = generator.normal(0, 0.15, (draws, n)), generator.normal(0, 0.15, draws)
        spread = runs.std(1, ddof=1) if n > 1 else [None] * draws
        width = np.array([compute_retrained_half_width(RULES.retrained, prior, n, s) for s in spread]) + 0.05
        gap = runs.mean(1) - printed
        assert 100 * np.mean(np.abs(gap) <= width) == pytest.approx(right, abs=1)
        assert 100 * np.mean(np.abs(gap - 0.9) <= width) == pytest.approx(wrong, abs=0.5)


def print_again(table, scatter):
    """The table as it would be printed of other trainings: the same number in all of its groups."""

    def change(row, cell):
        value = round(cell.value + scatter.get((row.experiment, cell.column), 0.0), cell.decimals)
        return cell if cell.unit != "%" else replace(cell, value=value, printed=f"{value:.{cell.decimals}f}")

    return replace(
        table,
        groups=tuple(
            replace(
                group,
                rows=tuple(replace(row, cells=tuple(change(row, cell) for cell in row.cells)) for row in group.rows),
            )
            for group in table.groups
        ),
    )


def test_the_simulation_judges_as_verify_does():
    """300 replications of Table 4 that lack half of the effects, by the rules themselves."""
    import numpy as np

    published_table, draws = paper.load(4), 300
    generator, counts = np.random.default_rng(3), {"compatible": 0, "indistinct": 0, "off": 0, "all": 0}
    names = list(published_table.experiments)
    true = {name: published(published_table, name) for name in names}
    sigma = {"top1": 0.1, "top5": 0.07}
    rows = {row.experiment: row for row in reversed(published_table.rows)}
    for _ in range(draws):
        made = []
        for name in names:
            group = next(group for group in published_table.groups if rows[name] in group.rows)
            baseline = group.baseline(rows[name])
            for seed in range(3):
                values = {}
                for metric, value in true[name].items():
                    gap = value - baseline.require(metric).value if baseline else 0.0
                    values[metric] = value - 0.5 * gap + generator.normal(0, sigma[metric])
                made.append((name, seed, values))
        records = [
            record(name, values, seed=seed, name="imagenet-val", required=50_000, expected=50_000, evaluated=50_000)
            for name, seed, values in made
        ]
        scatter = {(name, metric): generator.normal(0, sigma[metric]) for name in names for metric in sigma}
        table = print_again(published_table, scatter)
        cells = {
            (cell.experiment, cell.cell.column): cell.verdict
            for row in verify(table, records, {}, RULES).rows
            for cell in row.cells
            if cell.cell.unit == "%" and not row.row.is_baseline
        }
        counts["all"] += len(cells)
        for verdict in ("compatible", "indistinct", "off"):
            counts[verdict] += sum(v == verdict for v in cells.values())
    found = simulate_table(published_table, RULES, 3, 0.5)
    for verdict in ("compatible", "indistinct", "off"):
        assert counts[verdict] / counts["all"] == pytest.approx(getattr(found, verdict), abs=0.03)


def test_the_smallest_effect_is_missed_in_one_of_twenty_cases():
    from scipy import stats

    prior = RULES.retrained.prior["ap_box"]
    for n in SEEDS:
        effect = compute_smallest_effect(RULES.retrained, prior, n, 0.05)
        root = (1 + 1 / n) ** 0.5
        width = stats.t.ppf(0.975, 9 + n) * 0.15 * root + 0.05
        scale = 0.15 * root
        missed = stats.norm.cdf((width - effect) / scale) - stats.norm.cdf((-width - effect) / scale)
        assert missed == pytest.approx(0.05, abs=1e-6)


def test_the_documentation_has_what_the_command_prints():
    text = "\n".join([*write_widths(RULES), "", *write_operating(paper.load_all(), RULES)])
    assert text in DOCS.read_text()
