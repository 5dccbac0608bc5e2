"""Two one-sided tests: are means of runs nearer to each other than a margin?

Student's tests, with the scatter of the runs around what network and seed give them, pooled over all networks. Exact
rank tests cannot answer with three runs on either side, whatever they show: their least p-value is 1 in 8. They are
exact where runs scatter normally, those of all networks alike; where runs end in two modes, a few of them may all be of
one. Imports neither numpy nor scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from repro.statistics.contrasts import Group, compute_difference, compute_error, estimate_scatter
from repro.statistics.seeds import compute_student_tail


def compute_equivalence_p(strata: Sequence[Sequence[Group]], margin: float) -> float:
    """Test that no two groups' means differ by `margin` or more: the p-value of the hypothesis that some two do.

    The mean of a group is that of its networks' means. Of all pairs of all strata the largest p-value counts, as an
    intersection of unions needs no adjustment (Berger 1982). One seed shows no scatter: the p-value is 1.

    >>> round(compute_equivalence_p([[[[71.0, 72.0, 73.0]], [[71.5, 72.6, 73.4]]]], margin=4.0), 5)
    0.00014

    Args:
        strata: in each, two groups or more, of one network or more with a run of each seed.
        margin: above zero, in the unit of the runs.

    Raises:
        ValueError: networks of a stratum have different numbers of runs.
    """
    variance, freedom = estimate_scatter(strata)
    if not freedom:
        return 1.0
    return max(
        _find_upper_tail(margin - abs(compute_difference(a, b)), compute_error(a, b, variance), freedom)
        for groups in strata
        for a, b in combinations(groups, 2)
    )


def _find_upper_tail(distance: float, error: float, freedom: int) -> float:
    """The probability that Student's t is at least `distance` in units of `error`."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    half = compute_student_tail(abs(distance) / error, freedom) / 2
    return half if distance > 0 else 1 - half
