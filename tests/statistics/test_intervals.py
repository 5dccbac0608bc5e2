"""Intervals of an accuracy, and those over seeds, against peers and by simulation."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from repro.statistics.intervals import (
    compute_interval_with_missing,
    compute_median_interval,
    compute_normal_quantile,
    compute_wilson_interval,
)
from repro.statistics.seeds import compute_run_half_width

pytestmark = pytest.mark.rounding


def test_quantile():
    assert compute_normal_quantile(0.95) == pytest.approx(1.959963984540054, abs=1e-12)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (77, 100), (38123, 50000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_against_scipy(right, n, confidence):
    peer = binomtest(right, n).proportion_ci(confidence, method="wilson")
    assert compute_wilson_interval(right, n, confidence) == pytest.approx((peer.low, peer.high), abs=1e-12)


def test_wilson_against_statsmodels():
    # statsmodels 0.14: proportion_confint(38123, 50000, method="wilson")
    assert compute_wilson_interval(38123, 50000) == pytest.approx((0.7587096580782028, 0.7661700158487331), abs=1e-12)


@pytest.mark.parametrize(("right", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_what_is_no_share_is_refused(right, n):
    with pytest.raises(ValueError, match="no share"):
        compute_wilson_interval(right, n)


def wald(right, n):
    half = 1.959964 * np.sqrt(right * (n - right) / n) / n
    return right / n - half, right / n + half


def covered(method, p, n, draws=4000):
    right = np.random.default_rng([n, int(1000 * p)]).binomial(n, p, size=draws)
    limits = np.array([method(int(one), n) for one in right])
    return np.mean((limits[:, 0] <= p) & (p <= limits[:, 1]))


@pytest.mark.parametrize(("p", "n"), [(0.76, 5000), (0.97, 200), (0.5, 40)])
def test_wilson_covers(p, n):
    band = 4 * np.sqrt(0.05 * 0.95 / 4000)
    assert 0.94 - band < covered(compute_wilson_interval, p, n) < 0.97 + band


def test_the_normal_interval_would_not():
    assert covered(wald, 0.97, 60) < 0.88 < 0.94 < covered(compute_wilson_interval, 0.97, 60)


def test_missing_items_are_all_wrong_or_all_right():
    limits = [binomtest(right, 100).proportion_ci(method="wilson") for right in (70, 80)]
    assert compute_interval_with_missing(70, 90, 10) == pytest.approx((limits[0].low, limits[1].high))
    assert compute_interval_with_missing(70, 90, 0) == compute_wilson_interval(70, 90)
    for wrong in ((91, 90, 0), (-1, 90, 0), (1, 2, -1), (0, 0, 0)):
        with pytest.raises(ValueError, match="missing"):
            compute_interval_with_missing(*wrong)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0], ids=["wrong go missing", "any", "right go missing"])
def test_with_missing_covers_whatever_goes_missing(chance):
    """400 items, 30 of them missing, of right ones `chance` of them; the probability of being right is 0.75."""
    generator = np.random.default_rng(int(10 * chance))
    hits = 0
    for right in generator.binomial(400, 0.75, size=2000):
        lost = generator.binomial(30, chance)
        low, high = compute_interval_with_missing(int(right) - lost, 370, 30)
        hits += low <= 0.75 <= high
    assert hits / 2000 > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 2000)


def next_run_covered(half_width, n, draws=4000):
    """The share of runs that lie in the interval from n earlier ones."""
    runs = np.random.default_rng(n).normal(37.5, 0.15, (draws, n + 1))
    return np.mean([abs(one[-1] - one[:-1].mean()) <= half_width(one[:-1].tolist(), 0.95) for one in runs])


def half_width_of_own_spread(values, confidence):
    n = len(values)
    return compute_run_half_width(np.std(values, ddof=1), n, n - 1, confidence)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_of_one_more_run_covers_it(n):
    assert next_run_covered(half_width_of_own_spread, n) == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / 4000))


@pytest.mark.parametrize("n", [2, 3, 5, 6, 8, 9, 20])
def test_the_interval_of_a_median_is_of_order_statistics(n):
    """Its confidence is the probability that the number of draws below the median lies within its places."""
    values = np.random.default_rng(n).permutation(np.arange(n)).tolist()
    low, high, confidence = compute_median_interval(values)
    assert low == n - 1 - high
    assert confidence == pytest.approx(1 - 2 * stats.binom.cdf(low, n, 0.5))
    assert confidence >= 0.95 or low == 0
    if low + 1 < high - 1:
        assert 1 - 2 * stats.binom.cdf(low + 1, n, 0.5) < 0.95  # the next narrower pair has less


@pytest.mark.parametrize("n", [3, 5, 8])
def test_it_covers_as_often_as_it_says_also_the_median_of_two_modes(n):
    generator = np.random.default_rng(n)

    def draw(number):
        return np.where(generator.random(number) < 0.4, 40, 75) + generator.normal(0, 2, number)

    median = np.median(draw(2_000_000))
    draws = draw((4000, n))
    found = [compute_median_interval(one) for one in draws.tolist()]
    covered = np.mean([low <= median <= high for low, high, _ in found])
    assert covered == pytest.approx(found[0][2], abs=0.02)


def test_one_value_has_no_interval():
    with pytest.raises(ValueError, match="no interval"):
        compute_median_interval([1.0])
