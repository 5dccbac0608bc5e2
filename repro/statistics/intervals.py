"""Confidence intervals of an accuracy, and of a median. Seeds have `repro.statistics.seeds`."""

from __future__ import annotations

import math
from collections.abc import Sequence


def compute_normal_quantile(confidence: float) -> float:
    """Compute the two-sided quantile of the normal distribution.

    >>> round(compute_normal_quantile(0.95), 4)
    1.96
    """
    from scipy.special import ndtri  # half a second that readers of results need not wait

    return float(ndtri(0.5 + confidence / 2))


def compute_wilson_interval(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the interval (low, high), as shares, of a probability of which `right` of n items are a sample.

    Wilson's score interval (Journal of the American Statistical Association 22:209, 1927): it stays between 0 and 1 and
    covers well also near them, where the normal interval of an accuracy's standard error does not.

    >>> low, high = compute_wilson_interval(90, 100)
    >>> print(f"{low:.3f} to {high:.3f}")
    0.826 to 0.945

    Raises:
        ValueError: `right` is not between 0 and n, or n is 0.
    """
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} of {n} items is no share")
    z = compute_normal_quantile(confidence)
    middle = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def compute_interval_with_missing(
    right: int, evaluated: int, missing: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Compute the interval (low, high), as shares, of an accuracy when `missing` items could not be evaluated.

    It reaches from Wilson's lower limit with all missing items wrong to his upper limit with all of them right, so that
    it covers at least as often as it should, whatever the missing items are.

    >>> low, high = compute_interval_with_missing(right=90, evaluated=100, missing=5)
    >>> print(f"{low:.3f} to {high:.3f}")
    0.778 to 0.947

    Raises:
        ValueError: `right` is not between 0 and `evaluated`, `missing` is negative, or there is no item.
    """
    if not 0 <= right <= evaluated or missing < 0 or evaluated + missing == 0:
        raise ValueError(f"{right} right of {evaluated} items and {missing} missing")
    n = evaluated + missing
    return compute_wilson_interval(right, n, confidence)[0], compute_wilson_interval(right + missing, n, confidence)[1]


def compute_median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Compute an interval (low, high) of the median of what the values are draws of, and the confidence that it has.

    The narrowest pair of order statistics, as far from one end as from the other, that reaches `confidence`; of fewer
    than six values the range, which has less. The confidence is exact for every continuous distribution, also for one
    with two modes, of which no interval of the mean of a few values covers what it promises (David and Nagaraja, Order
    Statistics, 3rd ed., section 7.1).

    >>> compute_median_interval([2.0, 1.0, 4.0])
    (1.0, 4.0, 0.75)

    Raises:
        ValueError: there are fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError("the median of one value has no interval")
    ordered = sorted(values)
    place, outside = 0, 2.0 ** (1 - n)  # of n draws, that all are above the median or all below it
    while place + 1 < n - place - 2:
        more = outside + 2 * math.comb(n, place + 1) / 2**n
        if more > 1 - confidence:
            break
        place, outside = place + 1, more
    return ordered[place], ordered[n - 1 - place], 1 - outside
