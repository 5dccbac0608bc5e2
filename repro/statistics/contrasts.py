"""Differences between means of networks, run with the same seeds. Imports neither numpy nor scipy.

A run is taken as the sum of what its network gives, what its seed gives (the runs of a seed begin from one training
without blocks) and a remainder: two-way analysis of variance without an interaction, in each stratum by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from repro.statistics.seeds import compute_student_quantile

#: Networks that are taken together: of each its runs, in the order of the seeds, which are the same for all.
Group = Sequence[Sequence[float]]


def estimate_scatter(strata: Sequence[Sequence[Group]]) -> tuple[float, int]:
    """Estimate the variance of the remainders, over all networks of all strata: (variance, degrees of freedom).

    The variance is 0 where there are no degrees of freedom: of one seed, or one network in each stratum.

    Raises:
        ValueError: networks of a stratum have different numbers of runs.
    """
    squares, freedom = 0.0, 0
    for groups in strata:
        networks = [network for group in groups for network in group]
        by_seed = [fmean(runs) for runs in zip(*networks, strict=True)]
        whole = fmean(by_seed)
        for network in networks:
            own = fmean(network) - whole
            squares += sum((value - own - seed) ** 2 for value, seed in zip(network, by_seed, strict=True))
        freedom += (len(networks) - 1) * (len(by_seed) - 1)
    return squares / freedom if freedom else 0.0, freedom


def compute_difference(first: Group, second: Group) -> float:
    """The second group's mean minus the first's; that of a group is the mean of its networks'."""
    return fmean(map(fmean, second)) - fmean(map(fmean, first))


def compute_error(first: Group, second: Group, variance: float) -> float:
    """The standard error of the difference of two groups' means: seeds are in both, and cancel."""
    return math.sqrt(variance * (1 / len(first) + 1 / len(second)) / len(first[0]))


def compute_difference_interval(
    strata: Sequence[Sequence[Group]], first: int = 0, second: int = -1, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Compute Student's interval of the mean of group `second` minus that of group `first`, averaged over the strata.

    Of two networks in one stratum it is that of the paired differences.

    >>> [round(end, 3) for end in compute_difference_interval([[[[1.0, 2.0, 3.0]], [[4.0, 5.5, 6.0]]]])]
    [2.45, 3.884]

    Args:
        strata: in each, groups of one network or more with a run of each seed.

    Returns:
        (low, high); None where nothing shows the scatter.
    """
    variance, freedom = estimate_scatter(strata)
    if not freedom:
        return None
    errors = [compute_error(groups[first], groups[second], variance) for groups in strata]
    half = compute_student_quantile(confidence, freedom) * math.hypot(*errors) / len(strata)
    difference = fmean(compute_difference(groups[first], groups[second]) for groups in strata)
    return difference - half, difference + half
