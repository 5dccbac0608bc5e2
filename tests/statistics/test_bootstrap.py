"""The paired bootstrap of AP: does its interval cover, does its p-value hold its level? On simulated detections."""

from functools import partial

import numpy as np
import pytest
from simulated_detectors import Simulation, difference, seeing_and_blind, skilled

from repro.errors import ReproError
from repro.evaluation.matches import Matches
from repro.statistics.bootstrap import compare, compute_p_value, compute_percentile_interval, draw_resamples, replicate
from repro.statistics.precision import compute_average_precision

pytestmark = pytest.mark.rounding


def paired(first, second, number, generator, threads=1):
    counts = draw_resamples(len(first.image_ids), number, generator)
    return compare(*(replicate(one, "box", counts, threads) for one in (first, second)))


def simulated(networks, images=80, samples=200, number=200):
    """(two networks, their replicates, the comparison) for each of many samples of images."""
    found = []
    for seed in range(samples):
        generator = np.random.default_rng([seed, images])
        pair = networks(images, generator)
        counts = draw_resamples(images, number, generator)
        replicates = [replicate(one, "box", counts) for one in pair]
        found.append((pair, replicates, compare(*replicates)))
    return found


def expected(networks, images=80, samples=300):
    """The mean difference over other samples of as many images."""
    drawn = [difference(*networks(images, np.random.default_rng([seed, 1, images]))) for seed in range(samples)]
    return np.mean(drawn, axis=0)


BAND = 4 * np.sqrt(0.05 * 0.95 / 200)  #: four standard errors of a coverage in 200 samples


@pytest.fixture(scope="module")
def different():
    return simulated(skilled)


@pytest.fixture(scope="module")
def truth():
    return expected(skilled)


def test_the_interval_covers_the_expected_difference(different, truth):
    for metric in range(3):
        covered = [c[metric].low <= truth[metric] <= c[metric].high for *_, c in different]
        assert np.mean(covered) > 0.95 - BAND


def test_it_covers_when_one_network_is_much_poorer_and_reflected_percentiles_do_not():
    """The replicates lie beside the measured difference then, on the side that reflection takes them away from."""
    target = expected(seeing_and_blind)
    covered, reflected = [], []
    for _, (first, second), comparisons in simulated(seeing_and_blind):
        covered.append([c.low <= t <= c.high for c, t in zip(comparisons, target, strict=True)])
        low, high = np.quantile(first.drawn - second.drawn, [0.025, 0.975], axis=1)
        whole = first.whole - second.whole
        reflected.append((2 * whole - high <= target) & (target <= 2 * whole - low))
    assert (np.mean(covered, axis=0) > 0.95 - BAND).all()
    assert (np.mean(reflected, axis=0) < 0.95 - BAND).all()


def test_an_interval_of_half_the_width_would_not(different, truth):
    covered = []
    for *_, comparisons in different:
        c = comparisons[0]
        covered.append((c.difference + c.low) / 2 <= truth[0] <= (c.difference + c.high) / 2)
    assert np.mean(covered) < 0.95 - BAND


def test_pairing_makes_the_interval_narrower(different):
    (first, second), _, comparisons = different[0]
    generator = np.random.default_rng(0)
    apart = [compute_average_precision(one, "box", draw_resamples(80, 1000, generator))[0] for one in (first, second)]
    low, high = compute_percentile_interval(apart[0] - apart[1], 0.95)
    assert comparisons[0].high - comparisons[0].low < 0.9 * (high - low)


def test_the_p_value_holds_its_level_and_finds_a_difference(different):
    equal = [comparisons[0].p for *_, comparisons in simulated(partial(skilled, skills=(0.8, 0.8)))]
    assert np.mean(np.array(equal) < 0.05) < 0.05 + BAND
    assert 0.3 < np.mean(equal) < 0.7
    assert np.mean([comparisons[0].p < 0.05 for *_, comparisons in different]) > 0.5


def test_differences_and_p_values_fit_the_intervals(different):
    for (first, second), _, comparisons in different[:20]:
        assert [c.difference for c in comparisons] == pytest.approx(difference(first, second).tolist(), abs=1e-12)
        for c in comparisons:
            assert c.low <= c.high
            if c.p < 0.04 or c.p > 0.06:
                assert (c.p < 0.05) == (c.low > 0 or c.high < 0)


def test_equal_generators_give_equal_results_whatever_the_threads(different):
    (first, second), *_ = different[0]
    once, again, other = (
        paired(first, second, 600, np.random.default_rng(seed), threads=threads)
        for seed, threads in ((0, 1), (0, 2), (1, 1))
    )
    assert once == again
    assert once != other


def test_a_network_against_itself(different):
    first = different[0][0][0]
    for comparison in paired(first, first, 99, np.random.default_rng(0)):
        assert (comparison.difference, comparison.low, comparison.high, comparison.p) == (0, 0, 0, 1)


def test_resamples_are_of_as_many_images():
    counts = draw_resamples(7, 50, np.random.default_rng(0))
    assert counts.shape == (7, 50)
    assert (counts.sum(axis=0) == 7).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(7), abs=0.6)


@pytest.mark.parametrize(("below", "expected"), [(0, 2 / 1000), (10, 22 / 1000), (499, 1.0), (999, 2 / 1000)])
def test_p_value_by_hand(below, expected):
    replicates = np.concatenate([-np.ones(below), np.ones(999 - below)])
    assert compute_p_value(replicates) == pytest.approx(expected)


def test_percentiles_by_hand():
    # Of 1..999 in order, the 25th and the 975th: places 0.025 and 0.975 of 1000.
    assert compute_percentile_interval(np.arange(1.0, 1000.0), 0.95) == pytest.approx((25, 975))


def test_networks_on_other_images_are_refused(different):
    first = different[0][0][0]
    for changes in ({"annotations_sha256": "b" * 64}, {"image_ids": first.image_ids + 1}):
        other = Matches(**(vars(first) | changes))
        with pytest.raises(ReproError, match="same images"):
            paired(first, other, 10, np.random.default_rng(0))


def test_other_resamples_are_refused(different):
    (first, second), *_ = different[0]
    counts = [draw_resamples(80, 10, np.random.default_rng(seed)) for seed in (0, 1)]
    for other in (replicate(second, "box", counts[1]), replicate(second, "mask", counts[0])):
        with pytest.raises(ReproError, match="same images"):
            compare(replicate(first, "box", counts[0]), other)


def test_too_few_images_are_refused():
    simulation = Simulation(2, np.random.default_rng(0))
    simulation.objects[:] = [[3, 0], [0, 0]]
    simulation.label, simulation.image, simulation.ease = np.zeros(3, int), np.zeros(3, int), np.zeros(3)
    one = simulation.network(1.0)
    with pytest.raises(ReproError, match="2 images are too few"):
        paired(one, one, 100, np.random.default_rng(0))
