"""Two one-sided tests: are means of runs nearer to each other than a margin, or farther apart?

Student's tests, with the scatter of the runs around the means of their own networks, pooled. Exact rank tests cannot
answer with three runs on either side, whatever they show: their least p-value is 1 in 20. They are exact where runs
scatter normally; where runs end in two modes, a few of them may all be of one. Imports neither numpy nor scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from repro.statistics.seeds import compute_student_tail

#: Networks that are taken together, the runs of each.
Group = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Closeness:
    """`p`: that some two groups differ by the margin or more; `p_apart`: that no two differ by more than the margin."""

    p: float
    p_apart: float


def compute_closeness(groups: Sequence[Group], margin: float) -> Closeness:
    """Test of every two groups whether the means of their networks differ by less than the margin, and by more.

    For `p` the largest of all pairs counts, as an intersection of unions needs no adjustment (Berger 1982); for
    `p_apart` the least of all pairs and sides, times their number (Bonferroni).

    >>> close = compute_closeness([[[71.0, 72.0, 73.0]], [[71.5, 72.5, 73.5]]], margin=4.0)
    >>> round(close.p, 4), close.p_apart
    (0.0064, 1.0)

    Args:
        groups: two or more, of one network or more with a run or more each.
        margin: above zero, in the unit of the runs.
    """
    pairs = [_compare(first, second, margin) for first, second in combinations(groups, 2)]
    return Closeness(max(pair.p for pair in pairs), min(1.0, 2 * len(pairs) * min(pair.p_apart for pair in pairs)))


def _compare(first: Group, second: Group, margin: float) -> Closeness:
    """The one-sided tests of two groups; one run of each network shows no scatter, and then nothing is known."""
    runs = [network for group in (first, second) for network in group]
    freedom = sum(len(network) - 1 for network in runs)
    if not freedom:
        return Closeness(1.0, 1.0)
    squares = sum((value - fmean(network)) ** 2 for network in runs for value in network)
    variances = (sum(1 / len(network) for network in group) / len(group) ** 2 for group in (first, second))
    error = math.sqrt(squares / freedom * sum(variances))
    difference = abs(fmean(map(fmean, second)) - fmean(map(fmean, first)))
    return Closeness(
        _find_upper_tail(margin - difference, error, freedom), _find_upper_tail(difference - margin, error, freedom)
    )


def _find_upper_tail(distance: float, error: float, freedom: int) -> float:
    """The probability that Student's t is at least `distance` in units of `error`."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    half = compute_student_tail(abs(distance) / error, freedom) / 2
    return half if distance > 0 else 1 - half
