"""Confidence intervals of an accuracy. Those over seeds are in `repro.statistics.seeds`."""

from __future__ import annotations

import math


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
