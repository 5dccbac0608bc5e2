"""Intervals of an accuracy. Those over seeds are in `repro.statistics.seeds`."""

from __future__ import annotations

import math


def compute_normal_quantile(confidence: float) -> float:
    """The two-sided quantile of the normal distribution: 1.96 for 0.95."""
    from scipy.special import ndtri  # half a second that readers of results need not wait

    return float(ndtri(0.5 + confidence / 2))


def compute_wilson_interval(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) of a probability of which `right` of n items are a sample, as shares.

    Wilson's score interval (Journal of the American Statistical Association 22:209, 1927): it stays between 0 and 1 and
    covers well also near them, where the normal interval of an accuracy's standard error does not.
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
    """(low, high) of the probability of being right when `missing` of the items could not be evaluated, as shares.

    From Wilson's lower limit with all of these wrong to his upper limit with all of them right: it covers at least as
    often as it should, whatever the missing items are.
    """
    if not 0 <= right <= evaluated or missing < 0 or evaluated + missing == 0:
        raise ValueError(f"{right} right of {evaluated} items and {missing} missing")
    n = evaluated + missing
    return compute_wilson_interval(right, n, confidence)[0], compute_wilson_interval(right + missing, n, confidence)[1]
