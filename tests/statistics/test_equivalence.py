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


def test_two_networks_are_two_one_sided_tests_of_scipy():
    first, second = draw(71, 72, runs=4)
    expected = max(
        stats.ttest_ind(np.add(a, 3.0), b, alternative="greater").pvalue for a, b in permutations((first, second))
    )
    assert compute_equivalence_p([[first], [second]], 3.0) == pytest.approx(expected, rel=1e-9)


def test_of_several_groups_the_farthest_pair_counts():
    groups = [[each] for each in draw(70, 70.5, 73)]
    pairs = [compute_equivalence_p([a, b], 4.0) for a, b in permutations(groups, 2)]
    assert compute_equivalence_p(groups, 4.0) == max(pairs)


def test_a_group_of_networks_is_their_mean_with_the_scatter_around_each_ones_own():
    """By the contrast of a linear model, computed with matrices: networks far apart do not add to the scatter."""
    low, high = draw(60, 74, seed=1), draw(66, 70, 66, seed=2)
    networks = [*low, *high]
    design = np.kron(np.eye(5), np.ones((3, 1)))
    values = np.concatenate(networks)
    means, *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ means
    contrast = np.array([-1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3])
    error = np.sqrt(residual @ residual / 10 * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    expected = stats.t.sf((4 - abs(contrast @ means)) / error, df=10)
    assert compute_equivalence_p([low, high], 4.0) == pytest.approx(expected, rel=1e-9)


def test_one_run_of_each_shows_nothing_and_equal_runs_everything():
    assert compute_equivalence_p([[[70.0]], [[70.1]]], 4.0) == 1.0
    assert compute_equivalence_p([[[70.0, 70.0]], [[71.0, 71.0]]], 4.0) == 0.0
    assert compute_equivalence_p([[[70.0, 70.0]], [[75.0, 75.0]]], 4.0) == 1.0


@pytest.mark.parametrize("runs", [2, 3, 8])
def test_means_that_differ_by_the_margin_are_called_close_in_five_percent(runs):
    generator = np.random.default_rng(runs)
    called = sum(
        compute_equivalence_p([[generator.normal(70, 1, runs)], [generator.normal(72, 1, runs)]], 2.0) <= 0.05
        for _ in range(2000)
    )
    assert called / 2000 == pytest.approx(0.05, abs=0.015)


def test_one_network_that_scatters_more_than_those_it_is_compared_with_is_called_close_too_often():
    """Student's test pools the scatter. docs/hypotheses.md says how much that is; by large samples it is 11.4 %."""
    generator = np.random.default_rng(0)
    runs = generator.normal([70, 70, 70, 74], [1, 1, 1, 2], (2000, 8, 4)).transpose(0, 2, 1).tolist()
    called = sum(compute_equivalence_p([networks[:3], networks[3:]], 4.0) <= 0.05 for networks in runs)
    assert called / 2000 == pytest.approx(stats.norm.sf(stats.norm.isf(0.05) * np.sqrt(7 / 13)), abs=0.02)
