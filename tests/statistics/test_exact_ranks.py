"""Exact rank tests against scipy and against every deal written out."""

import itertools

import numpy as np
import pytest
from scipy import stats

from repro.statistics import exact_ranks
from repro.statistics.exact_ranks import OrderPValues, count_deals


def enumerate_order(strata):
    """p-values from every deal of the runs within each stratum, by brute force."""

    def score(groups):
        return sum(
            (low < high) + 0.5 * (low == high) for a, b in itertools.combinations(groups, 2) for low in a for high in b
        )

    def deals(places, sizes):
        if len(sizes) == 1:
            yield (places,)
            return
        for chosen in itertools.combinations(places, sizes[0]):
            for others in deals(tuple(p for p in places if p not in chosen), sizes[1:]):
                yield (chosen, *others)

    each = []
    for groups in strata:
        values = list(itertools.chain(*groups))
        each.append(
            [
                score([[values[p] for p in places] for places in deal])
                for deal in deals(tuple(range(len(values))), [len(g) for g in groups])
            ]
        )
    observed = sum(score(groups) for groups in strata)
    totals = np.array([sum(scores) for scores in itertools.product(*each)])
    return float((totals >= observed).mean()), float((totals <= observed).mean())


@pytest.mark.parametrize("sizes", [(3, 3), (3, 9), (6, 6), (3, 51)])
def test_two_groups_are_mann_and_whitneys_exact_test(sizes):
    generator = np.random.default_rng(sum(sizes))
    for _ in range(5):
        low, high = generator.normal(0, 1, sizes[0]), generator.normal(0.5, 1, sizes[1])
        ours = exact_ranks.compute_order_p_values([[low.tolist(), high.tolist()]])
        greater = stats.mannwhitneyu(high, low, alternative="greater", method="exact").pvalue
        less = stats.mannwhitneyu(high, low, alternative="less", method="exact").pvalue
        assert (ours.p, ours.p_contrary) == pytest.approx((greater, less), rel=1e-12)


@pytest.mark.parametrize(
    "strata",
    [
        [[[1.0, 2.0], [2.0, 3.0, 3.0]]],
        [[[1.0, 5.0], [2.0, 6.0], [4.0, 3.0]]],
        [[[1.0, 2.0], [2.0, 2.0], [3.0, 1.0]]],
        [[[1.0], [0.5], [3.0, 2.5], [2.0]]],
        [[[1.0], [2.0], [3.0]], [[1.0, 1.0], [3.0, 0.0]]],
        [[[3.0, 1.0], [2.0, 4.0]], [[30.0, 10.0], [20.0, 40.0]], [[1.0], [1.0]]],
    ],
)
def test_ties_strata_and_more_groups_are_as_every_deal_written_out(strata):
    ours = exact_ranks.compute_order_p_values(strata)
    assert (ours.p, ours.p_contrary) == pytest.approx(enumerate_order(strata), rel=1e-12)


def test_jonckheere_of_four_groups_is_scipys_page_like_permutation():
    """Against a permutation test of scipy with the same statistic, all permutations taken."""
    groups = [[1.2, 3.4], [2.2, 2.9], [3.1, 5.0]]

    def statistic(*samples):
        return sum(np.sum(a[:, None] < b[None]) for a, b in itertools.combinations(samples, 2))

    scipy_p = stats.permutation_test(
        [np.array(g) for g in groups], statistic, permutation_type="independent", alternative="greater",
        n_resamples=np.inf,
    ).pvalue  # fmt: skip
    assert exact_ranks.compute_order_p_values([groups]).p == pytest.approx(scipy_p, rel=1e-12)


def test_a_stratum_without_a_value_is_refused():
    with pytest.raises(ValueError, match="two groups"):
        exact_ranks.compute_order_p_values([[[1.0], []]])


def test_the_least_p_value_is_one_deal():
    assert count_deals([3, 9]) == 220
    assert exact_ranks.compute_order_p_values([[[1.0, 2.0, 3.0], [float(v) for v in range(4, 13)]]]).p == pytest.approx(
        1 / 220
    )


def test_a_difference_beyond_a_margin_is_a_rank_test_of_shifted_runs_of_every_pair_and_side():
    generator = np.random.default_rng(5)
    groups = [generator.normal(centre, 1, 5).tolist() for centre in (0, 0.3, -0.2)]
    far = [groups[0], [v + 10 for v in groups[1]], groups[2]]
    expected = min(
        stats.mannwhitneyu(np.add(a, 3.0), b, alternative="less", method="exact").pvalue
        for a, b in itertools.permutations(far, 2)
    )
    assert exact_ranks.compute_difference_p([far], 3.0) == pytest.approx(6 * expected, rel=1e-12)
    assert exact_ranks.compute_difference_p([far], 3.0) == pytest.approx(6 / 252, rel=1e-12)
    assert exact_ranks.compute_difference_p([groups], 3.0) == 1.0


