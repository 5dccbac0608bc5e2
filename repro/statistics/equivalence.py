"""Two one-sided tests: are means of runs nearer to each other than a margin?

Student's tests, with the scatter of the runs around the means of their own networks, pooled. Exact rank tests cannot
answer with three runs on either side, whatever they show: their least p-value is 1 in 20. They are exact where runs
scatter normally, those of all networks alike; where runs end in two modes, a few of them may all be of one. Imports
neither numpy nor scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

from repro.statistics.seeds import compute_student_tail

#: Networks that are taken together, the runs of each.
Group = Sequence[Sequence[float]]


def compute_equivalence_p(groups: Sequence[Group], margin: float) -> float:
    """Test that no two groups' means differ by `margin` or more: the p-value of the hypothesis that some two do.

    The mean of a group is that of its networks' means. Of all pairs the largest p-value counts, as an intersection of
    unions needs no adjustment (Berger 1982). One run of each network shows no scatter: the p-value is 1.

    >>> round(compute_equivalence_p([[[71.0, 72.0, 73.0]], [[71.5, 72.5, 73.5]]], margin=4.0), 4)
    0.0064

    Args:
        groups: two or more, of one network or more with a run or more each.
        margin: above zero, in the unit of the runs.
    """
    return max(_compare(first, second, margin) for first, second in combinations(groups, 2))


def _compare(first: Group, second: Group, margin: float) -> float:
    runs = [network for group in (first, second) for network in group]
    freedom = sum(len(network) - 1 for network in runs)
    if not freedom:
        return 1.0
    squares = sum((value - fmean(network)) ** 2 for network in runs for value in network)
    variances = (sum(1 / len(network) for network in group) / len(group) ** 2 for group in (first, second))
    error = math.sqrt(squares / freedom * sum(variances))
    difference = abs(fmean(map(fmean, second)) - fmean(map(fmean, first)))
    return _find_upper_tail(margin - difference, error, freedom)


def _find_upper_tail(distance: float, error: float, freedom: int) -> float:
    """The probability that Student's t is at least `distance` in units of `error`."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    half = compute_student_tail(abs(distance) / error, freedom) / 2
    return half if distance > 0 else 1 - half
