"""Intervals of differences of means within seeds, beside scipy's and a least-squares fit with a mean for each seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from repro.statistics.contrasts import compute_difference_interval, estimate_scatter


def draw(networks, seeds, seed=0):
    """Runs of networks that seeds move by much more than they scatter: as many lists as networks."""
    generator = np.random.default_rng(seed)
    moved = generator.normal(0, 20, seeds)
    return [(40 + place + moved + generator.normal(0, 1.5, seeds)).tolist() for place in range(networks)]


def fit(runs):
    """(means of networks, covariance of them without the variance, residual squares, freedom), by least squares."""
    networks, seeds = len(runs), len(runs[0])
    first = np.repeat(np.eye(networks), seeds, axis=0)
    second = np.tile(np.eye(seeds), (networks, 1))[:, 1:]
    design, values = np.hstack([first, second]), np.concatenate(runs)
    found = np.linalg.lstsq(design, values, rcond=None)[0]
    squares = float(((values - design @ found) ** 2).sum())
    covariance = np.linalg.inv(design.T @ design)[:networks, :networks]
    return found[:networks], covariance, squares, (networks - 1) * (seeds - 1)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_two_networks_are_students_paired_test(confidence):
    first, second = draw(2, 5)
    theirs = stats.ttest_rel(second, first).confidence_interval(confidence)
    found = compute_difference_interval([[[first], [second]]], confidence=confidence)
    assert found == pytest.approx([theirs.low, theirs.high])


def test_groups_are_a_contrast_of_a_least_squares_fit():
    runs = draw(5, 4, seed=1)
    weights = np.array([-1 / 2, -1 / 2, 1 / 2, 1 / 2, 0])
    means, covariance, squares, freedom = fit(runs)
    error = np.sqrt(squares / freedom * weights @ covariance @ weights)
    expected = weights @ means + error * np.array(stats.t.interval(0.95, freedom))
    assert compute_difference_interval([[runs[:2], runs[2:4], runs[4:]]], 0, 1) == pytest.approx(list(expected))


def test_strata_have_seeds_of_their_own_and_one_scatter():
    strata = [draw(2, 3, seed=2), draw(3, 3, seed=3)]
    (means, covariance, squares, freedom), (others, covariances, more, free) = map(fit, strata)
    weights = [np.array([-1, 1]), np.array([-1 / 2, -1 / 2, 1])]
    variance = weights[0] @ covariance @ weights[0] + weights[1] @ covariances @ weights[1]
    error = np.sqrt((squares + more) / (freedom + free) * variance) / 2
    middle = (weights[0] @ means + weights[1] @ others) / 2
    expected = middle + error * np.array(stats.t.interval(0.95, freedom + free))
    groups = [[strata[0][:1], strata[0][1:]], [strata[1][:2], strata[1][2:]]]
    assert compute_difference_interval(groups) == pytest.approx(list(expected))


def test_what_a_seed_adds_to_all_changes_nothing():
    runs = draw(3, 4)
    moved = np.add(runs, [100.0, -3.0, 0.5, 7.0]).tolist()
    assert compute_difference_interval([[moved[:1], moved[1:]]]) == pytest.approx(
        compute_difference_interval([[runs[:1], runs[1:]]])
    )


def test_one_run_of_each_shows_no_scatter():
    assert compute_difference_interval([[[[1.0]], [[2.0]]]]) is None
    assert estimate_scatter([[[[1.0, 2.0]]]]) == (0.0, 0)


def test_networks_with_other_seeds_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        estimate_scatter([[[[1.0, 2.0]], [[1.0]]]])
