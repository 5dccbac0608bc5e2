"""Two one-sided Student's tests against scipy, and what they promise against simulation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from repro.statistics.equivalence import compute_equivalence_p


def draw(*centres, runs=3, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(centre, 1, runs).tolist() for centre in centres]


def test_two_networks_are_two_one_sided_paired_tests_of_scipy():
    first, second = draw(71, 72, runs=4)
    expected = max(
        stats.ttest_rel(np.add(a, 3.0), b, alternative="greater").pvalue for a, b in permutations((first, second))
    )
    assert compute_equivalence_p([[[first], [second]]], 3.0) == pytest.approx(expected, rel=1e-9)


def test_of_several_groups_the_farthest_pair_counts_with_the_scatter_of_all():
    low, middle, high = draw(70, 70.5, 73)
    values = np.array([low, middle, high])
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    error = np.sqrt((left**2).sum() / 4 * 2 / 3)
    expected = stats.t.sf((4 - (values[2].mean() - values[0].mean())) / error, df=4)
    assert compute_equivalence_p([[[low], [middle], [high]]], 4.0) == pytest.approx(expected, rel=1e-9)


def test_a_group_of_networks_is_their_mean_with_the_scatter_around_network_and_seed():
    """By the contrast of a linear model, computed with matrices: networks and seeds far apart add no scatter."""
    low, high = draw(60, 74, seed=1), draw(66, 70, 66, seed=2)
    values = np.add([*low, *high], [0.0, 30.0, -5.0])
    design = np.hstack([np.kron(np.eye(5), np.ones((3, 1))), np.tile(np.eye(3), (5, 1))[:, 1:]])
    means, *_ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    residual = values.ravel() - design @ means
    contrast = np.array([-1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3, 0, 0])
    error = np.sqrt(residual @ residual / 8 * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    expected = stats.t.sf((4 - abs(contrast @ means)) / error, df=8)
    groups = [values[:2].tolist(), values[2:].tolist()]
    assert compute_equivalence_p([groups], 4.0) == pytest.approx(expected, rel=1e-9)


def test_of_several_strata_the_farthest_pair_counts_with_the_scatter_of_all():
    near, far = draw(70, 70.2, seed=3), draw(50, 52.5, seed=4)
    strata = [[[near[0]], [near[1]]], [[far[0]], [far[1]]]]
    differences = [np.subtract(*near), np.subtract(*far)]
    variance = sum(float(((d - d.mean()) ** 2).sum()) for d in differences) / 2 / 4
    expected = stats.t.sf((4 - abs(differences[1].mean())) / np.sqrt(variance * 2 / 3), df=4)
    assert compute_equivalence_p(strata, 4.0) == pytest.approx(expected, rel=1e-9)
    assert compute_equivalence_p(strata[::-1], 4.0) == pytest.approx(expected, rel=1e-9)


def test_one_run_of_each_shows_nothing_and_equal_runs_everything():
    assert compute_equivalence_p([[[[70.0]], [[70.1]]]], 4.0) == 1.0
    assert compute_equivalence_p([[[[70.0, 70.0]], [[71.0, 71.0]]]], 4.0) == 0.0
    assert compute_equivalence_p([[[[70.0, 70.0]], [[75.0, 75.0]]]], 4.0) == 1.0


@pytest.mark.parametrize("between_seeds", [0.0, 10.0])
@pytest.mark.parametrize("runs", [2, 3, 8])
def test_means_that_differ_by_the_margin_are_called_close_in_five_percent(runs, between_seeds):
    generator = np.random.default_rng(runs)
    called = 0
    for _ in range(2000):
        moved = generator.normal(0, between_seeds, runs)
        first, second = (generator.normal(centre, 1, runs) + moved for centre in (70, 72))
        called += compute_equivalence_p([[[first.tolist()], [second.tolist()]]], 2.0) <= 0.05
    assert called / 2000 == pytest.approx(0.05, abs=0.015)


def test_one_network_that_scatters_more_than_those_it_is_compared_with_is_called_close_too_often():
    """Student's test pools the scatter. docs/hypotheses.md says how much that is; by large samples it is 11.4 %."""
    generator = np.random.default_rng(0)
    runs = generator.normal([70, 70, 70, 74], [1, 1, 1, 2], (2000, 8, 4)).transpose(0, 2, 1).tolist()
    called = sum(compute_equivalence_p([[networks[:3], networks[3:]]], 4.0) <= 0.05 for networks in runs)
    assert called / 2000 == pytest.approx(stats.norm.sf(stats.norm.isf(0.05) * np.sqrt(7 / 13)), abs=0.02)
