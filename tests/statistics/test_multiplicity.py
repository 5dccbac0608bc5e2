"""Adjusted p-values against an independent computation."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from repro.statistics.multiplicity import adjust_benjamini_hochberg, adjust_holm


@pytest.mark.parametrize("n", [1, 2, 10, 44])
def test_benjamini_and_hochberg_are_scipys(n):
    p_values = np.random.default_rng(n).uniform(0, 1, n) ** 3
    assert adjust_benjamini_hochberg(p_values.tolist()) == pytest.approx(false_discovery_control(p_values), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_holm_is_the_closure_of_bonferroni(n):
    """The adjusted p-value of a test is the largest Bonferroni p-value of any set of tests that it belongs to."""
    p_values = np.random.default_rng(n).uniform(0, 1, n) ** 3
    sets = [[place for place in range(n) if mask >> place & 1] for mask in range(1, 2**n)]
    closed = [max(min(1, len(s) * min(p_values[i] for i in s)) for s in sets if place in s) for place in range(n)]
    assert adjust_holm(p_values.tolist()) == pytest.approx(closed, rel=1e-12)


def test_no_test_has_no_p_value():
    assert adjust_holm([]) == adjust_benjamini_hochberg([]) == []