def test_by_seed_it_is_a_sign_test_of_the_shifted_differences():
    """With one run of either group in a stratum, all eight in order: one of 2 ** 8 deals, of two sides."""
    strata = [[[100.0 * seed], [100.0 * seed + 4.0]] for seed in range(8)]
    assert exact_ranks.compute_difference_p(strata, 3.0) == pytest.approx(2 * stats.binomtest(8, 8).pvalue / 2)
    strata[3] = [[0.0], [2.0]]
    expected = stats.binomtest(7, 8, alternative="greater").pvalue
    assert exact_ranks.compute_difference_p(strata, 3.0) == pytest.approx(2 * expected)


#: Box AP of the mini profile before lamps were brighter, three seeds each, as it was committed on 2026-11-20.
COMMITTED = {
    "baseline": [38.95, 39.05, 40.75], "1nl": [40.80, 38.92, 76.80], "1snl": [39.65, 73.87, 77.11],
    "1gc": [40.59, 64.36, 39.41], "gc": [77.29, 71.26, 42.03], "after-add": [39.45, 42.12, 61.98],
    "c3": [37.51, 39.42, 39.84], "c4": [39.62, 39.05, 41.63], "c5": [38.68, 40.74, 73.88], "snl": [75.63, 40.40, 73.58],
    "plain": [41.53, 70.23, 66.60], "relu": [76.52, 38.38, 38.10], "r4": [77.55, 76.07, 68.63],
    "r8": [75.94, 72.82, 76.06], "r32": [55.73, 38.45, 66.35], "avg-scale": [41.10, 40.09, 52.55],
    "avg-add": [74.17, 73.40, 73.15], "att-scale": [41.01, 44.73, 40.42],
}  # fmt: skip
ADDITIVE = ("gc", "after-add", "snl", "plain", "relu", "r4", "r8", "r32", "avg-add")


def pool(*names):
    return list(itertools.chain.from_iterable(COMMITTED[name] for name in names))


@pytest.mark.parametrize(
    ("groups", "p"),
    [
        ([pool("avg-scale", "att-scale"), pool("avg-add", "gc")], 0.0043),
        ([pool("r32"), pool("gc"), pool("r8"), pool("r4")], 0.012),
        ([pool("c3", "c4", "c5"), pool("gc")], 0.018),
        ([pool("baseline"), pool(*ADDITIVE)], 0.020),
        ([pool("1nl", "1snl", "1gc"), pool("gc")], 0.14),
        ([pool("avg-add", "avg-scale"), pool("gc", "att-scale")], 0.71),
    ],
)
def test_figures_that_another_analysis_of_the_same_runs_found(groups, p):
    """An analysis outside this package, with scipy's own tests, found these on the same eighteen networks."""
    assert exact_ranks.compute_order_p_values([groups]).p == pytest.approx(p, rel=0.05)


def test_p_values_of_nothing_are_uniform_or_larger():
    """Of two-mode runs, whatever the shares: at every level at most so many p-values lie below it."""
    generator = np.random.default_rng(0)
    modes = np.where(generator.random((2000, 2, 4)) < 0.5, 40.0, 75.0) + generator.normal(0, 1, (2000, 2, 4))
    found = np.array([exact_ranks.compute_order_p_values([groups]).p for groups in modes.tolist()])
    for level in (0.02, 0.05, 0.1):
        assert (found <= level).mean() <= level + 3 * np.sqrt(level / 2000)


def test_the_outcome_names_both_sides():
    assert exact_ranks.compute_order_p_values([[[4.0], [1.0]]]) == OrderPValues(p=1.0, p_contrary=0.5)


@pytest.mark.parametrize(("strata", "level"), [([[3, 5]], 0.05), ([[3, 3, 3]], 0.05), ([[2, 3], [4, 3]], 0.05)])
def test_so_many_pairs_in_order_reject_and_one_less_does_not(strata, level):
    """Of every deal of distinct runs, at most the share `level` has so many pairs in order; with one less, more do."""
    generator = np.random.default_rng(0)
    runs = [[generator.normal(0, 1, size).tolist() for size in sizes] for sizes in strata]
    critical = exact_ranks.find_critical_pairs(strata, level)

    def share_from(least):
        each = []
        for groups in runs:
            values = np.concatenate(groups)
            owners = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
            deals = set(itertools.permutations(owners.tolist()))
            order = np.argsort(values)
            each.append(
                [sum(deal[a] < deal[b] for a, b in itertools.combinations(order.tolist(), 2)) for deal in deals]
            )
        totals = np.array([sum(scores) for scores in itertools.product(*each)])
        return (totals >= least).mean()

    assert share_from(critical) <= level < share_from(critical - 1)


def test_no_number_of_pairs_rejects_below_the_least_p_value():
    assert exact_ranks.find_critical_pairs([[3, 3]], 0.04) == np.inf
