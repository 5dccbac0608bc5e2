"""McNemar's test and the interval of a paired difference of accuracies."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from repro.statistics.mcnemar import Discordance, compute_interval, compute_mid_p

pytestmark = pytest.mark.rounding

COUNTS = [(1, 7), (7, 1), (6, 16), (25, 2), (0, 5), (0, 0), (30, 30), (400, 330), (2614, 2487)]


def exact_p(first, second):
    return binomtest(first, first + second).pvalue if first + second else 1.0


@pytest.mark.parametrize(("first", "second"), COUNTS)
def test_p_values_against_scipy(first, second):
    exact = exact_p(first, second)
    point = binom.pmf(min(first, second), first + second, 0.5)
    assert compute_mid_p(Discordance(50_000, first, second)) == pytest.approx(
        1.0 if first == second else exact - point, rel=1e-9
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    # statsmodels 0.14: mcnemar([[10, first], [second, 10]], exact=True).pvalue
    [
        (1, 7, 0.0703125),
        (6, 16, 0.052478790283203125),
        (25, 2, 5.647540092468262e-06),
        (400, 330, 0.010605994778707762),
    ],
)
def test_p_values_against_statsmodels(first, second, expected):
    mid = compute_mid_p(Discordance(1000, first, second))
    assert mid + binom.pmf(min(first, second), first + second, 0.5) == pytest.approx(expected, rel=1e-12)


def test_published_example():
    """Complete response before and after consolidation therapy: 59 both, 6 and 16 one alone, 80 neither.

    Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, chapter 8; the digits are those of its
    companion, the R package contingencytables.
    """
    counts = Discordance(161, 6, 16)
    assert compute_mid_p(counts) == pytest.approx(0.034690, abs=5e-7)
    assert counts.difference == pytest.approx(-0.0621, abs=5e-5)
    assert compute_interval(counts) == pytest.approx((-0.1195, -0.0032), abs=5e-5)


def test_discordance_of_paired_items():
    first = np.array([True, True, False, False, True, True])
    second = np.array([True, False, True, False, False, True])
    counts = Discordance.count(first, second)
    assert counts == Discordance(6, 2, 1)
    assert counts.difference == pytest.approx(first.mean() - second.mean())


def test_unpaired_items_are_refused():
    with pytest.raises(ValueError, match="paired"):
        Discordance.count(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
    with pytest.raises(ValueError, match="paired"):
        Discordance.count(np.ones(0, dtype=bool), np.ones(0, dtype=bool))


def test_interval_is_antisymmetric_and_no_point_without_discordance():
    low, high = compute_interval(Discordance(100, 9, 4))
    assert compute_interval(Discordance(100, 4, 9)) == pytest.approx((-high, -low))
    assert compute_interval(Discordance(50, 0, 0))[1] > 0.01
    assert compute_interval(Discordance(1, 1, 0))[1] <= 1


def wald(counts, confidence=0.95):
    share = (counts.first + counts.second) / counts.n
    half = 1.959964 * np.sqrt((share - counts.difference**2) / counts.n)
    return counts.difference - half, counts.difference + half


def covered(method, n, first, second, draws=4000):
    """The share of samples of n items whose interval holds the true difference first - second."""
    generator = np.random.default_rng([n, int(1000 * first), int(1000 * second)])
    samples = generator.multinomial(n, [first, second, 1 - first - second], size=draws)
    limits = np.array([method(Discordance(n, int(b), int(c))) for b, c, _ in samples])
    return np.mean((limits[:, 0] <= first - second) & (first - second <= limits[:, 1]))


@pytest.mark.parametrize(
    ("n", "first", "second"), [(5000, 0.05, 0.04), (500, 0.1, 0.06), (200, 0.03, 0.01), (60, 0.3, 0.1)]
)
def test_interval_covers(n, first, second):
    # Four standard errors of the simulation, and one point for the discreteness of few items.
    assert 0.95 - 4 * np.sqrt(0.05 * 0.95 / 4000) - 0.01 < covered(compute_interval, n, first, second) < 0.985


def test_walds_own_interval_would_not():
    assert covered(wald, 60, 0.05, 0) < 0.85 < 0.94 < covered(compute_interval, 60, 0.05, 0)


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_p_values_hold_their_level(share):
    samples = np.random.default_rng(0).multinomial(400, [share, share, 1 - 2 * share], size=4000)
    pairs = [(int(b), int(c)) for b, c, _ in samples]
    exact = np.mean([exact_p(*pair) < 0.05 for pair in pairs])
    mid = np.mean([compute_mid_p(Discordance(400, *pair)) < 0.05 for pair in pairs])
    assert exact < mid < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)
    assert mid > 0.025  # and are not so careful as to be useless
