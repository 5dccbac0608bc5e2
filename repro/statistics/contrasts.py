"""Intervals of differences between means of runs. Imports neither numpy nor scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from repro.statistics.equivalence import Group
from repro.statistics.seeds import compute_student_quantile


def compute_difference_interval(
    pairs: Sequence[tuple[Group, Group]], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Compute Student's interval of the second group's mean minus the first's, averaged over the pairs.

    As in the two one-sided tests of equivalence, the mean of a group is that of its networks' means, and the scatter of
    the runs around the means of their own networks is pooled: two-sample Student for two groups of one network each.

    >>> [round(end, 3) for end in compute_difference_interval([([[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]])])]
    [0.733, 5.267]

    Args:
        pairs: (lower group, higher group), of one network or more with a run or more each.

    Returns:
        (low, high); None where every network has one run, which shows no scatter.
    """
    networks = [network for pair in pairs for group in pair for network in group]
    freedom = sum(len(network) - 1 for network in networks)
    if not freedom:
        return None
    squares = sum((value - fmean(network)) ** 2 for network in networks for value in network)
    shares = (sum(1 / len(network) for network in group) / len(group) ** 2 for pair in pairs for group in pair)
    error = math.sqrt(squares / freedom * sum(shares)) / len(pairs)
    difference = fmean(fmean(map(fmean, second)) - fmean(map(fmean, first)) for first, second in pairs)
    half = compute_student_quantile(confidence, freedom) * error
    return difference - half, difference + half
