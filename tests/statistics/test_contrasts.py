"""Intervals of differences of means, beside scipy's and a least-squares fit with one mean for each network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from repro.statistics.contrasts import compute_difference_interval


def draw(seed, *sizes):
    generator = np.random.default_rng(seed)
    return [list(generator.normal(40 + place, 1.5, size)) for place, size in enumerate(sizes)]


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_two_networks_are_students_two_samples(confidence):
    first, second = draw(0, 3, 5)
    theirs = stats.ttest_ind(second, first, equal_var=True).confidence_interval(confidence)
    assert compute_difference_interval([([first], [second])], confidence) == pytest.approx([theirs.low, theirs.high])


def test_groups_and_strata_are_a_contrast_of_a_least_squares_fit():
    runs = draw(1, 3, 3, 4, 2, 5)
    pairs = [([runs[0], runs[1]], [runs[2]]), ([runs[3]], [runs[4]])]
    weights = np.array([-1 / 4, -1 / 4, 1 / 2, -1 / 2, 1 / 2])  # the mean over two pairs
    design = np.repeat(np.eye(5), [len(run) for run in runs], axis=0)
    values = np.concatenate(runs)
    means, squares, *_ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(values) - 5
    error = np.sqrt(squares[0] / freedom * weights @ np.linalg.inv(design.T @ design) @ weights)
    expected = weights @ means + error * np.array(stats.t.interval(0.95, freedom))
    assert compute_difference_interval(pairs) == pytest.approx(list(expected))


def test_one_run_of_each_shows_no_scatter():
    assert compute_difference_interval([([[1.0]], [[2.0]])]) is None
